"""What ``starft tune`` writes of its trials: a table, a picture and a config with the reasons of the choice."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from starft.files.atomic import replace_file
from starft.reporting.table import Table
from starft.runs.validation import PREFIX, Validation
from starft.safe_text import visible

ID_ACCURACY = "ID accuracy"
"""What a rule watches that needs no number beside the ID accuracy."""


@dataclass(frozen=True)
class Row:
    """A run of a trial.

    Args:
        trial: Its title.
        length: ``short`` or ``full``.
        values: Tried key -> value.
        validation: What it scored; None where it hasn't run.
        watched: What the rule watches, in its own unit; None without numbers.
        accuracy: On the ID validation set; None without numbers.
        chosen: Whether it is chosen.
    """

    trial: str
    length: str
    values: Mapping[str, Any]
    validation: Validation | None
    watched: float | None = None
    accuracy: float | None = None
    chosen: bool = False

    @property
    def state(self) -> str:
        """Whether it has run, and how it ended."""
        if self.validation is None:
            return "not run"
        return "chosen" if self.chosen else "failed" if self.validation.failure else "done"


def trials_table(rows: Sequence[Row]) -> Table:
    """Return a row a run: its keys, its validation metrics by their names, seconds.

    Args:
        rows: The runs, one at least.
    """
    keys = list(rows[0].values)
    scored = [row.validation for row in rows if row.validation is not None]
    metrics = list(dict.fromkeys(name for item in scored for name in item.metrics))
    lines = []
    for row in rows:
        found = row.validation or Validation()
        numbers = [found.metrics.get(name, "") for name in metrics]
        seconds = found.seconds if row.validation else ""
        values = [value if type(value) in (int, float) else str(value) for value in row.values.values()]
        lines.append([row.trial, row.length, row.state, *values, *numbers, seconds])
    return Table(["trial", "length", "state", *keys, *(f"{PREFIX}{name}" for name in metrics), "seconds"], lines)


def ranking_table(rows: Sequence[Row], watches: str) -> Table:
    """Return what a terminal shows: the keys, ID accuracy and what the rule watches beside it.

    Args:
        rows: The runs, one at least.
        watches: What the rule watches.
    """
    watched = [watches] if watches != ID_ACCURACY else []
    cells = [
        [row.trial, row.length, *map(str, row.values.values()), _digits(row.accuracy)]
        + [_digits(row.watched)] * len(watched)
        + [row.state]
        for row in rows
    ]
    headings = ["trial", "length", *(key.removesuffix(".weight").replace(".init_args", "") for key in rows[0].values)]
    align = f"ll{'r' * (len(rows[0].values) + 1 + len(watched))}l"
    return Table([*headings, ID_ACCURACY, *watched, ""], cells, align=align)


def _digits(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def trials_plot(rows: Sequence[Row], watches: str, path: Path) -> None:
    """Draw ID accuracy against what the rule watches; the chosen run has a ring.

    Args:
        rows: The runs; those without numbers are left out.
        watches: What the rule watches.
        path: A PNG file; its folder must exist.
    """
    figure = Figure(figsize=(5, 4), layout="constrained")
    plot = figure.add_subplot()
    for length, marker in (("short", "x"), ("full", "o")):
        some = [row for row in rows if row.length == length and row.accuracy is not None and row.watched is not None]
        across, up = [100 * (row.accuracy or 0.0) for row in some], [row.watched or 0.0 for row in some]
        if some:
            plot.scatter(across, up, marker=marker, label=f"{length} run")
        for row, x, y in zip(some, across, up, strict=True):
            plot.annotate(row.trial.split()[-1], (x, y), textcoords="offset points", xytext=(4, 4), fontsize=7)
            if row.chosen:
                plot.scatter([x], [y], s=150, facecolors="none", edgecolors="black", label="chosen")
    plot.set_xlabel("ID validation accuracy, %")
    plot.set_ylabel(watches)
    plot.legend()
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    replace_file(path, buffer.getvalue())


def chosen_config(text: str, reasons: Sequence[str], folder: Path, summary: bool | None) -> str:
    """Return the whole config of the chosen run as one that trains into a folder of its own.

    Args:
        text: The run's config.
        reasons: Lines of comment.
        folder: Where it trains to.
        summary: ``trainer.enable_model_summary`` of the config that was tuned.
    """
    shown = {None: "null", True: "true", False: "false"}[summary]
    text = re.sub(
        r"^  default_root_dir: .*(\n    .*)*$",
        lambda _: f"  default_root_dir: {_quoted(folder)}",
        text,
        count=1,
        flags=re.M,
    )
    text = re.sub(r"^  enable_model_summary: .*$", f"  enable_model_summary: {shown}", text, count=1, flags=re.M)
    return "".join(f"# {visible(line)}\n" for line in reasons) + text


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "''") + "'"


def edge_note(key: str, value: Any, tried: Sequence[Any]) -> str:
    """Return a note where the chosen value is the smallest or largest of several numbers; empty elsewhere.

    Args:
        key: What was tried.
        value: What is chosen.
        tried: All values.
    """
    numbers = sorted(item for item in tried if type(item) in (int, float))
    if len(numbers) < 2 or value not in (numbers[0], numbers[-1]):
        return ""
    side, more = ("smallest", "smaller") if value == numbers[0] else ("largest", "larger")
    return f"The chosen {key} {value:g} is the {side} that was tried; try {more} ones too."
