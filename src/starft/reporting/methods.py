"""Runs gathered into methods: their numbers with intervals, and which of them is the best beyond doubt."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, stdev

import numpy as np
import pandas as pd
from scipy.stats import t as student

from starft.reporting.intervals import LEVEL, Interval, paired_difference
from starft.reporting.run_reading import Run
from starft.reporting.summary import HEADINGS as SCORES

OOD = "ood_acc"
ROBUSTNESS = "effective_robustness"
"""The column of what `starft.reporting.robustness` tells; it needs a line of baselines."""

HEADINGS = {**SCORES, ROBUSTNESS: "effective robustness"}
LOWER_IS_BETTER = {"ece"}


@dataclass(frozen=True)
class Cell:
    """One number of one method, over its runs.

    Args:
        value: Mean over the runs.
        interval: 95 %; null where the metric has none.
        spread: Standard deviation over the runs; null for one run.
        best: Whether it is better than all others beyond its uncertainty.
    """

    value: float
    interval: Interval | None
    spread: float | None
    best: bool = False


@dataclass(frozen=True)
class Disagreement:
    """What two runs make of the same samples.

    Args:
        first: Name of a run.
        second: Name of another.
        eval_set: Whose samples.
        both: Samples that both get right.
        first_only: Samples that only the first gets right.
        second_only: Samples that only the second gets right.
        neither: Samples that neither gets right.
        difference: Accuracy of the first less that of the second.
        interval: Of the difference, by the paired bootstrap.
        indices: Positions of samples that they disagree on, the surest mistakes first.
    """

    first: str
    second: str
    eval_set: str
    both: int
    first_only: int
    second_only: int
    neither: int
    difference: float
    interval: Interval
    indices: tuple[int, ...]


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
    found = [OOD] if any(run.ood_acc is not None for run in runs) else []
    for name in names:
        there = dict.fromkeys(metric for run in runs if name in run.sets for metric in run.sets[name].metrics)
        order = [metric for metric in HEADINGS if metric in there] + [
            metric for metric in there if metric not in HEADINGS
        ]
        found += [f"{name}/{metric}" for metric in order]
    return found


def heading(column: str) -> str:
    """Return what a table calls a column.

    Args:
        column: ``{eval set}/{metric}``, ``ood_acc`` or ``effective_robustness``.
    """
    if column == OOD:
        return "OOD mean"
    name, _, metric = column.rpartition("/")
    return f"{name} {HEADINGS.get(metric, metric)}".lstrip()


def value_of(run: Run, column: str) -> float | None:
    """Return a number of a run, or null.

    Args:
        run: A run.
        column: ``{eval set}/{metric}`` or ``ood_acc``.
    """
    if column == OOD:
        return run.ood_acc
    name, _, metric = column.rpartition("/")
    return run.sets[name].metrics.get(metric) if name in run.sets else None


def interval_of(run: Run, column: str) -> Interval | None:
    """Return the interval of a number of a run, or null; that of ``ood_acc`` is the normal one of a mean of sets.

    Args:
        run: A run.
        column: ``{eval set}/{metric}`` or ``ood_acc``.
    """
    if column == OOD:
        sets = [one for one in run.sets.values() if one.ood and one.n]
        if run.ood_acc is None or not sets:
            return None
        rates = [((one.metrics["acc"] or 0.0) * one.n + 1) / (one.n + 2) for one in sets]
        error = math.sqrt(sum(rate * (1 - rate) / one.n for rate, one in zip(rates, sets, strict=True))) / len(sets)
        return max(0.0, run.ood_acc - 1.96 * error), min(1.0, run.ood_acc + 1.96 * error)
    name, _, metric = column.rpartition("/")
    one = run.sets.get(name)
    if one is None:
        return None
    return one.interval(metric)


def cell_of(runs: Sequence[Run], column: str) -> Cell | None:
    """Return the number of a method; null where none of its runs has it.

    Args:
        runs: Of one method.
        column: ``{eval set}/{metric}`` or ``ood_acc``.
    """
    return pooled([(value, interval_of(run, column)) for run in runs if (value := value_of(run, column)) is not None])


def pooled(held: Sequence[tuple[float, Interval | None]], lowest: float = 0.0) -> Cell | None:
    """Return the mean over runs; null without any.

    The interval of several runs takes in both what other test samples and what other seeds would give: the runs' mean
    half-widths and Student's half-width of the mean over the seeds, added in squares.

    Args:
        held: Number and interval of each run of one method.
        lowest: What the number can't be below; it can't be above 1.
    """
    if not held:
        return None
    values = [value for value, _ in held]
    mean = fmean(values)
    spread = stdev(values) if len(values) > 1 else None
    ends = [(value - interval[0], interval[1] - value) for value, interval in held if interval is not None]
    if len(ends) < len(held):
        return Cell(mean, None, spread)
    seeds = (
        student.ppf((1 + LEVEL) / 2, len(values) - 1) * spread / math.sqrt(len(values)) if spread is not None else 0.0
    )
    below, above = (math.hypot(fmean(side), seeds) for side in zip(*ends, strict=True))
    return Cell(mean, (max(lowest, mean - below), min(1.0, mean + above)), spread)


def table_of(
    methods: Mapping[str, Sequence[Run]], columns: Sequence[str], robustness: Mapping[str, Cell | None] | None = None
) -> dict[str, dict[str, Cell | None]]:
    """Return method -> column -> cell, the best of each column marked where its uncertainty allows.

    The best is marked if its interval lies clear of every other method's, or if, of two methods of one run each that
    saw the same samples, the paired bootstrap of the difference in accuracy excludes 0.

    Args:
        methods: Runs by method.
        columns: What to tell.
        robustness: Method -> its effective robustness, where that is a column.
    """
    table = {
        method: {
            column: (robustness or {}).get(method) if column == ROBUSTNESS else cell_of(runs, column)
            for column in columns
        }
        for method, runs in methods.items()
    }
    for column in columns:
        held = {method: cell for method, row in table.items() if (cell := row[column]) is not None}
        if len(held) < 2:
            continue
        lower = column.rpartition("/")[2] in LOWER_IS_BETTER
        top = (min if lower else max)(held, key=lambda method: held[method].value)
        if all(
            _clear(held[top], other, lower) or _wins(methods[top], methods[method], column)
            for method, other in held.items()
            if method != top
        ):
            cell = held[top]
            table[top][column] = Cell(cell.value, cell.interval, cell.spread, best=True)
    return table


def _clear(one: Cell, other: Cell, lower: bool) -> bool:
    if one.interval is None or other.interval is None:
        return False
    return one.interval[1] < other.interval[0] if lower else one.interval[0] > other.interval[1]


def _wins(first: Sequence[Run], second: Sequence[Run], column: str) -> bool:
    """Whether, sample by sample, the first is better beyond chance; only accuracies and group means can be told."""
    name, _, metric = column.rpartition("/")
    if len(first) != 1 or len(second) != 1 or metric not in ("acc", "group_mean_acc"):
        return False
    pair = _matched(first[0], second[0], name)
    if pair is None:
        return False
    groups = pair["group"].to_numpy() if metric == "group_mean_acc" else None
    _, (low, _) = paired_difference(pair["right_a"].to_numpy(), pair["right_b"].to_numpy(), groups)
    return low > 0


def _matched(first: Run, second: Run, eval_set: str) -> pd.DataFrame | None:
    """Return the samples of two runs side by side; null where they didn't see the same ones."""
    if first.samples is None or second.samples is None:
        return None
    one, two = (run.samples[run.samples["set"] == eval_set] for run in (first, second))  # type: ignore[index]
    if not len(one) or len(one) != len(two):
        return None
    same = all(np.array_equal(one[key].to_numpy(), two[key].to_numpy()) for key in ("index", "label", "group", "path"))
    if not same:
        return None
    pair = one[["index", "group", "path", "label_name"]].reset_index(drop=True)
    for letter, table in (("a", one), ("b", two)):
        for key in ("right", "confidence", "prediction_name"):
            pair[f"{key}_{letter}"] = table[key].to_numpy()
    return pair


def disagreements(runs: Sequence[Run], most: int = 6, shown: int = 12) -> list[Disagreement]:
    """Return what pairs of runs with per-sample predictions disagree on.

    Args:
        runs: All runs.
        most: How many runs are compared, each with each; the first ones.
        shown: How many samples are named of each pair.
    """
    found = []
    for first, second in combinations([run for run in runs if run.samples is not None][:most], 2):
        for name in first.sets:
            pair = _matched(first, second, name)
            if pair is None:
                continue
            a, b = pair["right_a"].to_numpy(dtype=bool), pair["right_b"].to_numpy(dtype=bool)
            difference, interval = paired_difference(a, b)
            sure = np.where(a, pair["confidence_b"], pair["confidence_a"])  # of the one that is wrong
            odd = np.flatnonzero(a != b)
            odd = odd[np.argsort(-sure[odd], kind="stable")][:shown]
            counts = (int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum()), int((~a & ~b).sum()))
            indices = tuple(int(index) for index in pair["index"].to_numpy()[odd])
            found.append(Disagreement(first.name, second.name, name, *counts, difference, interval, indices))
    return found
