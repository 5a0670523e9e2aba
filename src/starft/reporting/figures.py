"""The report's plots. They hold no names of runs, which a page's own legend tells by colour and mark."""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO, StringIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from starft.reporting.methods import ROBUSTNESS, Cell, heading
from starft.reporting.report_file import PNG_MARK
from starft.reporting.robustness import Line
from starft.runs.run_reader import Run
from starft.safe_text import visible_lines

COLORS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66a8c8", "#aa3377", "#997700", "#ee8866", "#44bb99", "#888888")
MARKS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "h")
SIGNS = dict(zip(MARKS, "●■▲◆▼✚✖◀▶⬢", strict=True))
"""A mark as a letter of the page's legend."""

INK = "#010203"
"""Drawn in this, replaced by the page's own text colour."""

LARGEST_SVG = 300_000
"""Bytes; a larger picture goes in as PNG."""

CURVE_POINTS = 6_000
"""Points of all lines in the figure of one metric; a phone shows no more."""

STYLE: Any = {
    "text.parse_math": False,  # a name may hold dollar signs
    "svg.fonttype": "none",
    "svg.hashsalt": "starft",
    "figure.facecolor": "none",
    "figure.edgecolor": "none",
    "axes.facecolor": "none",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "grid.alpha": 0.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 10,
}


def look(position: int) -> tuple[str, str]:
    """Return colour and mark of the method at a position.

    Args:
        position: Of the method in the report.
    """
    return COLORS[position % len(COLORS)], MARKS[(position // len(COLORS) + position) % len(MARKS)]


def inline(figure: Figure) -> str:
    """Return a figure as markup of a page: SVG, or a PNG where that would be large.

    Args:
        figure: Drawn under `STYLE`.
    """
    text, canvas = StringIO(), FigureCanvasSVG(figure)
    # savefig would draw the figure twice, the first time for its layout alone
    canvas.print_svg(text, metadata={"Date": None, "Creator": None})  # type: ignore[no-untyped-call]
    svg = visible_lines(text.getvalue())
    if len(svg) <= LARGEST_SVG:
        return svg[svg.index("<svg") :].replace(INK, "currentColor")
    return f'<img class="plot" alt="plot" src="data:image/png;base64,{b64encode(as_png(figure)).decode()}">'


def as_png(figure: Figure, dpi: int = 110) -> bytes:
    """Return a figure as PNG on white.

    Args:
        figure: Any.
        dpi: Dots an inch.
    """
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata=PNG_MARK)
    return buffer.getvalue()


def style() -> Any:
    """Return the context in which the report's figures are drawn and saved."""
    return mpl.rc_context(STYLE)


def scatter(cells: Mapping[str, tuple[Cell, Cell]], positions: Mapping[str, int], line: Line | None) -> Figure:
    """Draw ID against OOD accuracy in %, a point a method, with both intervals.

    Args:
        cells: Method -> its numbers across and up.
        positions: Method -> its position in the report.
        line: Of the baselines, or None.
    """
    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for method, (across, up) in cells.items():
        color, mark = look(positions[method])
        x, y = 100 * across.value, 100 * up.value
        _, _, whiskers = axes.errorbar(
            x, y, _whiskers(up), _whiskers(across), fmt=mark, color=color, markersize=6, elinewidth=0.8
        )
        for whisker in whiskers:
            whisker.set_alpha(1.0 if len(cells) <= 12 else 0.3)
    if line is not None:
        low, high = axes.get_xlim()
        places = np.linspace(max(low, 0.1), min(high, 99.9), 60)
        axes.plot(places, 100 * line.expected(places / 100), "--", color=INK, linewidth=1)
        axes.set_xlim(low, high)
    axes.set_xlabel("ID accuracy, %")
    axes.set_ylabel("OOD accuracy, %")
    return figure


def _whiskers(cell: Cell) -> list[list[float]] | None:
    if cell.interval is None:
        return None
    return [[100 * max(0.0, cell.value - cell.interval[0])], [100 * max(0.0, cell.interval[1] - cell.value)]]


def sweeps(runs: Sequence[Run], positions: Mapping[str, int]) -> Figure:
    """Draw the lines through weight space, each place with its alpha where there are few lines.

    Args:
        runs: Those with a sweep.
        positions: Method -> its position in the report.
    """
    figure = Figure(figsize=(4.6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for run in runs:
        assert run.sweep is not None
        across, up = [100 * x for x in run.sweep.across], [100 * y for y in run.sweep.up]
        axes.plot(across, up, marker="o", markersize=3, color=look(positions.get(run.method, 0))[0], linewidth=1)
        if len(runs) <= 4:
            for alpha, x, y in zip(run.sweep.alphas, across, up, strict=True):
                axes.annotate(f"{alpha:g}", (x, y), textcoords="offset points", xytext=(4, 4), fontsize=7)
    first = runs[0].sweep
    assert first is not None
    axes.set_xlabel(f"{heading(first.axes[0])}, %")
    axes.set_ylabel(f"{heading(first.axes[1])}, %")
    return figure


def curves(runs: Sequence[Run], positions: Mapping[str, int]) -> Iterator[tuple[str, Figure]]:
    """Draw every logged term and validation metric, a small figure each, a line a run.

    Args:
        runs: All runs.
        positions: Method -> its position in the report.

    Yields:
        Metric and figure: the total loss first, then the terms, then what validation tells.
    """
    names = list(dict.fromkeys(name for run in runs for name in run.curves))
    names.sort(key=lambda name: (name != "train/loss", not name.startswith("train/")))
    for name in names:
        figure = Figure(figsize=(3.2, 2.2), layout="constrained")
        axes = figure.add_subplot()
        contents = [run for run in runs if name in run.curves]
        scale = 1 if name.startswith("train/") else 100  # what validation tells are shares
        for run in contents:
            every = max(1, -(-len(run.curves[name][0]) * len(contents) // CURVE_POINTS))
            steps, values = run.curves[name][0][::every], [scale * value for value in run.curves[name][1][::every]]
            mark = "o" if len(steps) == 1 else None
            color = look(positions.get(run.method, 0))[0]
            axes.plot(steps, values, color=color, linewidth=0.9, marker=mark, markersize=3, alpha=0.8)
        axes.set_xlabel("training step", fontsize=9)
        axes.set_ylabel("loss" if name.startswith("train/") else "%", fontsize=9)
        axes.tick_params(labelsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        yield name, figure


def overview(
    table: Mapping[str, Mapping[str, Cell | None]], columns: Sequence[str], positions: Mapping[str, int]
) -> Figure:
    """Draw every method's numbers with their intervals, a panel a column: the picture of ``--format png``.

    Args:
        table: Method -> column -> cell.
        columns: Which panels, in their order.
        positions: Method -> its position in the report.
    """
    across = min(4, len(columns))
    down = -(-len(columns) // across)
    figure = Figure(figsize=(1.6 + 2.2 * across, down * (1.05 + 0.22 * len(table))), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False)
    methods = list(table)
    for panel, column in zip(panels.flatten(), columns, strict=False):
        _overview_panel(panel, [table[method][column] for method in methods], [positions[method] for method in methods])
        panel.set_title(heading(column), fontsize=9)
        panel.set_xlabel("points" if column == ROBUSTNESS else "%", fontsize=8)
        panel.set_yticks(range(len(methods)), [])
        panel.set_ylim(len(methods) - 0.5, -0.5)
    for row in panels:
        row[0].set_yticks(range(len(methods)), methods, fontsize=8)
    for panel in panels.flatten()[len(columns) :]:
        panel.set_visible(False)
    return figure


def _overview_panel(panel: Axes, cells: Sequence[Cell | None], positions: Sequence[int]) -> None:
    for row, (cell, position) in enumerate(zip(cells, positions, strict=True)):
        if cell is not None:
            color, mark = look(position)
            panel.errorbar(100 * cell.value, row, xerr=_whiskers(cell), fmt=mark, color=color, markersize=5)
    panel.tick_params(labelsize=7)
