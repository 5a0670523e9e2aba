"""Tables of a user's own, read as text: CSV, TSV, Parquet and JSON lines, with the flaws that such files have."""

import csv
import json
import posixpath
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from starft.errors import DataError, did_you_mean

TEXT_SUFFIXES = (".csv", ".tsv", ".txt")
PARQUET_SUFFIXES = (".parquet", ".pq")
LINES_SUFFIXES = (".jsonl", ".ndjson")
SUFFIXES = (*TEXT_SUFFIXES, *PARQUET_SUFFIXES, *LINES_SUFFIXES)
SEPARATORS = (",", ";", "\t", "|")
MISSING = ["", "nan", "NaN"]
"""What stands for an empty cell; "NA", "None" and "null" may be class names."""


def is_table(path: Path) -> bool:
    """Return whether a path is named like a table."""
    return path.suffix.lower() in SUFFIXES


class TableFile:
    """One file of rows.

    Args:
        path: CSV, TSV, Parquet or JSON lines, told by its suffix.
        separator: Of a text file; null finds it in the first line.

    Raises:
        DataError: The file is missing, empty, or of another kind.
    """

    def __init__(self, path: Path, separator: str | None = None) -> None:
        self.path, self.separator = path, separator
        self.header: list[str] = []
        if not is_table(path):
            raise DataError(f"{path} must end in one of {', '.join(SUFFIXES)}.")
        if not path.is_file():
            near = did_you_mean(path.name, (file.name for file in path.parent.glob("*") if is_table(file)))
            raise DataError(f"There is no file {path}; check its path.{near}")
        if path.stat().st_size == 0:
            raise DataError(f"{path} is empty (0 bytes); it needs a header and rows.")

    def read(self, wanted: Sequence[str], optional: Sequence[str] = ()) -> pd.DataFrame:
        """Return columns as they are written, texts without the spaces around them; empty cells are null.

        Args:
            wanted: Columns that must be there.
            optional: Columns that are taken where they are.

        Raises:
            DataError: A column is missing or there twice, or the file can't be read.
        """
        suffix = self.path.suffix.lower()
        try:
            if suffix in TEXT_SUFFIXES:
                frame = self._read_text([*wanted, *optional])
            elif suffix in PARQUET_SUFFIXES:
                frame = pd.read_parquet(self.path)
            else:
                frame = self._read_lines([*wanted, *optional])
        except ImportError as error:
            raise DataError(
                f"Reading {self.path} needs pyarrow; install it with `pip install 'starft[parquet]'`."
            ) from error
        except UnicodeDecodeError as error:
            raise DataError(f"{self.path} isn't UTF-8 text (byte {error.start}); save it as UTF-8.") from error
        except (ValueError, OSError, csv.Error) as error:  # pandas' and pyarrow's errors of parsing are ValueErrors
            why = " ".join(str(error).split()).rstrip(".")
            raise DataError(f"{self.path} can't be read: {why}; mend it, or write it anew.") from error
        self._has_all(wanted, self.header or [str(column) for column in frame.columns])
        frame = frame[[column for column in frame.columns if column in {*wanted, *optional}]]
        if frame.empty:
            raise DataError(f"{self.path} has a header but no rows; it needs one row an image.")
        return frame

    def _read_text(self, columns: Sequence[str]) -> pd.DataFrame:
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
        separator = self.separator or self._separator(first, columns)
        self.header = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
        twice = sorted({name for name in self.header if self.header.count(name) > 1 and name in columns})
        if twice:
            raise DataError(f"{self.path} has the column {twice[0]!r} twice; rename one.")
        self._has_no_more_cells(separator, len(self.header))
        return pd.read_csv(
            self.path,
            sep=separator,
            header=0,
            names=[name if name in columns else f"{at}: {name}" for at, name in enumerate(self.header)],
            usecols=[at for at, name in enumerate(self.header) if name in columns],
            dtype="str",
            keep_default_na=False,
            na_values=MISSING,
            index_col=False,
            skipinitialspace=True,
            encoding="utf-8-sig",
        )

    def _has_no_more_cells(self, separator: str, width: int) -> None:
        """Refuse rows with more cells than the header, which pandas would cut: a comma in a name, without quotes."""
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=separator, skipinitialspace=True)
            long = [number for number, row in enumerate(reader) if len(row) > width and any(row[width:])]
        if long:
            raise DataError(
                f"{self.path} has {len(long)} rows with more cells than its header, {first_rows(long)}; "
                "quote cells that hold the separator."
            )

    def _read_lines(self, columns: Sequence[str]) -> pd.DataFrame:
        cells: dict[str, list[object]] = {column: [] for column in columns}
        keys: dict[str, None] = {}
        with self.path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"line {number} isn't an object in braces")
                keys.update(dict.fromkeys(row))
                for column, values in cells.items():
                    values.append(row.get(column))
        self.header = list(keys)
        return pd.DataFrame(
            {column: pd.Series(values, dtype=object) for column, values in cells.items() if column in keys}
        )

    def _separator(self, first: str, columns: Sequence[str]) -> str:
        """Return the separator that gives the header most of the wanted columns, or else most columns."""

        def fits(separator: str) -> tuple[int, int]:
            header = [name.strip() for name in next(csv.reader([first], delimiter=separator), [])]
            return len({*header} & {*columns}), len(header)

        return max(SEPARATORS, key=fits)

    def _has_all(self, wanted: Sequence[str], header: Sequence[str]) -> None:
        for name in wanted:
            if name not in header:
                lower = {column.lower(): column for column in header}
                near = [lower[name.lower()]] if name.lower() in lower else []
                hint = f" Did you mean {near[0]}?" if near else did_you_mean(name, header)
                raise DataError(
                    f"{self.path} has no column {name!r}; its columns are {', '.join(header)}.{hint} "
                    "Name it with the option that ends in _column."
                )

    def paths(self, column: "pd.Series[str]", root: Path) -> tuple[str, ...]:
        """Return a column of paths as POSIX paths below the root.

        Args:
            column: Paths as written: relative to the root, or absolute.
            root: Folder that holds the images.

        Raises:
            DataError: Cells are empty.
        """
        empty = rows_where(column.isna())
        if empty:
            raise DataError(f"{self.path} has {len(empty)} rows without a path: {first_rows(empty)}.")
        absolute = f"{root.resolve().as_posix()}/"
        given = f"{root.as_posix()}/"
        return tuple(_plain(str(path).strip(), absolute, given) for path in column.tolist())


def _plain(path: str, absolute: str, given: str) -> str:
    if "\\" in path:
        path = path.replace("\\", "/")
    if path.startswith("/"):
        path = path.removeprefix(absolute).removeprefix(given)
    if "./" in path or "//" in path:
        path = posixpath.normpath(path)
    return path


def rows_where(mask: "pd.Series[bool]") -> list[int]:
    """Return the numbers of the rows that a mask picks, counted from 1 behind the header."""
    return [int(at) + 1 for at in mask.to_numpy().nonzero()[0]]


def first_rows(rows: Sequence[int]) -> str:
    """Return ``row 3``, or ``rows 3, 8, ...`` behind the header."""
    shown = ", ".join(map(str, rows[:5])) + (", ..." if len(rows) > 5 else "")
    return f"{'row' if len(rows) == 1 else 'rows'} {shown} behind the header"
