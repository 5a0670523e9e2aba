"""How long to wait before a request is repeated: as long as the server asks for, up to a bound."""

import math
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST, LONGEST = 0.5, 8.0
"""Seconds before the second try where the server asks for none, doubled with each try up to the other."""


def seconds_to_wait(tries: int, headers: Mapping[str, str], most: float) -> float:
    """Return how many seconds to wait before the next try.

    Args:
        tries: How often it was tried.
        headers: Of the server's answer; empty where there was none.
        most: The bound.
    """
    asked = asked_wait(headers)
    if asked is not None:
        return min(asked, most)
    return min(FIRST * 2.0 ** min(tries - 1, 10) * random.uniform(0.75, 1.0), LONGEST, most)


def asked_wait(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a server asks to wait for, null where it asks for none that can be.

    Args:
        headers: Of its answer, read without regard to case.

    Example:
        >>> asked_wait({"retry-after": "7"}), asked_wait({"retry-after-ms": "250"}), asked_wait({"retry-after": "soon"})
        (7.0, 0.25, None)
    """
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "")
        try:
            seconds = float(text) * scale
        except ValueError:
            seconds = _until(text)
        if math.isfinite(seconds) and seconds > 0:
            return seconds
    return None


def _until(date: str) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return math.nan
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
