"""Accuracies of groups whose attribute was inferred, corrected for the errors of the inference.

Model: in group (label y, attribute a) a prediction is right with probability acc[y, a], and the inference gives a the
value b with probability M[a, b]; given the group the two are independent, and M is that of every label. This is the
conditional independence of Awasthi, Kleindessner and Morgenstern (AISTATS 2020, arXiv 1906.03284, assumption 1). M is
known by the images whose attribute somebody has checked (double sampling: Tenenbein, JASA 1970). A Gibbs sampler with
Jeffreys priors draws the attributes of the others, M, the attributes' shares and the accuracies in turns (Swartz et
al., Canadian Journal of Statistics 2004), so that no accuracy lies outside [0, 1], as it may where M is inverted.

Without checked images there is no M, and accuracies have bounds only: the images that are probably in the wrong group
are all right, or all wrong (the bounds of Kallus, Mao and Zhou, Management Science 2022, arXiv 1906.00285, for counts).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from starft.statistics import LEVEL, Interval, wilson_interval

DRAWS, BURN_IN = 1000, 200
"""Draws of the sampler that count, and those before them that don't."""
CREDIBLE = 0.98
"""Posterior probability of an interval. At 0.95 it covers the truth of 92 to 94 % of simulated data sets where a group
has a few dozen images; `benchmarks/audit.py` has the coverage."""
JEFFREYS = 0.5

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Corrected:
    """Accuracies of groups (Y, A), and the lowest of them.

    Groups without any image of that inferred attribute don't count for the lowest.

    Args:
        values: Of each group; the inferred ones where there are bounds only.
        lows: Lower ends of their 95 % intervals.
        highs: Upper ends.
        worst: Position of the group that looks worst, among all in a row.
        worst_interval: Of the lowest true accuracy.
    """

    values: NDArray[np.float64]
    lows: NDArray[np.float64]
    highs: NDArray[np.float64]
    worst: int
    worst_interval: Interval


def corrected_by_checks(counts: Counts, checked: Counts, seed: int = 0) -> Corrected:
    """Return the accuracies of groups, given images whose attribute was checked; they are a random part of all.

    Args:
        counts: Images (Y, A, 2) by label, inferred attribute and whether the model is right.
        checked: Those whose attribute is known (Y, A, A, 2): by label, true attribute, inferred attribute, right.
        seed: Of the draws.
    """
    draws = _posterior(counts, checked, seed)
    shape, rows = draws.shape[1:], draws.reshape(len(draws), -1)
    tail = (1 - CREDIBLE) / 2
    lows, values, highs = np.quantile(rows, [tail, 0.5, 1 - tail], axis=0)
    seen = counts.sum(axis=-1).ravel() > 0
    worst = int(np.where(seen, values, np.inf).argmin())
    # As in `worst_group_interval`: any of the groups that could be the worst may have been unlucky.
    spread = (rows - rows[:, [worst]]).std(axis=0)
    near = seen & (values - values[worst] <= ndtri((1 + LEVEL) / 2) * spread)
    high = np.quantile(rows[:, near], (1 - tail) ** (1 / int(near.sum())), axis=0).min()
    ends = (float(lows[seen].min()), float(high))
    return Corrected(values.reshape(shape), lows.reshape(shape), highs.reshape(shape), worst, ends)


def _posterior(counts: Counts, checked: Counts, seed: int) -> NDArray[np.float64]:
    """Return draws (DRAWS, Y, A) of the accuracies."""
    rng = np.random.default_rng(seed)
    unchecked = counts - checked.sum(axis=1)
    confusion = _normalised(checked.sum(axis=(0, 3)) + JEFFREYS)
    shares = _normalised(checked.sum(axis=(2, 3)) + JEFFREYS)
    right = (counts[..., 1].sum(axis=1) + JEFFREYS) / (counts.sum(axis=(1, 2)) + 2 * JEFFREYS)
    accuracy = np.repeat(right[:, None], counts.shape[1], axis=1)
    draws = np.empty((DRAWS, *accuracy.shape))
    for step in range(-BURN_IN, DRAWS):
        outcome = np.stack([1 - accuracy, accuracy], axis=-1)
        likely = shares[:, None, None] * confusion.T[None, :, None] * np.moveaxis(outcome, 1, 2)[:, None]
        cells = checked + np.moveaxis(rng.multinomial(unchecked, _normalised(likely)), -1, 1)
        wrong, hits = np.moveaxis(cells.sum(axis=2), -1, 0)
        accuracy = rng.beta(JEFFREYS + hits, JEFFREYS + wrong).clip(1e-9, 1 - 1e-9)
        shares = _normalised(rng.standard_gamma(JEFFREYS + wrong + hits))
        confusion = _normalised(rng.standard_gamma(JEFFREYS + cells.sum(axis=(0, 3))))
        if step >= 0:
            draws[step] = accuracy
    return draws


def _normalised(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = weights.clip(1e-12)
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def bounded(counts: Counts, misplaced: NDArray[np.float64], spread: NDArray[np.float64]) -> Corrected:
    """Return bounds of the accuracies of groups of two attributes, given how many images are probably misplaced.

    Args:
        counts: Images (Y, 2, 2) by label, inferred attribute and whether the model is right.
        misplaced: Expected number of images (Y, 2) of each inferred group that belong to the label's other one.
        spread: Standard deviation of that number (Y, 2).

    Example:
        >>> counts = np.array([[[20, 80], [10, 10]]])
        >>> certain = bounded(counts, np.zeros((1, 2)), np.zeros((1, 2)))
        >>> certain.values.tolist(), certain.lows.round(3).tolist()
        ([[0.8, 0.5]], [[0.711, 0.299]])
    """
    wrong, right = np.moveaxis(counts, -1, 0)
    total = wrong + right
    seen = total > 0
    out = np.minimum(misplaced + ndtri((1 + LEVEL) / 2) * spread, total)
    members = (total - out + out[:, ::-1]).clip(1e-9)

    def least(some: Counts) -> NDArray[np.float64]:
        return np.asarray((some - out).clip(0) / members)

    low, high = least(right), 1 - least(wrong)
    sizes = np.maximum(members.round().astype(int), 1)
    several = 2 * ((1 + LEVEL) / 2) ** (1 / max(int(seen.sum()), 1)) - 1
    lows = _limits(low, sizes, 0, LEVEL)
    highs, highest = (_limits(high, sizes, 1, level) for level in (LEVEL, several))
    values = right / total.clip(1)
    worst = int(np.where(seen, values, np.inf).argmin())
    ends = (float(lows[seen].min(initial=1.0)), float(highest[seen].min(initial=1.0)))
    return Corrected(values, lows, highs, worst, ends)


def _limits(rates: NDArray[np.float64], sizes: Counts, end: int, level: float) -> NDArray[np.float64]:
    """Return one end of Wilson's interval of each rate."""
    pairs = zip(rates.ravel().tolist(), sizes.ravel().tolist(), strict=True)
    ends = [(wilson_interval(round(rate * size), size, level) or (0.0, 1.0))[end] for rate, size in pairs]
    return np.array(ends).reshape(rates.shape)
