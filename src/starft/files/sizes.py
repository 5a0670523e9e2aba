"""Sizes in bytes as people write them, and as messages tell them."""

import re

from starft.errors import ConfigError

POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
"""Letter of a unit -> its power of 1000, or of 1024 where an ``i`` follows."""


def bytes_of(text: str, name: str) -> int:
    """Return a size that a person wrote.

    Args:
        text: A number with an optional unit.
        name: What messages call it.

    Raises:
        ConfigError: It is no size, or none at all.

    Example:
        >>> bytes_of("1.5 GB", "size"), bytes_of("200M", "size"), bytes_of("1KiB", "size"), bytes_of("7", "size")
        (1500000000, 200000000, 1024, 7)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(I?))?B?", text.strip().upper())
    size = int(float(match[1]) * (1024 if match[3] else 1000) ** POWERS[match[2] or ""]) if match else 0
    if size < 1:
        raise ConfigError(f"{name} must be a size such as 256MB or 50GB; got {text!r}.")
    return size


def in_words(size: int) -> str:
    """Return a size with its unit.

    Args:
        size: In bytes.

    Example:
        >>> in_words(2_560), in_words(1_500_000), in_words(20_000_000_000)
        ('2,560 bytes', '1.5 MB', '20.0 GB')
    """
    if size < 1e5:
        return f"{size:,} bytes"
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
