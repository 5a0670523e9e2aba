"""What a test found, as tables for the terminal."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from starft.reporting.console import Console
from starft.reporting.table import Table, percent
from starft.runs.results import HEADINGS, legend
from starft.safe_text import say, visible
from starft.types import EvalSet


def print_results(path: Path, zero_shot: Sequence[EvalSet] = ()) -> None:
    """Print the tables of a results.json: every eval set, then the groups of those that have any.

    Args:
        path: The file.
        zero_shot: The eval sets, where the pre-trained model was scored: it is noted if it isn't better than chance.
    """
    results = json.loads(path.read_text(encoding="utf-8"))
    console = Console()
    for table in results_tables(results):
        console.print(table)
    words = legend(metric for item in results["eval_sets"].values() for metric in item["metrics"])
    if words:
        console.print(words)
    console.print(f"Numbers: {visible(str(path))}", soft_wrap=True)
    for note in (*unseen_notes(results), *chance_notes(results, zero_shot)):
        say(f"Note: {note}", file=sys.stderr)


def unseen_notes(results: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each set whose worst group isn't one of all groups, as some have no image.

    Args:
        results: What results.json holds.
    """
    notes = []
    for name, scores in results["eval_sets"].items():
        unseen = [group["name"] for group in scores["groups"] if not group["n"]]
        if unseen and "worst_group_acc" in scores["metrics"]:
            has = "has" if len(unseen) == 1 else "have"
            notes.append(
                f"In the set “{visible(name)}” {len(unseen)} of {len(scores['groups'])} groups {has} no image "
                f"({visible(unseen[0])}{', ...' if len(unseen) > 1 else ''}): how the model does there isn't known, "
                "and the worst group is one of the others."
            )
    return notes


def chance_notes(results: Mapping[str, Any], zero_shot: Sequence[EvalSet]) -> list[str]:
    """Return a sentence for each set on which a frozen model can't be told from one that guesses.

    Args:
        results: What results.json holds.
        zero_shot: What it was scored on; a set that takes several answers as right is left out.
    """
    notes = []
    for item in zero_shot:
        if item.captions:
            continue
        matches, chance = results["eval_sets"][item.name], 1 / item.num_labels
        interval = matches["ci95"].get("acc")
        if interval is not None and interval[0] <= chance and not item.accepted:
            low, high = map(percent, interval)
            notes.append(
                f"On {item.name} the pre-trained model isn't certainly better than chance: {low} to {high} % (95 % "
                f"interval), where guessing among {item.num_labels} classes gives {percent(chance)} %. "
                "What the frozen model doesn't know, StarFT can't keep; take another model or better class names."
            )
    return notes


def results_tables(results: Mapping[str, Any]) -> list[Table]:
    """Return one table of all eval sets, and one of the groups of each set that has several.

    Args:
        results: What results.json holds.
    """
    sets = results["eval_sets"]
    metrics = list(dict.fromkeys([*HEADINGS, *(metric for item in sets.values() for metric in item["metrics"])]))
    metrics = [metric for metric in metrics if any(metric in item["metrics"] for item in sets.values())]
    rows = [
        [
            name + (" (OOD)" if item["ood"] else ""),
            f"{sum(group['n'] for group in item['groups']):,}",
            *(percent(item["metrics"].get(metric)) for metric in metrics),
        ]
        for name, item in sets.items()
    ]
    table = Table(["set", "n", *(HEADINGS.get(metric, metric) for metric in metrics)], rows, "results in %")
    return [table, *(_groups(name, item) for name, item in sets.items() if len(item["groups"]) > 1)]


def _groups(name: str, one: Mapping[str, Any]) -> Table:
    accuracies = [group["acc"] for group in one["groups"] if group["n"]]
    lowest = min(accuracies, default=0)
    mark = " (worst)" if accuracies.count(lowest) == 1 else " (worst, tied)"
    rows = [
        [
            group["name"] + (mark if group["n"] and group["acc"] == lowest else ""),
            f"{group['n']:,}",
            percent(group["acc"]),
            _interval(group["ci95"]),
        ]
        for group in one["groups"]
    ]
    sums = []
    for metric, title in (("typical_acc", "with the usual attribute"), ("atypical_acc", "without the usual attribute")):
        if metric in one["metrics"]:
            images = sum(group["n"] for group in one["groups"] if group["typical"] is (metric == "typical_acc"))
            sums.append([title, f"{images:,}", percent(one["metrics"][metric]), _interval(one["ci95"].get(metric))])
    headings = ["group", "n", "accuracy", "95 % interval"]
    return Table(headings, [*rows, *sums], f"groups of the set “{name}”", sums=len(sums))


def _interval(ends: Sequence[float] | None) -> str:
    return "–".join(map(percent, ends)) if ends else "–"
