"""One table of results, for a terminal and as Markdown, CSV, LaTeX and HTML; its text is made safe for each place.

A cell is text, a number as it is, or a `Number` as a reader sees it, with its interval.
"""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from starft.safe_text import csv_cell, latex_text, markdown_text, visible, visible_lines

if TYPE_CHECKING:
    from rich.table import Table as RichTable


@dataclass(frozen=True)
class Number:
    """A number as it is shown.

    Args:
        text: The number.
        spread: Its standard deviation over runs; empty for none.
        interval: Both ends; empty for none.
        best: Whether it is certainly the best of its column.
    """

    text: str
    spread: str = ""
    interval: str = ""
    best: bool = False

    def __str__(self) -> str:
        return self.joined(self.text)

    def joined(self, text: str) -> str:
        """Return all of it in one line.

        Args:
            text: The number itself, marked if it is the best.
        """
        spread = f" ± {self.spread}" if self.spread else ""
        return f"{text}{spread}{f' ({self.interval})' if self.interval else ''}"


Item = str | int | float | Number


@dataclass(frozen=True)
class Table:
    """Headings and rows.

    Args:
        headings: Of the columns; HTML shows `Markup` as it is, here and in cells.
        rows: A cell a column.
        title: Printed above.
        align: A letter a column, ``l`` for text and ``r`` for numbers; empty is text in the first column only.
        sums: How many of the last rows sum up those above; a terminal shows them bold.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[Item]]
    title: str = ""
    align: str = ""
    sums: int = 0

    @property
    def _sides(self) -> str:
        return self.align or "l" + "r" * (len(self.headings) - 1)

    def __rich__(self) -> "RichTable":
        """Return the table for a terminal; what doesn't fit goes on in a new line."""
        table: RichTable = import_module("rich.table").Table(title=visible(self.title) or None)
        for heading, side in zip(self.headings, self._sides, strict=True):
            table.add_column(visible(heading), justify="left" if side == "l" else "right", overflow="fold")
        for at, row in enumerate(self.rows):
            table.add_row(
                *(visible(str(cell)) for cell in row), style="bold" if at >= len(self.rows) - self.sums else None
            )
        return table

    def markdown(self) -> str:
        """Return a table of Markdown without its title; the best numbers are bold."""
        rules = ["---" if side == "l" else "---:" for side in self._sides]
        lines = [list(map(markdown_text, self.headings)), rules, *self._shown(markdown_text, "**{}**")]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def latex(self) -> str:
        """Return a ``tabular`` without its title; the best numbers are bold."""

        def number(text: str) -> str:
            return text.replace("-", "$-$").replace("–", "--").replace("±", r"$\pm$")

        rows = [" & ".join(row) + r" \\" for row in self._shown(latex_text, r"\textbf{{{}}}", number)]
        head = " & ".join(map(latex_text, self.headings)) + r" \\ \hline"
        lines = [rf"\begin{{tabular}}{{{self._sides}}}", r"\hline", head, *rows, r"\hline", r"\end{tabular}", ""]
        return "\n".join(lines)

    def csv(self) -> str:
        """Return lines with commas between; a spreadsheet takes no text for a formula."""
        out = StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.headings)
        for row in self.rows:
            writer.writerow([cell if isinstance(cell, int | float) else csv_cell(visible(str(cell))) for cell in row])
        return out.getvalue()

    def html(self) -> Markup:
        """Return a ``table`` element without its title; the best numbers have the class ``best``."""
        text = [' class="text"' if side == "l" and at else "" for at, side in enumerate(self._sides)]

        def line(tag: str, cells: Sequence[Item]) -> str:
            return "".join(f"<{tag}{kind}>{_html(cell)}</{tag}>" for kind, cell in zip(text, cells, strict=True))

        rows = [f"<tr>{line('th', self.headings)}</tr>", *(f"<tr>{line('td', row)}</tr>" for row in self.rows)]
        return Markup("<table>\n{}\n</table>").format(Markup("\n".join(rows)))

    def _shown(
        self, safe: Callable[[str], str], best: str, number: Callable[[str], str] = lambda text: text
    ) -> list[list[str]]:
        """Return the rows as text that is safe in its place."""

        def shown(cell: Item) -> str:
            if isinstance(cell, Number):
                return number(cell.joined(best.format(cell.text) if cell.best else cell.text))
            return safe(str(cell))

        return [[shown(cell) for cell in row] for row in self.rows]


def _html(cell: Item) -> str:
    if isinstance(cell, Markup):
        return cell
    if not isinstance(cell, Number):
        return escape(visible_lines(str(cell)))
    spread = f" ± {escape(cell.spread)}" if cell.spread else ""
    interval = f"<small>{escape(cell.interval)}</small>" if cell.interval else ""
    best = ' class="best"' if cell.best else ""
    return f"<span{best}>{escape(cell.text)}</span>{spread}{interval}"


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
