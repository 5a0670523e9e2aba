"""Which images: files, folders, globs, tables of paths, or paths on standard input."""

import glob
import sys
from collections.abc import Iterable, Iterator, Sequence
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from starft.data.datasets.table_file import TableFile, is_table
from starft.data.listing import list_files
from starft.data.packed.scan import TAR
from starft.data.picture_files import is_picture, left_out
from starft.data.problem_texts import name_problem, some
from starft.errors import DataError

STDIN = "-"
ENDINGS = "images end in .jpg, .png, or whatever else Pillow opens"


class Item(NamedTuple):
    """One image to read.

    Args:
        shown: How it is called in the output: as it was given.
        path: Where it is, from here.
    """

    shown: str
    path: str


class Inputs(NamedTuple):
    """The images of a command, in order.

    Args:
        items: Each image; they are read off once.
        total: How many there are; None where nobody knows yet.
        notes: On files that are left out as they are no pictures, each a sentence without its period.
    """

    items: Iterable[Item]
    total: int | None
    notes: tuple[str, ...] = ()


def find(words: Sequence[str], column: str = "path") -> Inputs:
    """Return the images that words name, each word's in its turn.

    Args:
        words: Files, folders (all images below, sorted), globs (``**`` too, sorted), tables (CSV, TSV, Parquet, JSON
            lines), whose relative paths start at their own folder, and ``-`` for a path a line on standard input.
        column: Of the paths in tables.

    Raises:
        DataError: A word names nothing, or a table can't be used.
    """
    notes: list[str] = []
    parts = [_stdin() if word == STDIN else _listed(word, column, notes) for word in words]
    lists = [part for part in parts if isinstance(part, list)]
    wrong = name_problem([item.shown for part in lists for item in part])
    if wrong:
        raise DataError(f"{wrong}.")
    total = sum(map(len, lists)) if len(lists) == len(parts) else None
    if total == 0:
        raise DataError("; ".join([f"There is no image in {some(words)}", *(notes or [ENDINGS])]) + ".")
    return Inputs(chain.from_iterable(parts), total, tuple(notes))


def _listed(word: str, column: str, notes: list[str]) -> list[Item]:
    path = Path(word)
    if path.is_dir():
        images, others = list_files(path)
        notes += [left_out(others, word)] if others else []
        if any(name.lower().endswith(TAR) for name in map(str, others)):
            notes.append(
                "unpack shards first (tar -xf); the test images of shards that have labels are predicted with --config "
                f"packed/starft --data.init_args.root {word} as well"
            )
        return [Item(str(path / name), str(path / name)) for name in images]
    if is_table(path):
        table = TableFile(path)
        names = table.paths(table.read({"--column": column})[column], path.parent)
        return [Item(name, str(path.parent / name)) for name in names]
    if path.exists():
        return [Item(word, word)]
    if glob.has_magic(word):
        results = sorted(glob.glob(word, recursive=True))  # noqa: PTH207  # a path may be absolute
        files = [name for name in results if Path(name).is_file()]
        pictures = [name for name in files if is_picture(name, name)]
        rest = sorted({*files} - {*pictures})
        notes += [left_out(rest, word)] if rest else []
        return [Item(name, name) for name in pictures]
    raise DataError(f"There is no image, folder or table at {word}; check the path, or give - to read paths.")


def _stdin() -> Iterator[Item]:
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")  # a name of another encoding is told, not raised
    for line in sys.stdin:
        name = line.rstrip("\r\n")
        if name.strip():
            yield Item(name, name)
