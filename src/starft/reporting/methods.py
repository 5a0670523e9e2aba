"""Runs gathered into methods: their numbers with intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from starft.reporting.table import percent, points
from starft.runs import results
from starft.runs.run_reader import Run
from starft.statistics import LEVEL, Interval, half_width_over_seeds

OOD = "ood_acc"
ROBUSTNESS = "effective_robustness"
"""The column of what `starft.reporting.robustness` tells; it needs a line of baselines."""

HEADINGS = {**results.HEADINGS, ROBUSTNESS: "effective robustness"}


@dataclass(frozen=True)
class Cell:
    """One number of one method, over its runs.

    Args:
        value: Mean over the runs.
        interval: 95 %; None where the metric has none.
        spread: Standard deviation over the runs; None for one run.
        best: Whether it is better than all others beyond its uncertainty.
    """

    value: float
    interval: Interval | None
    spread: float | None
    best: bool = False


def by_method(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the runs that were tested, by method.

    Args:
        runs: All runs.
    """
    methods: dict[str, list[Run]] = {}
    for run in runs:
        if run.sets:
            methods.setdefault(run.method, []).append(run)
    return methods


def names_of(runs: Sequence[Run]) -> list[str]:
    """Return names of runs, those of one method told as the method and their number.

    Args:
        runs: Any.
    """
    methods: dict[str, list[Run]] = {}
    for run in runs:
        methods.setdefault(run.method, []).append(run)
    return [some[0].name if len(some) == 1 else f"{method} ({len(some)} runs)" for method, some in methods.items()]


def columns_of(runs: Sequence[Run]) -> list[str]:
    """Return ``{eval set}/{metric}`` of everything that a run has, set by set, and ``ood_acc`` first if there is one.

    Args:
        runs: Tested runs.
    """
    names = dict.fromkeys(name for run in runs for name in run.sets)
    result = [OOD] if any(run.ood_acc is not None for run in runs) else []
    for name in names:
        there = dict.fromkeys(metric for run in runs if name in run.sets for metric in run.sets[name].metrics)
        order = [metric for metric in HEADINGS if metric in there] + [
            metric for metric in there if metric not in HEADINGS
        ]
        result += [f"{name}/{metric}" for metric in order]
    return result


def heading(column: str) -> str:
    """Return what a table calls a column.

    Args:
        column: ``{eval set}/{metric}``, ``ood_acc`` or ``effective_robustness``.
    """
    if column == OOD:
        return "OOD mean"
    name, _, metric = column.rpartition("/")
    return f"{name}: {HEADINGS.get(metric, metric)}".removeprefix(": ")


def value_of(run: Run, column: str) -> float | None:
    """Return a number of a run, or None.

    Args:
        run: A run.
        column: ``{eval set}/{metric}`` or ``ood_acc``.
    """
    if column == OOD:
        return run.ood_acc
    name, _, metric = column.rpartition("/")
    return run.sets[name].metrics.get(metric) if name in run.sets else None


def interval_of(run: Run, column: str) -> Interval | None:
    """Return the interval of a number of a run, or None; that of ``ood_acc`` is the normal one of a mean of sets.

    Args:
        run: A run.
        column: ``{eval set}/{metric}`` or ``ood_acc``.
    """
    if column == OOD:
        sets = [item for item in run.sets.values() if item.ood and item.n]
        if run.ood_acc is None or not sets:
            return None
        rates = [((item.metrics["acc"] or 0.0) * item.n + 1) / (item.n + 2) for item in sets]
        error = math.sqrt(sum(rate * (1 - rate) / item.n for rate, item in zip(rates, sets, strict=True))) / len(sets)
        return max(0.0, run.ood_acc - 1.96 * error), min(1.0, run.ood_acc + 1.96 * error)
    name, _, metric = column.rpartition("/")
    one = run.sets.get(name)
    if one is None:
        return None
    return one.interval(metric)


def cell_of(runs: Sequence[Run], column: str) -> Cell | None:
    """Return the number of a method; None where none of its runs has it.

    Args:
        runs: Of one method.
        column: ``{eval set}/{metric}`` or ``ood_acc``.
    """
    return pooled([(value, interval_of(run, column)) for run in runs if (value := value_of(run, column)) is not None])


def pooled(held: Sequence[tuple[float, Interval | None]], lowest: float = 0.0, level: float = LEVEL) -> Cell | None:
    """Return the mean over runs; None without any.

    The interval of several runs takes in both what other test samples and what other seeds would give: the runs' mean
    half-widths and Student's half-width of the mean over the seeds, added in squares.

    Args:
        held: Number and interval of each run of one method.
        lowest: What the number can't be below; it can't be above 1.
        level: Of the runs' intervals, and of the pooled one.
    """
    if not held:
        return None
    values = [value for value, _ in held]
    mean = fmean(values)
    spread = stdev(values) if len(values) > 1 else None
    ends = [(value - interval[0], interval[1] - value) for value, interval in held if interval is not None]
    if len(ends) < len(held):
        return Cell(mean, None, spread)
    seeds = half_width_over_seeds(values, level)
    below, above = (math.hypot(fmean(side), seeds) for side in zip(*ends, strict=True))
    return Cell(mean, (max(lowest, mean - below), min(1.0, mean + above)), spread)


def shown(value: float, column: str) -> str:
    """Return a number of a column: effective robustness in points, others in %.

    Args:
        value: The number, a share.
        column: ``{eval set}/{metric}``, ``ood_acc`` or ``effective_robustness``.
    """
    return points(value) if column == ROBUSTNESS else percent(value)


def between(interval: Interval, column: str) -> str:
    """Return the ends of an interval of a column.

    Args:
        interval: Both ends, shares.
        column: ``{eval set}/{metric}``, ``ood_acc`` or ``effective_robustness``.
    """
    return (" to " if column == ROBUSTNESS else "–").join(shown(end, column) for end in interval)
