"""The curve of a sweep through weight space: ID accuracy against OOD accuracy."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from rich.table import Table

from starft.files.atomic import replace_file
from starft.reporting.compare_report import heading
from starft.types import EvalSet

Rows = Sequence[Mapping[str, Any]]
"""One a place: ``alpha`` and ``metrics``."""

SHOWN = ("acc", "worst_group_acc")
"""What the table shows of each set; the rest is in the file of numbers."""


def curve_axes(eval_sets: Sequence[EvalSet], class_names: Sequence[str]) -> list[str] | None:
    """Return the metrics of the two axes, or null where the sets have no two that belong there.

    Across goes the accuracy of the first set that isn't OOD, one with the training classes if there is one; up goes
    ``ood_acc``, or the worst group's accuracy where no set is OOD.

    Args:
        eval_sets: What was scored.
        class_names: Training classes.
    """
    usual = [one for one in eval_sets if not one.ood]
    usual.sort(key=lambda one: one.class_names != tuple(class_names))  # stable: the first one stays first
    grouped = [one for one in eval_sets if one.group_names and not one.metrics]
    up = "ood_acc" if len(usual) < len(eval_sets) else f"{grouped[0].name}/worst_group_acc" if grouped else None
    return [f"{usual[0].name}/acc", up] if usual and up is not None else None


def curve_table(rows: Rows) -> Table:
    """Return a table with a row a place: accuracies and worst groups, as a sweep of all metrics fits no terminal.

    Args:
        rows: The places.
    """
    table = Table(title="accuracy in %")
    table.add_column("alpha", justify="right")
    metrics = [metric for metric in rows[0]["metrics"] if metric == "ood_acc" or metric.rpartition("/")[2] in SHOWN]
    for metric in metrics:
        table.add_column(heading(metric), justify="right")
    for row in rows:
        table.add_row(f"{row['alpha']:g}", *(f"{100 * row['metrics'][metric]:.1f}" for metric in metrics))
    return table


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
