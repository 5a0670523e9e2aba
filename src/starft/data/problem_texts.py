"""What is wrong with data, or worth knowing of them, and how it is told."""

from collections.abc import Sequence
from dataclasses import dataclass

from starft.files.atomic import not_text
from starft.safe_text import visible
from starft.wording import shortened

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


RENAME = "rename it, or all with a program such as convmv"
"""What to do about names that aren't UTF-8."""


def name_problem(names: Sequence[str]) -> str:
    """Return a sentence on names that aren't UTF-8, without its period; "" where all are.

    Args:
        names: Of files and folders.
    """
    wrong = not_text(names)
    if not wrong:
        return ""
    are = told_of(len(wrong), "name of a file or folder isn't UTF-8", "names of files or folders aren't UTF-8")
    return f"{are}: {some(wrong)}; {RENAME}"


def told_of(count: int, one: str, more: str) -> str:
    """Return a count with its words, those for one or those for more."""
    return f"{count} {one if count == 1 else more}"


def some(names: Sequence[str], most: int = SHOWN) -> str:
    """Return names as people list them, a few of many; those that hold commas with semicolons between them.

    Args:
        names: All of them.
        most: How many to list.
    """
    shown = [shortened(visible(name)) for name in names[:most]]
    between = "; " if any("," in name for name in shown) else ", "
    return between.join(shown) + (f"{between}... ({len(names)})" if len(names) > most else "")
