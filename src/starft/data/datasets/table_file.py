"""Tables of a user's own, read as text: CSV, TSV, Parquet and JSON lines, with the flaws that such files have."""

import csv
import posixpath
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from starft.data.datasets.cells import MISSING, CellError, cell_texts
from starft.data.problem_texts import some
from starft.errors import DataError
from starft.files.addresses import address_of, shown, suffix_of
from starft.files.atomic import load_json
from starft.files.remote import local_copy
from starft.wording import did_you_mean, shortened

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
PARQUET_SUFFIXES = (".parquet", ".pq")
LINES_SUFFIXES = (".jsonl", ".ndjson")
SUFFIXES = (*TEXT_SUFFIXES, *PARQUET_SUFFIXES, *LINES_SUFFIXES)
SEPARATORS = (",", ";", "\t", "|")
NEAR = 0.55
"""Likeness from which on a column is suggested: path is as like image_path, and not as like what."""
DOUBTFUL = ("NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NULL", "null", "None", "-NaN", "-nan")
"""What pandas and others write for an empty cell, and what may be a name as well (Namibia)."""


def is_table(path: Path) -> bool:
    """Return whether a path is named like a table."""
    return suffix_of(path) in SUFFIXES


class Rows(Protocol):
    """Rows of images, in one file or in many."""

    @property
    def header(self) -> Sequence[str]:
        """Columns that there are, after `read`."""
        ...

    def has_all(self, named: Mapping[str, str]) -> None:
        """Refuse rows that lack a column, as `TableFile` does."""
        ...

    def read(self, named: Mapping[str, str], optional: Sequence[str] = ()) -> pd.DataFrame:
        """Return columns as texts, as `TableFile` does."""
        ...

    def where(self, rows: Sequence[int]) -> str:
        """Return where some rows are, for messages."""
        ...

    def paths(self, column: "pd.Series[str]", root: Path) -> Sequence[str]:
        """Return a column of paths as POSIX paths below the root."""
        ...

    def common_root(self, column: "pd.Series[str]") -> Path | None:
        """Return the folder that holds all images, where the paths tell it."""
        ...


class TableFile:
    """One file of rows.

    Args:
        path: CSV, TSV, Parquet or JSON lines, told by its suffix; an address is fetched into the cache.
        separator: Of a text file; null finds it in the first line.
        option: What names the file, for the message that it isn't there.

    Raises:
        DataError: The file is missing, empty, or of another kind.
    """

    def __init__(self, path: Path, separator: str | None = None, option: str | None = None) -> None:
        self.path, self.name, self.separator = path, shown(path), separator
        self.header: list[str] = []
        self._found_separator = ","
        self._lines_of_objects: list[int] = []
        if not is_table(path):
            raise DataError(f"{self.name} must end in one of {', '.join(SUFFIXES)}.")
        address = address_of(path)
        if address is not None:
            self.path = local_copy(address)
        elif not path.is_file():
            near = did_you_mean(
                path.name, (file.name for file in path.parent.glob("*") if is_table(file)), likeness=0.75
            )
            another = f", or give yours with {option}" if option is not None else ""
            raise DataError(f"There is no file {path}; check its path{another}.{near}")
        if self.path.stat().st_size == 0:
            raise DataError(f"{self.name} is empty (0 bytes); it needs a header and rows.")

    @property
    def separator_found(self) -> str:
        """What stands between the cells of a text file, once its header was read."""
        return self._found_separator

    def check_header(self, named: Mapping[str, str], optional: Sequence[str] = ()) -> None:
        """Refuse a text file whose first line lacks a column, without reading on; other kinds tell when they are read.

        Args:
            named: Columns that must be there, by the option that names each.
            optional: Columns that are taken where they are.

        Raises:
            DataError: A column is missing or there twice.
        """
        if self.path.suffix.lower() in TEXT_SUFFIXES:
            with suppress(OSError, UnicodeDecodeError, csv.Error):  # told with their place when all is read
                self._read_header([*named.values(), *optional])
                self.has_all(named)

    def read(self, named: Mapping[str, str], optional: Sequence[str] = ()) -> pd.DataFrame:
        """Return columns as texts (see `cells`), without the spaces around them; empty cells are None.

        Args:
            named: Columns that must be there, by the option that names each.
            optional: Columns that are taken where they are.

        Raises:
            DataError: A column is missing or there twice, or the file can't be read.
        """
        suffix, expected = self.path.suffix.lower(), [*named.values()]
        try:
            if suffix in TEXT_SUFFIXES:
                frame = self._read_text([*expected, *optional])
            elif suffix in PARQUET_SUFFIXES:
                frame = self._read_parquet([*expected, *optional])
            else:
                frame = self._read_lines([*expected, *optional])
        except ImportError as error:
            raise DataError(
                f"Reading {self.name} needs pyarrow; install it with `pip install 'starft[parquet]'`."
            ) from error
        except UnicodeDecodeError as error:
            raise DataError(f"{self.name} isn't UTF-8 text{self._not_text()}; save it as UTF-8.") from error
        except CellError as error:
            why, name, row = error.args
            raise DataError(f"{self.name}: the column {name!r} {why} ({self.where([row])}).") from error
        except (ValueError, NotImplementedError, OSError, csv.Error) as error:  # what pandas and pyarrow raise
            why = shortened(" ".join(str(error).split()).rstrip("."))
            raise DataError(f"{self.name} can't be read: {why}; mend it, or write it anew.") from error
        self.has_all(named)
        frame = frame[[column for column in frame.columns if column in {*expected, *optional}]]
        if frame.empty:
            raise DataError(f"{self.name} has a header but no rows; it needs one row an image.")
        return frame

    def _not_text(self) -> str:
        """Return the place of the first line that isn't UTF-8; decoders count from the start of their own buffer."""
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as error:
                    return f" (line {number}, byte {error.start + 1})"
        return ""

    def _read_header(self, columns: Sequence[str]) -> None:
        """Find the separator and the names of all columns."""
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
        self._found_separator = self.separator or self._separator(first, columns)
        self.header = [name.strip() for name in next(csv.reader([first], delimiter=self._found_separator), [])]
        self._has_none_twice(columns)

    def _has_none_twice(self, columns: Sequence[str]) -> None:
        twice = sorted({name for name in self.header if self.header.count(name) > 1 and name in columns})
        if twice:
            raise DataError(f"{self.name} has the column {twice[0]!r} twice; rename one.")

    def _read_text(self, columns: Sequence[str]) -> pd.DataFrame:
        self._read_header(columns)
        separator = self._found_separator
        self._has_no_more_cells(separator, len(self.header))
        return pd.read_csv(
            self.path,
            sep=separator,
            header=0,
            names=[name if name in columns else f"{at}: {name}" for at, name in enumerate(self.header)],
            usecols=[at for at, name in enumerate(self.header) if name in columns],
            dtype="str",
            keep_default_na=False,
            na_values=list(MISSING),
            index_col=False,
            skipinitialspace=True,
            encoding="utf-8-sig",
        )

    def _has_no_more_cells(self, separator: str, width: int) -> None:
        """Refuse rows with more cells than the header, which pandas would cut: a comma in a name, without quotes."""
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=separator, skipinitialspace=True)
            long = [reader.line_num for row in reader if len(row) > width and any(row[width:])]
        if long:
            rows = "1 row" if len(long) == 1 else f"{len(long)} rows"
            raise DataError(
                f"{self.name} has {rows} with more cells than its header, {_listed('line', long)}; "
                "quote cells that hold the separator."
            )

    def _read_lines(self, columns: Sequence[str]) -> pd.DataFrame:
        cells: dict[str, list[object]] = {column: [] for column in columns}
        keys: dict[str, None] = {}
        with self.path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                row = self._object(line, number)
                if not isinstance(row, dict):
                    raise ValueError(f"line {number} isn't an object in braces")
                keys.update(dict.fromkeys(row))
                self._lines_of_objects.append(number)
                for column, values in cells.items():
                    values.append(row.get(column))
        self.header = list(keys)
        return _frame({column: values for column, values in cells.items() if column in keys})

    def _read_parquet(self, columns: Sequence[str]) -> pd.DataFrame:
        import pyarrow as pa  # noqa: PLC0415  # an extra
        import pyarrow.parquet as pq  # noqa: PLC0415

        schema = pq.read_schema(self.path)
        self.header = list(schema.names)
        self._has_none_twice(columns)
        expected = [name for name in self.header if name in columns]
        for name in expected:
            kind = schema.field(name).type
            if pa.types.is_nested(kind):
                raise DataError(
                    f"{self.name}: the column {name!r} holds {shortened(str(kind), 100)} in each cell; it must hold "
                    "one value, such as a class name or the path of an image file (write images that lie in a table to "
                    "files first)."
                )
        table = pq.read_table(self.path, columns=expected)
        return _frame({name: _values(table.column(name)) for name in expected})

    @staticmethod
    def _object(line: str, number: int) -> Any:
        try:
            return load_json(line)
        except ValueError as error:
            raise ValueError(f"line {number} isn't JSON") from error

    def where(self, rows: Sequence[int]) -> str:
        """Return ``line 17``, or ``lines 3, 8, ...`` of the file; of Parquet, which has no lines, its rows from 1.

        Args:
            rows: Positions of rows as they were read, from 0.
        """
        lines = self._lines
        if not rows or max(rows) >= len(lines):
            return _listed("row", [row + 1 for row in rows])
        return _listed("line", [lines[row] for row in rows])

    @cached_property
    def _lines(self) -> Sequence[int]:
        """The line that each row begins on, as an editor counts them; none where there are no lines."""
        if self.path.suffix.lower() not in TEXT_SUFFIXES:
            return self._lines_of_objects
        lines, before = [], 0
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=self._found_separator)
            for row in reader:
                if len(row) > 1 or (row and row[0].strip()):  # pandas leaves out blank lines
                    lines.append(before + 1)
                before = reader.line_num
        return lines[1:]

    def _separator(self, first: str, columns: Sequence[str]) -> str:
        """Return the separator that gives the header most of the wanted columns, or else most columns."""

        def fits(separator: str) -> tuple[int, int]:
            header = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
            return len({*header} & {*columns}), len(header)

        return max(SEPARATORS, key=fits)

    def has_all(self, named: Mapping[str, str]) -> None:
        """Refuse a file that lacks a column, after its header was read.

        Args:
            named: Columns that must be there, by the option that names each.

        Raises:
            DataError: One is missing.
        """
        header = self.header
        for option, name in named.items():
            if name not in header:
                lower = {column.lower(): column for column in header}
                same = lower.get(name.lower())
                hint = f" Did you mean {same!r}?" if same else did_you_mean(name, header, 1, NEAR, quote=True)
                raise DataError(
                    f"{self.name} has no column {name!r}; its columns are {some(header, 20)}.{hint} "
                    f"Name it with {option}."
                )

    def paths(self, column: "pd.Series[str]", root: Path) -> tuple[str, ...]:
        """Return a column of paths as POSIX paths below the root.

        Args:
            column: Paths as written: relative to the root, or absolute, or addresses.
            root: Folder that holds the images.

        Raises:
            DataError: Cells are empty.
        """
        empty = rows_where(column.isna())
        if empty:
            rows = "1 row" if len(empty) == 1 else f"{len(empty)} rows"
            raise DataError(f"{self.name} has {rows} without a path, {self.where(empty)}; fill them, or take them out.")
        absolute, given = (f"{item.as_posix().rstrip('/')}/" for item in (root.resolve(), root))
        return tuple(_plain(str(path).strip(), absolute, given) for path in column.tolist())

    def common_root(self, column: "pd.Series[str]") -> Path | None:
        """Return the folder that holds all images where every path is absolute and one lies elsewhere than the file.

        Of addresses it is always the folder that they have in common.

        Args:
            column: Paths as written.
        """
        there = [str(path).strip() for path in column.dropna().tolist()]
        if there and all(map(address_of, there)):
            common = posixpath.commonpath({posixpath.dirname(address.replace("://", ":/", 1)) for address in there})
            return Path(common) if address_of(common) is not None else None
        if not there or not all(path.startswith("/") for path in there):
            return None
        if not any(path.startswith("/") for path in self.paths(pd.Series(there), self.path.parent)):
            return None
        folders = {posixpath.dirname(posixpath.normpath(path)) for path in there}
        return Path(posixpath.commonpath(folders))


def _plain(path: str, absolute: str, given: str) -> str:
    if ":/" in path and (address := address_of(path)) is not None:
        root = address_of(given)
        return address.removeprefix(root) if root is not None else address
    if "\\" in path:
        path = path.replace("\\", "/")
    if path.startswith("/"):
        path = path.removeprefix(absolute).removeprefix(given)
    if "./" in path or "//" in path:
        path = posixpath.normpath(path)
    return path


def _frame(columns: Mapping[str, Sequence[object]]) -> pd.DataFrame:
    """Return columns of typed values as texts.

    Raises:
        CellError: One can't be used; with its column and row.
    """
    texts: dict[str, pd.Series[str]] = {}
    for name, values in columns.items():
        try:
            texts[name] = pd.Series(cell_texts(values), dtype=object)
        except CellError as error:
            why, row = error.args
            raise CellError(why, name, row) from error
    return pd.DataFrame(texts)


def _values(column: Any) -> Sequence[object]:
    """Return the values of a column of Parquet; small floats keep their few digits."""
    kind = getattr(column.type, "value_type", column.type)
    values: list[Any] = column.to_pylist()
    small = {"halffloat": np.float16, "float": np.float32}.get(str(kind))
    return values if small is None else [None if value is None else small(value) for value in values]


def rows_where(mask: "pd.Series[bool]") -> list[int]:
    """Return the positions of the rows that a mask picks, from 0."""
    return [int(at) for at in mask.to_numpy().nonzero()[0]]


def _listed(word: str, numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
    return f"{word}{'' if len(numbers) == 1 else 's'} {shown}"
