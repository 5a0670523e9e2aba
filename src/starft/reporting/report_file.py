"""The files of a report beside its page: the table of methods in Markdown, CSV and LaTeX, each marked as ours.

A mark keeps a report from being written over anything else.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from starft.errors import ConfigError
from starft.files.atomic import is_taken
from starft.reporting.methods import Cell, between, heading, shown
from starft.reporting.table import Item, Number, Table, percent
from starft.safe_text import markdown_code, markdown_text

CSV_HEAD = ("method", "runs", "metric", "value", "ci95_low", "ci95_high", "std", "best")
MARKDOWN_MARK = "<!-- starft report -->\n"
LATEX_MARK = "% starft report\n"
PNG_MARK = {"Software": "starft report"}
HTML_MARK = "<title>starft report</title>"

_STARTS = tuple(text.encode() for text in (",".join(CSV_HEAD) + "\n", MARKDOWN_MARK, LATEX_MARK))
_START_BYTES = 1000
"""The mark of a page or a picture lies within so many first bytes."""

Cells = Mapping[str, Mapping[str, Cell | None]]
"""Method -> column -> cell."""


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


def methods_table(cells: Cells, columns: Sequence[str], runs: Mapping[str, int]) -> Table:
    """Return the table of methods as it is read.

    Args:
        cells: Of the methods.
        columns: What to tell.
        runs: Method -> number of its runs.
    """
    rows: list[list[Item]] = [
        [method, str(runs[method]), *(number(row[column], column) for column in columns)]
        for method, row in cells.items()
    ]
    return Table(["method", "runs", *map(heading, columns)], rows)


def markdown(
    cells: Cells,
    columns: Sequence[str],
    runs: Mapping[str, int],
    baselines: Sequence[str],
    sentences: Sequence[tuple[str, str]],
    notes: tuple[str, str],
) -> str:
    """Return sentences, the table of methods and notes.

    Args:
        cells: Of the methods.
        columns: What to tell.
        runs: Method -> number of its runs.
        baselines: Names of the runs that effective robustness is measured from.
        sentences: The verdict: each text, and the command that it ends in or "".
        notes: Plain text above the table, and below it; "" for none.
    """
    items = [f"- {markdown_text(text)}{f' {markdown_code(command)}' if command else ''}" for text, command in sentences]
    words = "Numbers in %, with 95 % intervals; bold is better than each other beyond doubt."
    if any(count > 1 for count in runs.values()):
        words += " ± is the standard deviation over the runs of a method."
    if baselines:
        words += " Effective robustness: points of OOD accuracy above the line fitted to "
        words += ", ".join(map(markdown_text, baselines)) + "."
    above, below = map(markdown_text, notes)
    table = methods_table(cells, columns, runs).markdown().rstrip()
    return MARKDOWN_MARK + "\n\n".join(part for part in ("\n".join(items), above, table, words, below) if part) + "\n"


def latex(cells: Cells, columns: Sequence[str], runs: Mapping[str, int]) -> str:
    """Return the table of methods as a tabular.

    Args:
        cells: Of the methods.
        columns: What to tell.
        runs: Method -> number of its runs.
    """
    return LATEX_MARK + methods_table(cells, columns, runs).latex()


def comma_separated(cells: Cells, columns: Sequence[str], runs: Mapping[str, int]) -> str:
    """Return one row a method and column, as shares: value, ends of the interval, standard deviation over runs.

    Args:
        cells: Of the methods.
        columns: What to tell.
        runs: Method -> number of its runs.
    """
    rows = []
    for method, row in cells.items():
        for column in columns:
            cell = row[column]
            if cell is not None:
                ends = cell.interval if cell.interval is not None else ("", "")
                spread = "" if cell.spread is None else cell.spread
                rows.append([method, runs[method], column, cell.value, *ends, spread, int(cell.best)])
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
