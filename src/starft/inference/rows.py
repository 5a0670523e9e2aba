"""Where predictions go: CSV, JSON lines or Parquet, in whole rows whenever the command is stopped."""

import csv
import io
import json
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, Self

from starft.data.datasets.table_file import LINES_SUFFIXES, PARQUET_SUFFIXES, TEXT_SUFFIXES
from starft.errors import ConfigError, RunFolderError
from starft.files.atomic import is_taken
from starft.safe_text import csv_cell, csv_path, visible_lines
from starft.signals import STOPS

Row = Mapping[str, str | float]

FORMATS = {"csv": TEXT_SUFFIXES, "jsonl": LINES_SUFFIXES, "parquet": PARQUET_SUFFIXES}
"""Format -> how its files end."""
TOGETHER = 4096
"""Rows of one Parquet row group; more are never held."""


def columns(top_k: int = 1) -> list[str]:
    """Return ``path, label, probability, label_2, probability_2, ...``.

    Args:
        top_k: How many classes a row lists.
    """
    ends = ["", *(f"_{place}" for place in range(2, top_k + 1))]
    return ["path", *(f"{name}{end}" for end in ends for name in ("label", "probability"))]


class Writer(Protocol):
    """Takes rows; nothing half a row long is ever left."""

    def write(self, rows: Sequence[Row]) -> None:
        """Write rows, all with the same columns."""
        ...

    def close(self) -> None:
        """Write what is held."""
        ...


class TextWriter:
    """CSV or JSON lines, each batch of rows in one piece.

    Args:
        path: The file to make; None for standard output.
        columns: Of each row.
        lines: JSON lines instead of CSV.
    """

    def __init__(self, path: Path | None, columns: Sequence[str], lines: bool) -> None:
        self.columns, self.lines = columns, lines
        self._file: Any = sys.stdout.buffer if path is None else path.open("xb", buffering=0)
        self._path = path
        self._whole = 0
        """Bytes of whole batches."""
        if not lines:
            self._put([columns])

    def write(self, rows: Sequence[Row]) -> None:
        """Write rows."""
        if not self.lines:
            self._put([[_cell(column, row[column]) for column in self.columns] for row in rows])
            return
        text = "".join(json.dumps(dict(row), ensure_ascii=False) + "\n" for row in rows)
        self._send(text)

    def close(self) -> None:
        """Close the file."""
        if self._path is not None:
            self._file.close()

    def _put(self, cells: Sequence[Sequence[str]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(cells)
        self._send(text.getvalue())

    def _send(self, text: str) -> None:
        if self._path is None and sys.stdout.isatty():
            text = visible_lines(text)
        content = text.encode()
        left = memoryview(content)
        try:
            while left:  # one piece, but for a pipe or a disk that takes less
                left = left[self._file.write(left) :]
            self._file.flush()
        except OSError as error:
            if self._path is None:
                raise
            self._file.truncate(self._whole)  # a full disk takes a part of a row
            raise _unwritable(error, self._path, "holds whole rows of what came before") from error
        self._whole += len(content)


def _unwritable(error: OSError, path: Path, state: str) -> RunFolderError:
    why = error.strerror or str(error)
    return RunFolderError(f"{path} can't be written to: {why}; it {state}. Free the disk or give another place.")


class ParquetWriter:
    """Parquet, a group of rows at a time.

    Args:
        path: The file to make.
        columns: Of each row.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        import pyarrow as pa  # noqa: PLC0415  # an extra
        import pyarrow.parquet as pq  # noqa: PLC0415

        kinds = [(name, pa.float64() if name.startswith("probability") else pa.string()) for name in columns]
        self._table: Any = pa.Table
        self._path = path
        self._schema = pa.schema(kinds)
        self._writer = pq.ParquetWriter(path, self._schema)
        self._held: list[dict[str, str | float]] = []

    def write(self, rows: Sequence[Row]) -> None:
        """Hold rows, write a group when there are enough."""
        self._held += map(dict, rows)
        if len(self._held) >= TOGETHER:
            self._flush()

    def close(self) -> None:
        """Write the last group and the file's index; without it Parquet can't be read."""
        if not self._writer.is_open:  # it broke
            return
        if self._held:
            self._flush()
        with self._gone_if_broken():
            self._writer.close()

    def _flush(self) -> None:
        rows, self._held = self._held, []
        with self._gone_if_broken():
            self._writer.write_table(self._table.from_pylist(rows, schema=self._schema))

    @contextmanager
    def _gone_if_broken(self) -> Iterator[None]:
        """Remove a file that a full disk leaves without its index: nobody can read it."""
        try:
            yield
        except OSError as error:
            with suppress(OSError):
                self._writer.close()
            self._writer.is_open = False
            self._path.unlink(missing_ok=True)
            raise _unwritable(error, self._path, "is gone, as Parquet can't be read in part") from error


class Output:
    """The rows of one command; a context that closes them.

    Args:
        path: The file to make; None for standard output.
        form: ``csv``, ``jsonl`` or ``parquet``; None goes by the file's name, and is CSV on standard output.
        columns: Of each row.

    Raises:
        ConfigError: The format is unknown, or needs a file or an extra.
        RunFolderError: The file exists already.
    """

    def __init__(self, path: Path | None, form: str | None, columns: Sequence[str]) -> None:
        self.form = checked_format(path, form)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.count = 0
        """Rows written so far."""
        self.writer: Writer
        if self.form == "parquet":
            assert path is not None, "checked above"
            self.writer = ParquetWriter(path, columns)
        else:
            self.writer = TextWriter(path, columns, lines=self.form == "jsonl")

    def write(self, rows: Sequence[Row]) -> None:
        """Write rows; a Ctrl-C that comes meanwhile waits until they are whole."""
        with _uninterrupted():
            self.writer.write(rows)
            self.count += len(rows)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Write what is held, whatever happened."""
        self.close()

    def close(self) -> None:
        """Write what is held and close the file."""
        with _uninterrupted():
            self.writer.close()


def checked_format(path: Path | None, form: str | None) -> str:
    """Return the format of an output that can be made.

    Args:
        path: The file to make; None for standard output.
        form: As asked for; None goes by the file's name.

    Raises:
        ConfigError: The format is unknown, or needs a file or an extra.
        RunFolderError: The file exists already.
    """
    if form is None and path is None:
        form = "csv"
    if form is None and path is not None:
        form = next((name for name, ends in FORMATS.items() if path.suffix.lower() in ends), None)
        if form is None:
            raise ConfigError(f"--out {path} must end in .csv, .jsonl or .parquet, or be given a --format.")
    if form == "parquet" and path is None:
        raise ConfigError("Parquet can't be written to standard output; give --out FILE.parquet.")
    if form == "parquet" and find_spec("pyarrow") is None:
        raise ConfigError("Writing Parquet needs pyarrow; install it with `pip install 'starft[parquet]'`.")
    if path is not None and is_taken(path):
        raise RunFolderError(f"{path} exists already; move it away or give another --out.")
    return str(form)


def _cell(column: str, value: str | float) -> str:
    if isinstance(value, str):
        return csv_path(value) if column == "path" else csv_cell(value)
    return f"{value:.6f}"


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until the block is done."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread hears it
        yield
        return
    output: list[int] = []
    before = {number: signal.signal(number, lambda got, frame: output.append(got)) for number in STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if output:
        signal.raise_signal(output[0])
