"""What a test found, as tables for the terminal."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.table import Table

from starft.reporting.console import Console
from starft.runs.results import legend
from starft.safe_text import say, visible

HEADINGS = {
    "acc": "accuracy",
    "worst_group_acc": "worst group",
    "typical_acc": "typical",
    "atypical_acc": "atypical",
    "group_mean_acc": "group mean",
    "adjusted_acc": "adjusted",
    "top5_acc": "top 5",
    "macro_f1": "macro F1",
    "ece": "ECE",
    "text_head_acc": "text head",
}
"""Metric -> its heading; other metrics keep their names."""


class Scored(Protocol):
    """Of an eval set what tells how well guessing does on it; the report must not load torch for more."""

    @property
    def name(self) -> str:
        """Of the set."""
        ...

    @property
    def num_labels(self) -> int:
        """How many answers there are."""
        ...

    @property
    def accepted(self) -> Sequence[Sequence[int]]:
        """Several right answers for each label; empty where there is one."""
        ...


def print_results(path: Path, zero_shot: Sequence[Scored] = ()) -> None:
    """Print the tables of a results.json: every eval set, then the groups of those that have any.

    Args:
        path: The file.
        zero_shot: The eval sets, where the pre-trained model was scored: it is noted if it isn't better than chance.
    """
    results = json.loads(path.read_text(encoding="utf-8"))
    console = Console()
    for table in results_tables(results):
        console.print(table)
    told = legend(metric for one in results["eval_sets"].values() for metric in one["metrics"])
    if told:
        console.print(told)
    console.print(f"Numbers: {visible(str(path))}", soft_wrap=True)
    for note in (*unseen_notes(results), *chance_notes(results, zero_shot)):
        say(f"Note: {note}", file=sys.stderr)


def unseen_notes(results: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each set whose worst group isn't one of all groups, as some have no image.

    Args:
        results: What results.json holds.
    """
    notes = []
    for name, held in results["eval_sets"].items():
        unseen = [group["name"] for group in held["groups"] if not group["n"]]
        if unseen and "worst_group_acc" in held["metrics"]:
            has = "has" if len(unseen) == 1 else "have"
            notes.append(
                f"In the set “{visible(name)}” {len(unseen)} of {len(held['groups'])} groups {has} no image "
                f"({visible(unseen[0])}{', ...' if len(unseen) > 1 else ''}): how the model does there isn't known, "
                "and the worst group is one of the others."
            )
    return notes


def chance_notes(results: Mapping[str, Any], zero_shot: Sequence[Scored]) -> list[str]:
    """Return a sentence for each set on which a frozen model can't be told from one that guesses.

    Args:
        results: What results.json holds.
        zero_shot: What it was scored on; a set that takes several answers as right is left out.
    """
    notes = []
    for one in zero_shot:
        found, chance = results["eval_sets"][one.name], 1 / one.num_labels
        interval = found["ci95"].get("acc")
        if interval is not None and interval[0] <= chance and not one.accepted:
            low, high = map(_percent, interval)
            notes.append(
                f"On {one.name} the pre-trained model isn't certainly better than chance: {low} to {high} % (95 % "
                f"interval), where guessing among {one.num_labels} classes gives {_percent(chance)} %. "
                "What the frozen model doesn't know, StarFT can't keep; take another model or better class names."
            )
    return notes


def results_tables(results: Mapping[str, Any]) -> list[Table]:
    """Return one table of all eval sets, and one of the groups of each set that has several.

    Args:
        results: What results.json holds.
    """
    sets = results["eval_sets"]
    metrics = list(dict.fromkeys([*HEADINGS, *(metric for one in sets.values() for metric in one["metrics"])]))
    metrics = [metric for metric in metrics if any(metric in one["metrics"] for one in sets.values())]
    table = Table(title="results in %")
    table.add_column("set", overflow="fold")
    table.add_column("n", justify="right")
    for metric in metrics:
        table.add_column(HEADINGS.get(metric, metric), justify="right")
    for name, one in sets.items():
        cells = [_percent(one["metrics"].get(metric)) for metric in metrics]
        mark = " (OOD)" if one["ood"] else ""
        table.add_row(name + mark, f"{sum(group['n'] for group in one['groups']):,}", *cells)
    return [table, *(_groups(name, one) for name, one in sets.items() if len(one["groups"]) > 1)]


def _groups(name: str, one: Mapping[str, Any]) -> Table:
    seen = [group["acc"] for group in one["groups"] if group["n"]]
    told = "worst" if seen.count(min(seen, default=0)) == 1 else "worst, tied"
    table = Table(title=f"groups of the set “{name}”")
    table.add_column("group", overflow="fold")
    for heading in ("n", "accuracy", "95 % interval"):
        table.add_column(heading, justify="right")
    for group in one["groups"]:
        interval = _interval(group["ci95"])
        worst = f" ({told})" if group["n"] and group["acc"] == min(seen) else ""
        table.add_row(group["name"] + worst, f"{group['n']:,}", _percent(group["acc"]), interval)
    for metric, title in (("typical_acc", "with the usual attribute"), ("atypical_acc", "without the usual attribute")):
        if metric in one["metrics"]:
            images = sum(group["n"] for group in one["groups"] if group["typical"] is (metric == "typical_acc"))
            interval = _interval(one["ci95"].get(metric))
            table.add_row(title, f"{images:,}", _percent(one["metrics"][metric]), interval, style="bold")
    return table


def _interval(ends: Sequence[float] | None) -> str:
    return "–".join(map(_percent, ends)) if ends else "–"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"
