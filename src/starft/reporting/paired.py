"""The difference of two methods, run by run with the same seeds, and how sure it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from scipy.stats import t


@dataclass(frozen=True)
class Difference:
    """A paired difference.

    Args:
        mean: Mean over the pairs.
        interval: 95 % interval of the mean, or null where there is one pair only.
        n: Pairs.
    """

    mean: float
    interval: tuple[float, float] | None
    n: int


def paired_difference(values: Sequence[float], baseline: Sequence[float], level: float = 0.95) -> Difference:
    """Return the mean of ``values - baseline`` with Student's t interval, n - 1 degrees of freedom.

    Args:
        values: One number a seed.
        baseline: One number a seed, in the same order.
        level: Of the interval.

    Raises:
        ValueError: They aren't equally many.
    """
    gains = [ours - theirs for ours, theirs in zip(values, baseline, strict=True)]
    mean, n = fmean(gains), len(gains)
    if n < 2:
        return Difference(mean, None, n)
    half = float(t.ppf((1 + level) / 2, n - 1)) * stdev(gains) / sqrt(n)
    return Difference(mean, (mean - half, mean + half), n)
