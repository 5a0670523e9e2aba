"""What a report tells, and its files beside the page: Markdown, CSV and LaTeX, each marked as ours.

A mark keeps a report from being written over anything else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from starft.errors import ConfigError
from starft.files.atomic import is_taken
from starft.reporting.methods import Cell, between, heading, shown
from starft.reporting.robustness import Line
from starft.reporting.table import Item, Number, Table, percent
from starft.reporting.verdict import Sentence
from starft.runs.run_reader import Run
from starft.safe_text import markdown_code, markdown_text

CSV_HEAD = ("method", "runs", "metric", "value", "ci95_low", "ci95_high", "std", "best")
MARKDOWN_MARK = "<!-- starft report -->\n"
LATEX_MARK = "% starft report\n"
PNG_MARK = {"Software": "starft report"}
HTML_MARK = "<title>starft report</title>"

_STARTS = tuple(text.encode() for text in (",".join(CSV_HEAD) + "\n", MARKDOWN_MARK, LATEX_MARK))
_START_BYTES = 1000
"""The mark of a page or a picture lies within so many first bytes."""


@dataclass(frozen=True)
class Told:
    """What stands above the tables and below them.

    Args:
        verdict: Sentences on what came out.
        terms: What their words mean.
        legend: What the headings of metrics mean; empty where they need no words.
    """

    verdict: Sequence[Sentence]
    terms: str
    legend: str


@dataclass(frozen=True)
class Content:
    """What a page tells.

    Args:
        runs: All runs, the incomplete ones too.
        methods: Tested runs by method.
        table: Method -> column -> cell.
        columns: Of the table.
        id_column: The column that is ID accuracy; None where there is none.
        line: Of the baselines, or None.
        baselines: Names of the runs it was fitted to.
        told: In words.
    """

    runs: Sequence[Run]
    methods: Mapping[str, Sequence[Run]]
    table: Mapping[str, Mapping[str, Cell | None]]
    columns: Sequence[str]
    id_column: str | None
    line: Line | None
    baselines: Sequence[str]
    told: Told

    @property
    def counts(self) -> dict[str, int]:
        """Method -> number of its runs."""
        return {method: len(runs) for method, runs in self.methods.items()}


def number(cell: Cell | None, column: str) -> Number:
    """Return a cell of the table of methods as a reader sees it.

    Args:
        cell: Of a method; None where it has no such number.
        column: ``{eval set}/{metric}``, ``ood_acc`` or ``effective_robustness``.
    """
    if cell is None:
        return Number("–")
    spread = "" if cell.spread is None else percent(cell.spread)
    interval = "" if cell.interval is None else between(cell.interval, column)
    return Number(shown(cell.value, column), spread, interval, cell.best)


def methods_table(
    content: Content,
    columns: Sequence[str],
    name_of: Callable[[str], str] = str,
    heading_of: Callable[[str], str] = heading,
    counted: bool = True,
) -> Table:
    """Return the table of methods as it is read.

    Args:
        content: Of the report.
        columns: What to tell.
        name_of: How a method is called.
        heading_of: How a column is called.
        counted: Whether it tells how many runs there are of each.
    """
    rows: list[list[Item]] = [
        [
            name_of(method),
            *([str(content.counts[method])] if counted else []),
            *(number(row[column], column) for column in columns),
        ]
        for method, row in content.table.items()
    ]
    return Table(["method", *(["runs"] if counted else []), *map(heading_of, columns)], rows)


def markdown(content: Content) -> str:
    """Return the verdict, the table of methods and notes.

    Args:
        content: Of the report.
    """
    items = [
        f"- {markdown_text(item.text)}{f' {markdown_code(item.command)}' if item.command else ''}"
        for item in content.told.verdict
    ]
    words = "Numbers in %, with 95 % intervals; bold is better than each other beyond doubt."
    if any(count > 1 for count in content.counts.values()):
        words += " ± is the standard deviation over the runs of a method."
    if content.baselines:
        words += " Effective robustness: points of OOD accuracy above the line fitted to "
        words += ", ".join(map(markdown_text, content.baselines)) + "."
    table = methods_table(content, content.columns).markdown().rstrip()
    above, below = map(markdown_text, (content.told.terms, content.told.legend))
    return MARKDOWN_MARK + "\n\n".join(part for part in ("\n".join(items), above, table, words, below) if part) + "\n"


def latex(content: Content) -> str:
    """Return the table of methods as a tabular.

    Args:
        content: Of the report.
    """
    return LATEX_MARK + methods_table(content, content.columns).latex()


def comma_separated(content: Content) -> str:
    """Return one row a method and column, as shares: value, ends of the interval, standard deviation over runs.

    Args:
        content: Of the report.
    """
    rows = [
        [method, content.counts[method], column, cell.value, *(cell.interval or ("", "")), spread, int(cell.best)]
        for method, row in content.table.items()
        for column in content.columns
        if (cell := row[column]) is not None
        for spread in ["" if cell.spread is None else cell.spread]
    ]
    return Table(CSV_HEAD, rows).csv()


def check_replaceable(path: Path, overwrite: bool) -> None:
    """Refuse a place where a file lies that no report wrote, before anything is read.

    Args:
        path: Where a report goes.
        overwrite: Whether any file there may be replaced.

    Raises:
        ConfigError: Something else lies there.
    """
    if path.exists() and not path.is_file():
        raise ConfigError(f"--out {path} isn't a file that can be replaced; give another.")
    if not is_taken(path) or overwrite:
        return
    if path.is_symlink():
        raise ConfigError(f"--out {path} is a link; give the file it leads to, or --overwrite to replace the link.")
    if is_report(path):
        return
    raise ConfigError(f"--out {path} exists already and isn't a report; give another, or --overwrite to replace it.")


def is_report(path: Path) -> bool:
    """Return whether ``starft report`` wrote a file, or it is empty.

    Args:
        path: Of a file.
    """
    with path.open("rb") as file:
        start = file.read(_START_BYTES)
    is_page = start.startswith(b"<!doctype html>") and HTML_MARK.encode() in start
    is_picture = start.startswith(b"\x89PNG") and b"Software\0starft report" in start
    return not start or is_page or is_picture or start.startswith(_STARTS)
