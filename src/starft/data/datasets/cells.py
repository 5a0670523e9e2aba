"""What the cells of a table mean: the same value is the same text in CSV, TSV, JSON lines and Parquet.

| value | text |
|---|---|
| text, bytes of UTF-8 | itself, without the spaces around it |
| true, True, TRUE, a boolean | ``True``; likewise ``False`` |
| 3, 3.0, 3.00 as number or text | ``3``; 0.50 is ``0.5``, -0.0 is ``0`` |
| 007, 1e3, +5 as text | itself: a name, no number |
| 1e+20 as programs write it, or a number | all of its digits |
| 2024-05-01, a date, a time of midnight | ``2024-05-01``; other times ``2024-05-01 12:30:00`` |
| empty, null, NaN, ``nan`` | missing |
| list, struct, bytes that aren't UTF-8, half of a surrogate pair | refused |
"""

import re
from collections.abc import Iterable
from datetime import date, time, timedelta
from decimal import Decimal
from math import isfinite, isnan
from typing import Any

import numpy as np
import pandas as pd

from starft.files.atomic import is_text
from starft.wording import shortened

MISSING = ("", "nan", "NaN")
"""What stands for an empty cell."""

_PLAIN_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)\.\d+")
_MACHINE_NUMBER = re.compile(r"-?\d(?:\.\d+)?e[+-]\d\d\d?")
"""A float as programs write it: 1e+20, not 1e3, which may be a name."""
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:\.(\d*?)0*)?(Z|\+00:?00|[+-]\d\d:?\d\d)?")


class CellError(ValueError):
    """A cell that isn't one value.

    Args:
        why: What is wrong with it, and what to do, without a period.
    """


def cell_texts(cells: Iterable[Any]) -> list[str | None]:
    """Return what cells hold as texts without the spaces around them; None for what is missing.

    Args:
        cells: Values as a file gave them.

    Raises:
        CellError: A cell can't be used; its position is the second argument of the error.
    """
    texts: list[str | None] = []
    for at, cell in enumerate(cells):
        try:
            texts.append(_text(cell))
        except CellError as error:
            raise CellError(error.args[0], at) from None
    return texts


def _text(cell: Any) -> str | None:  # one line a kind
    if isinstance(cell, bytes | bytearray | memoryview):
        try:
            cell = bytes(cell).decode("utf-8")
        except UnicodeDecodeError:
            kind = "holds bytes that aren't UTF-8 text"
            raise CellError(f"{kind}, {shortened(repr(bytes(cell)), 60)}; store texts") from None
    if isinstance(cell, str):
        if not is_text(cell):
            raise CellError(f"holds {shortened(ascii(cell), 60)}, which isn't text; mend it")
        text = cell.strip()
        return None if text in MISSING else text
    if cell is None or cell is pd.NA or cell is pd.NaT:
        return None
    if isinstance(cell, bool | np.bool_ | int | np.integer | date | time | timedelta):
        return str(cell)
    if isinstance(cell, float | np.floating):
        return None if isnan(cell) else _digits(str(cell)) if isfinite(cell) else str(cell)
    if isinstance(cell, Decimal):
        return format(cell, "f") if cell.is_finite() else None if cell.is_nan() else str(cell)
    kind = "a struct" if isinstance(cell, dict) else "a list" if isinstance(cell, list | tuple) else type(cell).__name__
    raise CellError(f"holds {kind}, {shortened(repr(cell), 60)}; put one value in each cell")


def canonical(text: str) -> str:
    """Return the one way to write a value, which all kinds of files share.

    Args:
        text: As it is written.

    Example:
        >>> [canonical(text) for text in ("0.0", "0.50", "true", "2024-05-01T00:00:00.000", "007", "1e3", "1e+20")]
        ['0', '0.5', 'True', '2024-05-01', '007', '1e3', '100000000000000000000']
    """
    if _MACHINE_NUMBER.fullmatch(text):
        text = _digits(text)
    if _PLAIN_NUMBER.fullmatch(text):
        text = text.rstrip("0").rstrip(".")
        return "0" if text == "-0" else text
    if text.lower() in ("true", "false"):
        return text.capitalize()
    moment = _TIME.fullmatch(text)
    if moment is not None:
        day, clock, fraction, zone = moment.groups()
        clock += f".{fraction}" if fraction else ""
        zone = "" if zone is None else "+00:00" if zone == "Z" else zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
        return day if clock == "00:00:00" and not zone else f"{day} {clock}{zone}"
    return text


def _digits(number: str) -> str:
    return format(Decimal(number), "f") if "e" in number else number
