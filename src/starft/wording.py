"""Words of messages: counted nouns, near names, quotes that are not too long."""

import reprlib
from collections.abc import Iterable
from difflib import get_close_matches

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 100
_REPR.maxdict = 10

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""What people call a split, in lower case -> the split."""


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is one.

    Example:
        >>> count_of(1, "template"), count_of(0, "phrase")
        ('1 template', '0 phrases')
    """
    return f"{number} {noun}" + ("" if number == 1 else "s")


def ended(sentence: str) -> str:
    """Return a sentence with its period, unless it ends in a mark of its own or in a drawn folder tree.

    Example:
        >>> ended("It is empty"), ended("Did you mean cat?")
        ('It is empty.', 'Did you mean cat?')
    """
    return sentence if sentence.endswith((".", "?", "!")) or "\n" in sentence else f"{sentence}."


def shortened(text: str, most: int = 200) -> str:
    """Return a text as a message quotes it: a long one without its middle, and with its length.

    Args:
        text: Such as a value, a name or a path.
        most: How many of its characters to show.

    Example:
        >>> shortened("cat"), shortened("a" * 3000, 6)
        ('cat', 'aaa...aaa (3,000 characters)')
    """
    if len(text) <= most:
        return text
    return f"{text[: most - most // 2]}...{text[-(most // 2) :]} ({len(text):,} characters)"


def did_you_mean(name: str, known: Iterable[str], limit: int = 3, likeness: float = 0.5, quote: bool = False) -> str:
    """Return ``" Did you mean a or b?"`` for the names nearest to ``name``, or an empty string.

    Args:
        name: What the person wrote.
        known: The names that exist.
        limit: How many near names to list at most.
        likeness: How near a name must be, from 0 to 1 for the same.
        quote: Whether to put the names in quotes, where they may be words of a sentence.
    """
    near = [shortened(match) for match in get_close_matches(name, list(known), n=limit, cutoff=likeness)]
    return f" Did you mean {' or '.join(map(repr, near) if quote else near)}?" if near else ""


def quoted(value: object) -> str:
    """Return a value as Python writes it, without the middle of what is long.

    Args:
        value: What a message quotes.
    """
    return _REPR.repr(value)
