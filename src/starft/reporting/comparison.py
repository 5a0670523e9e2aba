"""Methods side by side: a table for the terminal and a plot of the same numbers."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from statistics import fmean, stdev

from matplotlib.figure import Figure
from rich.table import Table

from starft.files.atomic import replace_file

Values = Mapping[str, Sequence[float]]
"""Metric -> one number a seed."""


def comparison_table(methods: Mapping[str, Values], columns: Mapping[str, str], titles: Mapping[str, str]) -> Table:
    """Return a table of means over the seeds, with the sample standard deviation where there are several.

    Args:
        methods: Method -> metric -> one number in [0, 1] a seed.
        columns: Metric -> its heading.
        titles: Method -> what the table calls it.
    """
    table = Table(title="accuracy in %" + _seeds(methods))
    table.add_column("method", no_wrap=True)
    for heading in columns.values():
        table.add_column(heading, justify="right")
    for method, values in methods.items():
        table.add_row(titles[method], *(_cell(values[metric]) for metric in columns))
    return table


def gains_table(
    methods: Mapping[str, Values], columns: Mapping[str, str], titles: Mapping[str, str], pairs: Mapping[str, str]
) -> Table:
    """Return a table of differences in points, seed by seed: their mean, and in how many seeds they are positive.

    Args:
        methods: Method -> metric -> one number in [0, 1] a seed.
        columns: Metric -> its heading.
        titles: Method -> what the table calls it.
        pairs: Method -> the baseline it is compared with.
    """
    table = Table(title="gain over the matching baseline, in points (seeds in which it is a gain)")
    table.add_column("method", no_wrap=True)
    for heading in columns.values():
        table.add_column(heading, justify="right")
    for method, baseline in pairs.items():
        cells = []
        for metric in columns:
            gains = [a - b for a, b in zip(methods[method][metric], methods[baseline][metric], strict=True)]
            cells.append(f"{100 * fmean(gains):+z.1f} ({sum(gain > 0 for gain in gains)}/{len(gains)})")
        table.add_row(f"{titles[method]} - {titles[baseline]}", *cells)
    return table


def comparison_plot(
    methods: Mapping[str, Values], columns: Mapping[str, str], titles: Mapping[str, str], path: Path
) -> None:
    """Write a bar chart as PNG: a cluster a metric, a bar a method, whiskers of one standard deviation.

    Args:
        methods: Method -> metric -> one number in [0, 1] a seed.
        columns: Metric -> its heading.
        titles: Method -> what the legend calls it.
        path: Where the picture goes; its folder must exist.
    """
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(methods)
    for turn, (method, values) in enumerate(methods.items()):
        places = [column + (turn - (len(methods) - 1) / 2) * width for column in range(len(columns))]
        heights = [100 * fmean(values[metric]) for metric in columns]
        spread = [100 * _spread(values[metric]) for metric in columns]
        axes.bar(places, heights, width, yerr=spread, label=titles[method], error_kw={"linewidth": 1})
    axes.set_xticks(range(len(columns)), list(columns.values()))
    axes.set_ylabel("accuracy, %" + _seeds(methods))
    axes.set_ylim(0, 100)
    figure.legend(loc="outside upper center", ncols=len(methods), frameon=False)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    replace_file(path, buffer.getvalue())


def _cell(values: Sequence[float]) -> str:
    mean = f"{100 * fmean(values):.1f}"
    return f"{mean} ± {100 * _spread(values):.1f}" if len(values) > 1 else mean


def _spread(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


def _seeds(methods: Mapping[str, Values]) -> str:
    count = len(next(iter(next(iter(methods.values())).values())))
    return f", mean ± standard deviation over {count} seeds" if count > 1 else ""
