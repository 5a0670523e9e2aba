"""95 % intervals: of a proportion, of the worst group, of means over groups, of what two models differ by.

Nothing here knows of torch. The intervals are over the draw of the *test samples*, with the group sizes as they are;
what another training seed would give is in `half_width_over_seeds` alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from math import hypot, sqrt
from statistics import NormalDist, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
DRAWS = 2000
"""Resamples of a bootstrap."""

F1_DRAWS = 500
"""Fewer for macro F1: with a thousand classes each takes milliseconds."""

SEED = 0

Interval = tuple[float, float]

_normal_quantile = NormalDist().inv_cdf


def wilson_interval(correct: int, total: int, level: float = LEVEL) -> Interval | None:
    """Return Wilson's interval of a proportion, or None where nothing was seen.

    Args:
        correct: Successes.
        total: Trials.
        level: Of confidence.
    """
    if total == 0:
        return None
    rate, z = correct / total, _normal_quantile(0.5 + 0.5 * level)
    twice = 2 * (total + z**2)
    centre = (2 * total * rate + z**2) / twice
    half = z / twice * sqrt(4 * total * rate * (1 - rate) + z**2)
    return (0.0 if correct == 0 else centre - half), (1.0 if correct == total else centre + half)


def worst_group_interval(correct: Sequence[int], total: Sequence[int]) -> Interval | None:
    """Return an interval of the lowest *true* accuracy among the groups; None where nothing was seen.

    The lowest of several estimates is biased downward, and resampling repeats the bias on top of it: with four equally
    good groups the percentile bootstrap holds the truth in half to three quarters of all cases, not in 95 %. So this is
    made of Wilson's limits instead. The lower one is the lowest of the groups' own 95 % lower limits. The upper one is
    the lowest of the upper limits of the groups that could be the worst (those not further above the one that looks
    worst than 1.96 standard errors), each taken at the level ``0.975 ** (1 / m)`` for m such groups, since any of them
    may have been unlucky. With one clearly worst group it is that group's Wilson interval. Where groups are nearly
    equal it is a little too wide (it covers up to 98 %).

    Args:
        correct: Right predictions of each group.
        total: All predictions of each group; groups without any are left out.
    """
    right, n = np.array(correct, dtype=np.float64), np.array(total, dtype=np.float64)
    right, n = right[n > 0], n[n > 0]
    if not len(n):
        return None
    rates = (right + 0.5) / (n + 1)
    errors = np.sqrt(rates * (1 - rates) / n)
    worst = int(rates.argmin())
    tail = (1 - LEVEL) / 2
    near = rates - rates[worst] <= _normal_quantile(1 - tail) * np.hypot(errors, errors[worst])
    low, _ = _wilson_limits(right, n, _normal_quantile(1 - tail))
    _, high = _wilson_limits(right, n, _normal_quantile((1 - tail) ** (1 / int(near.sum()))))
    return float(low.min()), float(high.min())


def _wilson_limits(
    correct: NDArray[Any], total: NDArray[Any], z: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Wilson's limits of many proportions at once, ``z`` standard errors to each side."""
    rate, shrink = correct / total, 1 + z * z / total
    centre = (rate + z * z / (2 * total)) / shrink
    half = z / shrink * np.sqrt(rate * (1 - rate) / total + (z / (2 * total)) ** 2)
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def group_mean_interval(
    correct: Sequence[int], total: Sequence[int], weights: Sequence[float] | None = None, seed: int = SEED
) -> Interval | None:
    """Return a bootstrap interval of a weighted mean of group accuracies; None where nothing was seen.

    Samples are drawn again within each group, which is a binomial draw of its right ones; the rates drawn from are
    ``(correct + 1/2) / (total + 1)``, so that a small group without a mistake isn't taken for one that can't make any.
    The interval is the percentile one.

    Args:
        correct: Right predictions of each group.
        total: All predictions of each group; groups without any are left out.
        weights: Of the groups; None weighs them equally.
        seed: Of the draws.
    """
    right, n = np.array(correct, dtype=np.int64), np.array(total, dtype=np.int64)
    share = np.ones(len(n)) if weights is None else np.array(weights, dtype=np.float64)
    kept = (n > 0) & (share > 0)
    if not kept.any():
        return None
    right, n, share = right[kept], n[kept], share[kept] / share[kept].sum()
    drawn = np.random.default_rng(seed).binomial(n, (right + 0.5) / (n + 1), (DRAWS, len(n)))
    return _percentiles((drawn / n) @ share)


def macro_f1_interval(labels: NDArray[np.int64], predictions: NDArray[np.int64], seed: int = SEED) -> Interval | None:
    """Return a percentile bootstrap interval, over samples, of the mean F1 of the labels that occur.

    Args:
        labels: True labels (n,).
        predictions: Predicted labels (n,).
        seed: Of the draws.
    """
    if not len(labels):
        return None
    classes = int(max(labels.max(), predictions.max())) + 1
    cells, counts = np.unique(labels * classes + predictions, return_counts=True)
    truth, predicted = cells // classes, cells % classes
    occurs = np.unique(truth)
    generator, values = np.random.default_rng(seed), []
    for _ in range(F1_DRAWS):
        drawn = generator.multinomial(len(labels), counts / len(labels))
        both = np.bincount(truth, drawn, classes) + np.bincount(predicted, drawn, classes)
        hits = np.bincount(truth, drawn * (truth == predicted), classes)
        seen = occurs[np.bincount(truth, drawn, classes)[occurs] > 0]
        values.append((2 * hits[seen] / both[seen]).mean())
    return _percentiles(np.array(values))


@dataclass(frozen=True)
class Difference:
    """What one model or method has more than another of one number.

    Args:
        value: A share, in [-1, 1].
        interval: 95 %.
    """

    value: float
    interval: Interval

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies above or below 0, and 0 where it holds 0."""
        return int(self.interval[0] > 0) - int(self.interval[1] < 0)


def paired_difference(
    first: NDArray[Any],
    second: NDArray[Any],
    group: NDArray[np.int64] | None = None,
    seed: int = SEED,
    level: float = LEVEL,
) -> Difference:
    """Return accuracy of the first model less that of the second on the same samples, with its bootstrap interval.

    Samples are drawn again in pairs: what a resample holds of samples that only the first, only the second, or both or
    neither got right is a multinomial draw, within each group where there are groups. Half a sample is added to each of
    these four (Agresti and Min, 2005), so that models without a disagreement in a few samples aren't taken for equal.

    Args:
        first: Whether the first model was right, (n,), one sample at least; of several runs the share that was.
        second: The same of the second, on the same samples in the same order.
        group: Group ids (n,): the difference of group means; None for that of accuracies.
        seed: Of the draws.
        level: Of the interval; as many draws lie beyond its ends whatever it is.
    """
    generator = np.random.default_rng(seed)
    step = np.round(first.astype(np.float64) - second.astype(np.float64), 9)
    parts = [step] if group is None else [step[group == item] for item in np.unique(group)]
    added = {1.0: 0.5, -1.0: 0.5, 0.0: 1.0}
    steps = np.array([*added, *(item for item in np.unique(step).tolist() if item not in added)])
    number = round(DRAWS * (1 - LEVEL) / (1 - level))
    draws = np.zeros(number)
    for part in parts:
        counts = np.array([(part == item).sum() + added.get(item, 0.0) for item in steps.tolist()])
        draws += generator.multinomial(len(part), counts / counts.sum(), number) @ steps / len(part) / len(parts)
    return Difference(float(np.mean([part.mean() for part in parts])), _percentiles(draws, level))


def independent_difference(first: tuple[float, Interval], second: tuple[float, Interval]) -> Difference:
    """Return the difference of two independent numbers by the distances to the ends of their intervals.

    This is the square-and-add rule (Newcombe, 1998, method 10). Of the same test images it is rather too wide.

    Args:
        first: A number and its interval.
        second: What is taken from it.
    """
    (one, (one_low, one_high)), (two, (two_low, two_high)) = first, second
    value = one - two
    below, above = hypot(one - one_low, two_high - two), hypot(one_high - one, two - two_low)
    return Difference(value, (value - below, value + above))


def stratified_difference(right: NDArray[Any], total: NDArray[Any]) -> tuple[tuple[float, float], Difference] | None:
    """Return two accuracies compared within strata, and their difference; None where no stratum has both sides.

    Strata are weighted as Mantel and Haenszel do, by n m / (n + m) for n and m samples on the two sides, so that sides
    of different make-up can be compared. The intervals of strata and sides are Wilson's, and joined by the distances
    to their ends, as Newcombe (1998) does and Zou and Donner (Statistics in Medicine, 2008) do for weighted sums.

    Args:
        right: Right predictions (S, 2) of each stratum and side.
        total: All predictions (S, 2).

    Example:
        >>> stratified_difference(np.array([[9, 5], [1, 0]]), np.array([[10, 10], [1, 0]]))[0]
        (0.9, 0.5)
    """
    both = (total > 0).all(axis=1)
    hits, n = right[both].astype(np.float64), total[both].astype(np.float64)
    weights = n.prod(axis=1) / n.sum(axis=1)
    if not len(n):
        return None
    shares = (weights / weights.sum())[:, None]
    low, high = _wilson_limits(hits, n, _normal_quantile((1 + LEVEL) / 2))
    below, above = (np.sqrt(((shares * (end - hits / n)) ** 2).sum(axis=0)) for end in (low, high))
    values = (shares * hits / n).sum(axis=0)
    ends = np.stack([values - below, values + above], axis=1).tolist()
    first, second = ((float(value), (float(one), float(two))) for value, (one, two) in zip(values, ends, strict=True))
    return (first[0], second[0]), independent_difference(first, second)


def half_width_over_seeds(values: Sequence[float], level: float = LEVEL) -> float:
    """Return Student's half-width of a mean over seeds, n - 1 degrees of freedom; 0 for one, whose spread is unknown.

    Of two methods with the same seeds, give their differences seed by seed.

    Args:
        values: One a seed.
        level: Of the interval.
    """
    n = len(values)
    if n < 2:
        return 0.0
    quantile = import_module("scipy.special").stdtrit(n - 1, (1 + level) / 2)  # takes a tenth of a second to load
    return float(quantile) * stdev(values) / sqrt(n)


def _percentiles(draws: NDArray[np.float64], level: float = LEVEL) -> Interval:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
