"""The verdict on runs: which numbers it is on, what is known of each method, and the commands that it ends in."""

import re
import shlex
from collections.abc import Mapping, Sequence

from starft.reporting.differences import Difference, difference_of, most_lost
from starft.reporting.methods import OOD as OOD_COLUMN
from starft.reporting.methods import Cell
from starft.reporting.roles import plain_of, role_of
from starft.reporting.verdict import ID, OOD, WORST, Method, Sentence, listed, verdict
from starft.runs.layout import CONFIG
from starft.runs.run_reader import Run, shortened

LISTED = 6
"""Configs that the command for more seeds names; where there are more, or one is missing, it has dots."""


def verdict_of(
    methods: Mapping[str, Sequence[Run]],
    table: Mapping[str, Mapping[str, Cell | None]],
    numbers: Mapping[str, str],
) -> list[Sentence]:
    """Return the verdict on runs.

    Args:
        methods: Tested runs by method.
        table: Method -> column -> cell.
        numbers: Name of a number -> its column, as `numbers_of` tells.
    """
    known = []
    for name, runs in methods.items():
        config = runs[0].config
        model = config.get("model") or {}
        cells = {word: cell for word, column in numbers.items() if (cell := table[name][column]) is not None}
        about = (role_of(config), plain_of(config), f"{model.get('model_name')} {model.get('pretrained')}")
        known.append(Method(name, *about, len(runs), cells))
    files = {one.name: methods[one.name][0].folder / CONFIG for one in known if one.role != "zero-shot"}
    paths = [shortened(path) for path in files.values() if path.is_file()]
    names = {name.rpartition("/")[2] for name in files}  # they name folders
    usable = len(paths) == len(files) == len(names) <= LISTED and all(
        re.fullmatch(r"[\w-][\w.-]*", one) for one in names
    )
    several = ",".join(f"{name.rpartition('/')[2]}={path}" for name, path in zip(files, paths, strict=False))
    grouped = numbers.get(WORST, "").rpartition("/")[0]

    def losing(first: str, second: str) -> tuple[str, Difference] | None:
        return most_lost(methods[first], methods[second], grouped)

    told = verdict(
        known,
        lambda word, first, second: difference_of(methods, table, numbers[word], first, second),
        shlex.quote(paths[0]) if paths else "...",
        shlex.quote(several) if usable else "...",
        losing,
    )
    return [*told, *unfinished(methods)]


def unfinished(methods: Mapping[str, Sequence[Run]]) -> list[Sentence]:
    """Return what to know of runs that were tested before their training had ended.

    Args:
        methods: Runs by method.
    """
    runs = [run for runs in methods.values() for run in runs if run.unfinished]
    told = [f"{run.name} {run.unfinished}" for run in runs[:LISTED]] + ["others"] * (len(runs) > LISTED)
    return [Sentence(f"Not trained to the end, so not what the method can do: {listed(told)}.")] if told else []


def numbers_of(columns: Sequence[str], id_column: str | None, ood_sets: Sequence[str]) -> dict[str, str]:
    """Return the numbers that a verdict is on, each with its column; the worst group is that of a set of its own first.

    Args:
        columns: That there are.
        id_column: The one of ID accuracy; null for none.
        ood_sets: Names of the OOD sets, whose worst groups come last.
    """
    worst = [column for column in columns if column.rpartition("/")[2] == "worst_group_acc"]
    usual = (id_column or "").rpartition("/")[0]
    worst.sort(key=lambda column: ((name := column.rpartition("/")[0]) in ood_sets, name == usual))
    found = {ID: id_column, OOD: OOD_COLUMN if OOD_COLUMN in columns else None, WORST: worst[0] if worst else None}
    return {word: column for word, column in found.items() if column is not None}


def terms(numbers: Mapping[str, str], ood_sets: Sequence[str]) -> str:
    """Return what the words of a verdict mean.

    Args:
        numbers: Name of a number -> its column.
        ood_sets: Names of the OOD sets.
    """
    told = []
    for word, column in numbers.items():
        sets = list(ood_sets) if word == OOD else [column.rpartition("/")[0]]
        named = listed([f"“{name}”" for name in sets])
        told.append(f"{word}: {'the mean over ' if len(sets) > 1 else 'of '}{named}")
    certain = "one method beats another where the interval of their difference excludes 0"
    return f"{'; '.join(told)}. In brackets 95 % intervals; {certain}."
