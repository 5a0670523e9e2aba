"""The curve of a sweep through weight space: ID accuracy against OOD accuracy."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from starft.files.atomic import replace_file
from starft.reporting.comparison import heading
from starft.reporting.table import Table, percent
from starft.types import EvalSet

Rows = Sequence[Mapping[str, Any]]
"""One a place: ``alpha`` and ``metrics``."""

SHOWN = ("acc", "worst_group_acc")
"""What the table shows of each set; the rest is in the file of numbers."""


def curve_axes(eval_sets: Sequence[EvalSet], class_names: Sequence[str]) -> list[str] | None:
    """Return the metrics of the two axes, or None where the sets have no two that belong there.

    Across goes the accuracy of the first set that isn't OOD, one with the training classes if there is one; up goes
    ``ood_acc``, or the worst group's accuracy where no set is OOD.

    Args:
        eval_sets: What was scored.
        class_names: Training classes.
    """
    usual = [eval_set for eval_set in eval_sets if not eval_set.ood]
    usual.sort(key=lambda one: one.class_names != tuple(class_names))  # stable: the first one stays first
    grouped = [eval_set for eval_set in eval_sets if eval_set.group_names and not eval_set.metrics]
    up = "ood_acc" if len(usual) < len(eval_sets) else f"{grouped[0].name}/worst_group_acc" if grouped else None
    return [f"{usual[0].name}/acc", up] if usual and up is not None else None


def curve_table(rows: Rows) -> Table:
    """Return a table with a row a place: accuracies and worst groups, as a sweep of all metrics fits no terminal.

    Args:
        rows: The places.
    """
    return places_table("alpha", [{**row, "place": f"{row['alpha']:g}"} for row in rows])


def places_table(header: str, rows: Rows) -> Table:
    """Return a table with a row for each model: accuracies and worst groups.

    Args:
        header: Of the first column.
        rows: ``place`` and ``metrics`` of each.
    """
    metrics = [metric for metric in rows[0]["metrics"] if metric == "ood_acc" or metric.rpartition("/")[2] in SHOWN]
    cells = [[row["place"], *(percent(row["metrics"][metric]) for metric in metrics)] for row in rows]
    return Table([header, *map(heading, metrics)], cells, "accuracy in %", align="r" * (1 + len(metrics)))


def curve_plot(rows: Rows, axes: Sequence[str], path: Path) -> None:
    """Write the curve as PNG, each place marked with its alpha.

    Args:
        rows: The places, in their order along the line.
        axes: The metrics across and up.
        path: Where the picture goes; its folder must exist.
    """
    across, up = ([100 * row["metrics"][metric] for row in rows] for metric in axes)
    figure = Figure(figsize=(5, 4), layout="constrained")
    plot = figure.add_subplot()
    plot.plot(across, up, marker="o")
    for row, x, y in zip(rows, across, up, strict=True):
        plot.annotate(f"{row['alpha']:g}", (x, y), textcoords="offset points", xytext=(4, 4), fontsize=8)
    plot.set_xlabel(f"{heading(axes[0])} accuracy, %")
    plot.set_ylabel(f"{heading(axes[1])} accuracy, %")
    for axis in (plot.xaxis, plot.yaxis):
        axis.label.set_parse_math(False)  # names of sets may hold dollar signs
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    replace_file(path, buffer.getvalue())
