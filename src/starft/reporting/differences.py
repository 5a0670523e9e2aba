"""What methods differ by, with its interval, and which of them is the best beyond doubt."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd

from starft.reporting.intervals import LEVEL, Interval, paired_difference, wilson
from starft.reporting.methods import OOD, ROBUSTNESS, Cell, cell_of
from starft.reporting.roles import RANK, role_of
from starft.reporting.run_reading import Run

NO_INTERVAL = {"ece"}
"""Metrics without one, of which no value is the best."""


@dataclass(frozen=True)
class Difference:
    """What one method has more than another of one number.

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
        held = {method: cell for method, row in table.items() if (cell := row[column]) is not None}
        if len(held) < 2 or column.rpartition("/")[2] in NO_INTERVAL:
            continue
        top = max(held, key=lambda method: held[method].value)
        gains = [difference_of(methods, table, column, top, method) for method in held if method != top]
        if all(gain is not None and gain.sign > 0 for gain in gains):
            table[top][column] = replace(held[top], best=True)
    return table


def difference_of(
    methods: Mapping[str, Sequence[Run]],
    table: Mapping[str, Mapping[str, Cell | None]],
    column: str,
    first: str,
    second: str,
) -> Difference | None:
    """Return the number of the first method less that of the second; null where they can't be compared.

    Where each has one run and both kept what became of each sample, the interval of accuracies and group means is that
    of the paired bootstrap. Elsewhere it is made of the two intervals by the square-and-add rule (Newcombe, 1998,
    method 10), which takes the two for independent: of the same test images it is rather too wide.

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
    return square_and_add((one.value, one.interval), (two.value, two.interval))


def square_and_add(first: tuple[float, Interval], second: tuple[float, Interval]) -> Difference:
    """Return the difference of two independent numbers by the distances to the ends of their intervals.

    Args:
        first: A number and its interval.
        second: What is taken from it.
    """
    (one, (one_low, one_high)), (two, (two_low, two_high)) = first, second
    value = one - two
    below, above = math.hypot(one - one_low, two_high - two), math.hypot(one_high - one, two - two_low)
    return Difference(value, (value - below, value + above))


def most_lost(first: Sequence[Run], second: Sequence[Run], eval_set: str) -> tuple[str, Difference] | None:
    """Return the group in which the first method certainly loses most to the second; null for none.

    The intervals are made of Wilson's by the square-and-add rule, at a level for all groups together (Bonferroni): the
    more groups there are, the more likely one falls by chance.

    Args:
        first: Runs of a method; of several seeds nothing is told.
        second: Runs of another.
        eval_set: Whose groups.
    """
    if len(first) != 1 or len(second) != 1 or not all(eval_set in runs[0].sets for runs in (first, second)):
        return None
    ones, twos = ([one for one in runs[0].sets[eval_set].groups if one.n] for runs in (first, second))
    if [(one.name, one.n) for one in ones] != [(two.name, two.n) for two in twos]:
        return None
    level = 1 - (1 - LEVEL) / max(1, len(ones))
    found = []
    for pair in zip(ones, twos, strict=True):
        cells = [
            (group.acc, wilson(round(group.acc * group.n), group.n, level)) for group in pair if group.acc is not None
        ]
        if len(cells) == 2:
            (one, one_ends), (two, two_ends) = cells
            if one_ends is not None and two_ends is not None:
                found.append((pair[0].name, square_and_add((one, one_ends), (two, two_ends))))
    lost = [one for one in found if one[1].sign < 0]
    return min(lost, key=lambda one: one[1].value) if lost else None


def _same_sets(first: Run, second: Run, column: str) -> bool:
    """Return whether two runs have a number from sets of the same names and sizes."""
    if column not in (OOD, ROBUSTNESS):
        name = column.rpartition("/")[0]
        return name in first.sets and name in second.sets and first.sets[name].n == second.sets[name].n
    one, two = ({name: held.n for name, held in run.sets.items() if held.ood} for run in (first, second))
    return one == two


def _paired(first: Sequence[Run], second: Sequence[Run], column: str) -> Difference | None:
    """Return the difference sample by sample; null where that can't be told."""
    name, _, metric = column.rpartition("/")
    if len(first) != 1 or len(second) != 1 or (column != OOD and metric not in ("acc", "group_mean_acc")):
        return None
    names = [name] if column != OOD else [name for name, held in first[0].sets.items() if held.ood and held.n]
    pairs = [_matched(first[0], second[0], name) for name in names]
    found = [pair for pair in pairs if pair is not None]
    if not found or len(found) < len(pairs):
        return None
    right_a, right_b = (
        np.concatenate([pair[key].to_numpy(dtype=bool) for pair in found]) for key in ("right_a", "right_b")
    )
    part = None  # of several sets each counts equally, as in their mean; so does each group
    if column == OOD:
        part = np.repeat(np.arange(len(found)), [len(pair) for pair in found])
    elif metric == "group_mean_acc":
        part = found[0]["group"].to_numpy()
    return Difference(*paired_difference(right_a, right_b, part))


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
    kept = [run for run in runs if run.samples is not None][:most]
    kept.sort(key=lambda run: RANK[role_of(run.config)])  # so that a method is the first, its baseline the second
    for first, second in combinations(kept, 2):
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
