"""Pools as plain text: a phrase a line."""

from pathlib import Path
from typing import Any

SUFFIX = ".txt"


def read_text_pool(text: str, path: Path) -> dict[str, Any]:
    r"""Return what a pool file of this text would hold, unchecked.

    A line holds a template, or a phrase as it stands behind a caption; empty lines, and those that begin with ``#``,
    don't count. A final period goes, since the caption brings its own.

    Args:
        text: A phrase a line.
        path: Of the file; its name is the pool's.

    Example:
        >>> read_text_pool("# places\\non a lake\\nblurry {}.", Path("mine.txt"))["templates"]
        ['{} on a lake', 'blurry {}']
    """
    lines = [line.strip() for line in text.splitlines()]
    phrases = [line.removesuffix(".").rstrip() for line in lines if line and not line.startswith("#")]
    return {
        "schema_version": 1,
        "name": path.stem,
        "description": f"The phrases of {path.name}.",
        "templates": [phrase if "{}" in phrase else f"{{}} {phrase}" for phrase in phrases],
        "per_class": {},
        "provenance": {"source": "curated", "file": path.name},
    }
