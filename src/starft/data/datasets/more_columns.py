"""A copy of a user's table with more columns behind its own: the same rows in the same order, the same kind of file."""

import csv
import io
import json
from collections.abc import Mapping, Sequence

from starft.data.datasets.table_file import PARQUET_SUFFIXES, TEXT_SUFFIXES, TableFile
from starft.errors import ConfigError
from starft.files.atomic import load_json


def check_no_column(file: TableFile, names: Sequence[str]) -> None:
    """Refuse a table that has one of the columns already.

    Args:
        file: A table that was read.
        names: Of the new columns.

    Raises:
        ConfigError: It has one.
    """
    there = [name for name in names if name in file.header]
    if there:
        raise ConfigError(f"{file.path} has a column {there[0]!r} already; rename it, or leave it out of the table.")


def with_columns(file: TableFile, columns: Mapping[str, Sequence[str | float]]) -> bytes:
    """Return the content of a table with more columns.

    Args:
        file: A table that was read.
        columns: Cells by name, one a row: texts, or numbers in [0, 1].
    """
    suffix = file.path.suffix.lower()
    if suffix in PARQUET_SUFFIXES:
        return _parquet(file, columns)
    text = file.path.read_text(encoding="utf-8-sig")
    if suffix in TEXT_SUFFIXES:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=file.separator_found) if any(row)]
        new = [[*columns], *zip(*columns.values(), strict=True)]
        written = io.StringIO(newline="")
        writer = csv.writer(written, delimiter=file.separator_found, lineterminator="\n")
        width = len(rows[0])
        for row, more in zip(rows, new, strict=True):
            writer.writerow([*row[:width], *[""] * (width - len(row)), *map(as_text, more)])
        return written.getvalue().encode()
    lines = [line for line in text.split("\n") if line.strip()]  # a text may hold other ends of lines
    more_cells = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    rows_of = [load_json(line) | cells for line, cells in zip(lines, more_cells, strict=True)]
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows_of).encode()


def as_text(cell: str | float) -> str:
    """Return a cell as a file of text has it.

    Args:
        cell: A text, or a number in [0, 1].
    """
    return cell if isinstance(cell, str) else f"{cell:.4f}"


def _parquet(file: TableFile, columns: Mapping[str, Sequence[str | float]]) -> bytes:
    import pyarrow as pa  # noqa: PLC0415  # an extra
    import pyarrow.parquet as pq  # noqa: PLC0415

    table, sink = pq.read_table(file.path), pa.BufferOutputStream()
    for name, cells in columns.items():
        table = table.append_column(name, pa.array(cells))
    pq.write_table(table, sink)
    return bytes(sink.getvalue().to_pybytes())
