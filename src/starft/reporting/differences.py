"""What methods differ by, with its interval, and which of them is the best beyond doubt."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from starft.reporting.methods import OOD, ROBUSTNESS, Cell, cell_of, pooled, value_of
from starft.reporting.roles import RANK, role_of
from starft.runs.run_reader import Run
from starft.runs.samples import SampleTable
from starft.statistics import (
    LEVEL,
    Difference,
    Interval,
    half_width_over_seeds,
    independent_difference,
    paired_difference,
    wilson_interval,
)

Number = tuple[float, Interval]
"""With its interval."""

NO_INTERVAL = {"ece"}
"""Metrics without one, of which no value is the best."""


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
        difference: Accuracy of the first less that of the second, by the paired bootstrap.
        indices: Positions of samples that they disagree on, the surest mistakes first.
    """

    first: str
    second: str
    eval_set: str
    both: int
    first_only: int
    second_only: int
    neither: int
    difference: Difference
    indices: tuple[int, ...]


def table_of(
    methods: Mapping[str, Sequence[Run]], columns: Sequence[str], robustness: Mapping[str, Cell | None] | None = None
) -> dict[str, dict[str, Cell | None]]:
    """Return method -> column -> cell, the best of each column marked where its uncertainty allows.

    The best is marked if the interval of its difference to each other method excludes 0, see `difference_of`.

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
        values = {method: cell for method, row in table.items() if (cell := row[column]) is not None}
        if len(values) < 2 or column.rpartition("/")[2] in NO_INTERVAL:
            continue
        top = max(values, key=lambda method: values[method].value)
        gains = [difference_of(methods, table, column, top, method) for method in values if method != top]
        if all(gain is not None and gain.sign > 0 for gain in gains):
            table[top][column] = replace(values[top], best=True)
    return table


def difference_of(
    methods: Mapping[str, Sequence[Run]],
    table: Mapping[str, Mapping[str, Cell | None]],
    column: str,
    first: str,
    second: str,
) -> Difference | None:
    """Return the number of the first method less that of the second; None where they can't be compared.

    Where all their runs kept what became of each sample, the interval of accuracies and group means is that of the
    paired bootstrap, of several runs on the share of them that was right; what other seeds would give is added in
    squares. Elsewhere it is made of the two intervals, which
    takes the two for independent.

    Args:
        methods: Runs by method.
        table: Method -> column -> cell.
        column: Which number.
        first: A method.
        second: Another.
    """
    one, two = table[first][column], table[second][column]
    if one is None or two is None or not _same_sets(methods[first][0], methods[second][0], column):
        return None
    paired = _paired(methods[first], methods[second], column)
    if paired is not None:
        return paired
    if one.interval is None or two.interval is None:
        return None
    return independent_difference((one.value, one.interval), (two.value, two.interval))


def most_lost(first: Sequence[Run], second: Sequence[Run], eval_set: str) -> tuple[str, Difference] | None:
    """Return the group in which the first method certainly loses most to the second; None for none.

    The intervals are made of Wilson's by the square-and-add rule, at a level for all groups together (Bonferroni): the
    more groups there are, the more likely one falls by chance. Of several runs see `_over_runs`.

    Args:
        first: Runs of a method.
        second: Runs of another.
        eval_set: Whose groups.
    """
    if not all(eval_set in run.sets for run in (*first, *second)):
        return None
    groups = [[group for group in run.sets[eval_set].groups if group.n] for run in (*first, *second)]
    if any([(item.name, item.n) for item in some] != [(item.name, item.n) for item in groups[0]] for some in groups):
        return None
    level = 1 - (1 - LEVEL) / max(1, len(groups[0]))
    lost = []
    for of_runs in zip(*groups, strict=True):
        numbers = [
            (of_run.acc, ends)
            for of_run in of_runs
            if of_run.acc is not None
            and (ends := wilson_interval(round(of_run.acc * of_run.n), of_run.n, level)) is not None
        ]
        if len(numbers) == len(of_runs):
            gain = _over_runs(numbers[: len(first)], numbers[len(first) :], level)
            lost += [(of_runs[0].name, gain)] if gain.sign < 0 else []
    return min(lost, key=lambda one: one[1].value) if lost else None


def _over_runs(first: Sequence[Number], second: Sequence[Number], level: float) -> Difference:
    """Return the difference of two methods of several runs, in a number that has an interval in each.

    Where each run of the first lies below (or above) each of the second beyond its interval, more seeds don't take that
    back: the interval reaches over all those pairs. Elsewhere the spread over the seeds is in it, see `pooled`.
    """
    pairs = [independent_difference(item, two) for item in first for two in second]
    if len({pair.sign for pair in pairs}) == 1 and pairs[0].sign:
        lows, highs = zip(*(pair.interval for pair in pairs), strict=True)
        return Difference(float(np.mean([pair.value for pair in pairs])), (min(lows), max(highs)))
    one, two = pooled(first, level=level), pooled(second, level=level)
    assert one is not None
    assert two is not None
    assert one.interval is not None
    assert two.interval is not None
    return independent_difference((one.value, one.interval), (two.value, two.interval))


def _same_sets(first: Run, second: Run, column: str) -> bool:
    """Return whether two runs have a number from sets of the same names and sizes."""
    if column not in (OOD, ROBUSTNESS):
        name = column.rpartition("/")[0]
        return name in first.sets and name in second.sets and first.sets[name].n == second.sets[name].n
    one, two = ({name: item.n for name, item in run.sets.items() if item.ood} for run in (first, second))
    return one == two


def _paired(first: Sequence[Run], second: Sequence[Run], column: str) -> Difference | None:
    """Return the difference sample by sample; None where that can't be told."""
    name, _, metric = column.rpartition("/")
    if column != OOD and metric not in ("acc", "group_mean_acc"):
        return None
    names = [name] if column != OOD else [name for name, item in first[0].sets.items() if item.ood and item.n]
    right_a, right_b, parts = [], [], []
    for at, eval_set in enumerate(names):
        ones_of = [pair for item in first if (pair := _matched(item, second[0], eval_set)) is not None]
        twos_of = [pair for two in second if (pair := _matched(first[0], two, eval_set)) is not None]
        if len(ones_of) < len(first) or len(twos_of) < len(second):
            return None
        right_a.append(np.mean([ones["right"] for ones, _ in ones_of], axis=0))
        right_b.append(np.mean([twos["right"] for _, twos in twos_of], axis=0))
        group = ones_of[0][0]["group"] if metric == "group_mean_acc" else 0
        # of several sets each counts equally, as in their mean; so does each group
        parts.append(np.full(len(right_a[-1]), at) + group)
    if not names:
        return None
    result = paired_difference(np.concatenate(right_a), np.concatenate(right_b), np.concatenate(parts))
    value, (low, high) = result.value, result.interval
    seeds = _seeds_apart(first, second, column)
    return Difference(value, (value - math.hypot(value - low, seeds), value + math.hypot(high - value, seeds)))


def _seeds_apart(first: Sequence[Run], second: Sequence[Run], column: str) -> float:
    """Return the half-width that other seeds add to a difference: seed by seed where both have the same ones."""
    ones, twos = ([value_of(run, column) or 0.0 for run in runs] for runs in (first, second))
    if len(first) > 1 and [run.facts.get("seed") for run in first] == [run.facts.get("seed") for run in second]:
        return half_width_over_seeds([item - two for item, two in zip(ones, twos, strict=True)])
    return math.hypot(half_width_over_seeds(ones), half_width_over_seeds(twos))


def _matched(first: Run, second: Run, eval_set: str) -> tuple[SampleTable, SampleTable] | None:
    """Return the samples of two runs side by side; None where they didn't see the same ones."""
    if first.samples is None or second.samples is None:
        return None
    one, two = first.samples.of_set(eval_set), second.samples.of_set(eval_set)
    same = all(np.array_equal(one[key], two[key]) for key in ("index", "label", "group", "path"))
    return (one, two) if same and len(one) else None


def disagreements(runs: Sequence[Run], most: int = 6, shown: int = 12) -> list[Disagreement]:
    """Return what pairs of runs with per-sample predictions disagree on.

    Args:
        runs: All runs.
        most: How many runs are compared, each with each; the first ones.
        shown: How many samples are named of each pair.
    """
    results = []
    kept = [run for run in runs if run.samples is not None][:most]
    kept.sort(key=lambda run: RANK[role_of(run.config)])  # so that a method is the first, its baseline the second
    for first, second in combinations(kept, 2):
        for name in first.sets:
            pair = _matched(first, second, name)
            if pair is None:
                continue
            one, two = pair
            a, b = one["right"], two["right"]
            difference = paired_difference(a, b)
            sure = np.where(a, two["confidence"], one["confidence"])  # of the one that is wrong
            odd = np.flatnonzero(a != b)
            odd = odd[np.argsort(-sure[odd], kind="stable")][:shown]
            counts = (int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum()), int((~a & ~b).sum()))
            indices = tuple(int(index) for index in one["index"][odd])
            results.append(Disagreement(first.name, second.name, name, *counts, difference, indices))
    return results
