"""The file of a report: marked as ours, and written over nothing else."""

from pathlib import Path

from starft.errors import ConfigError
from starft.files.atomic import is_taken

CSV_HEAD = ("method", "runs", "metric", "value", "ci95_low", "ci95_high", "std", "best")
MARKDOWN_MARK = "<!-- starft report -->\n"
LATEX_MARK = "% starft report\n"
PNG_MARK = {"Software": "starft report"}
HTML_MARK = "<title>starft report</title>"

_STARTS = tuple(text.encode() for text in (",".join(CSV_HEAD) + "\n", MARKDOWN_MARK, LATEX_MARK))
_START_BYTES = 1000
"""The mark of a page or a picture lies within so many first bytes."""


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
