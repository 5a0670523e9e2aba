"""The table of methods as Markdown, CSV and LaTeX."""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO

from starft.reporting.methods import ROBUSTNESS, Cell, heading
from starft.reporting.report_file import CSV_HEAD, LATEX_MARK
from starft.safe_text import csv_cell, latex_text, markdown_code, markdown_text, visible
from starft.statistics import Interval

Table = Mapping[str, Mapping[str, Cell | None]]
"""Method -> column -> cell."""


def percent(share: float | None) -> str:
    """Return a share in % with one digit, or a dash.

    Args:
        share: In [0, 1].
    """
    return "–" if share is None else f"{100 * share:.1f}"


def points(difference: float) -> str:
    """Return a difference in points with its sign and one digit; what rounds to zero has no sign.

    Args:
        difference: Of two shares, in [-1, 1].
    """
    rounded = round(100 * difference, 1)
    return f"{rounded:+.1f}" if rounded else "0.0"


def shown(value: float, column: str) -> str:
    """Return a number of a column: effective robustness in points, others in %.

    Args:
        value: The number, a share.
        column: ``{eval set}/{metric}``, ``ood_acc`` or ``effective_robustness``.
    """
    return points(value) if column == ROBUSTNESS else percent(value)


def between(interval: Interval, column: str) -> str:
    """Return the ends of an interval of a column.

    Args:
        interval: Both ends, shares.
        column: ``{eval set}/{metric}``, ``ood_acc`` or ``effective_robustness``.
    """
    return (" to " if column == ROBUSTNESS else "–").join(shown(end, column) for end in interval)


def prose(sentences: Sequence[tuple[str, str]], notes: Sequence[str] = ()) -> str:
    """Return sentences as Markdown, a list item each, and notes below.

    Args:
        sentences: Text and the command that it ends in, or "".
        notes: Paragraphs of plain text; empty ones are left out.
    """
    items = [f"- {markdown_text(text)}{f' {markdown_code(command)}' if command else ''}" for text, command in sentences]
    return "\n\n".join(part for part in ("\n".join(items), *map(markdown_text, notes)) if part) + "\n\n"


def markdown(table: Table, columns: Sequence[str], runs: Mapping[str, int], baselines: Sequence[str] = ()) -> str:
    """Return a table of percentages with intervals, the best in bold where it is certain.

    Args:
        table: Methods' cells.
        columns: What to tell.
        runs: Method -> number of its runs.
        baselines: Names of the runs that effective robustness is measured from.
    """
    lines = ["| method | runs | " + " | ".join(markdown_text(heading(column)) for column in columns) + " |"]
    lines.append("|---|---" + "|---" * len(columns) + "|")
    for method, row in table.items():
        cells = [_text(row[column], column, "**{}**") for column in columns]
        lines.append(f"| {markdown_text(method)} | {runs[method]} | " + " | ".join(cells) + " |")
    told = "Numbers in %, with 95 % intervals; bold is better than each other beyond doubt."
    if baselines:
        told += " Effective robustness: points of OOD accuracy above the line fitted to "
        told += ", ".join(map(markdown_text, baselines)) + "."
    return "\n".join(lines) + f"\n\n{told}\n"


def latex(table: Table, columns: Sequence[str], runs: Mapping[str, int]) -> str:
    """Return a tabular of the same.

    Args:
        table: Methods' cells.
        columns: What to tell.
        runs: Method -> number of its runs.
    """
    lines = [rf"\begin{{tabular}}{{lr{'r' * len(columns)}}}", r"\hline"]
    lines.append(" & ".join(["method", "runs", *(latex_text(heading(column)) for column in columns)]) + r" \\ \hline")
    for method, row in table.items():
        cells = [_text(row[column], column, r"\textbf{{{}}}") for column in columns]
        cells = [cell.replace("-", "$-$").replace("–", "--") for cell in cells]
        lines.append(" & ".join([latex_text(method), str(runs[method]), *cells]) + r" \\")
    return LATEX_MARK + "\n".join([*lines, r"\hline", r"\end{tabular}", ""])


def comma_separated(table: Table, columns: Sequence[str], runs: Mapping[str, int]) -> str:
    """Return one row a method and column, as shares: value, ends of the interval, standard deviation over runs.

    Args:
        table: Methods' cells.
        columns: What to tell.
        runs: Method -> number of its runs.
    """
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_HEAD)
    for method, row in table.items():
        name = csv_cell(visible(method))
        for column in columns:
            cell = row[column]
            if cell is not None:
                low, high = cell.interval if cell.interval is not None else ("", "")
                spread = "" if cell.spread is None else cell.spread
                writer.writerow(
                    [name, runs[method], csv_cell(visible(column)), cell.value, low, high, spread, int(cell.best)]
                )
    return out.getvalue()


def _text(cell: Cell | None, column: str, bold: str) -> str:
    if cell is None:
        return "–"
    value = bold.format(shown(cell.value, column)) if cell.best else shown(cell.value, column)
    return value if cell.interval is None else f"{value} ({between(cell.interval, column)})"
