"""What is wrong with data, or worth knowing of them, and how it is told."""

from collections.abc import Sequence
from dataclasses import dataclass

from starft.errors import shortened

SHOWN = 5
"""How many paths or names a problem lists."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Args:
        text: A sentence without its period.
        stops: Whether a run is refused for it; else it is worth knowing.
        advice: The rest of the sentence, behind a colon, where several splits may have the same.
    """

    text: str
    stops: bool = True
    advice: str = ""

    @property
    def whole(self) -> str:
        """The sentence without its period."""
        return f"{self.text}: {self.advice}" if self.advice else self.text


def told_of(count: int, one: str, more: str) -> str:
    """Return a count with its words, those for one or those for more."""
    return f"{count} {one if count == 1 else more}"


def some(names: Sequence[str], most: int = SHOWN) -> str:
    """Return names as people list them, a few of many; those that hold commas with semicolons between them.

    Args:
        names: All of them.
        most: How many to list.
    """
    shown = [shortened(name) for name in names[:most]]
    between = "; " if any("," in name for name in shown) else ", "
    return between.join(shown) + (f"{between}... ({len(names)})" if len(names) > most else "")
