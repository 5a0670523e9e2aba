"""Addresses of files on object stores and web servers, as people give them in the place of paths."""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

ADDRESS = re.compile(r"(s3|gs|https?|hf):/{1,2}(?=[^/])(.*)", re.DOTALL)
"""A `Path` keeps one slash of the two."""


def address_of(path: str | os.PathLike[str]) -> str | None:
    """Return a path as an address, or None where it is one of this machine.

    Args:
        path: What a person gave, perhaps as a `Path`, which keeps one slash of the two.

    Example:
        >>> address_of(Path("s3://bucket/a.jpg")), address_of("photos/a.jpg")
        ('s3://bucket/a.jpg', None)
    """
    match = ADDRESS.match(os.fspath(path))
    return f"{match[1]}://{match[2]}" if match else None


def shown(path: str | os.PathLike[str]) -> str:
    """Return a path or an address as messages show it: of an address no password and no signed query.

    Args:
        path: What a person gave.

    Example:
        >>> shown(Path("s3://bucket/a.csv")), shown("https://me:secret@host/a.jpg?Signature=secret")
        ('s3://bucket/a.csv', 'https://host/a.jpg')
    """
    address = address_of(path)
    if address is None or not address.startswith("http"):
        return address or os.fspath(path)
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def suffix_of(path: str | os.PathLike[str]) -> str:
    """Return the ending of a file's name, in lower case.

    Args:
        path: Of this machine, or an address.
    """
    return Path(shown(path)).suffix.lower()
