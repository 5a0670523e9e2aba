"""Files that are whole or not there, names that every format can hold, and JSON that may be anybody's."""

import json
import os
import re
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from starft.safe_text import visible

TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{32}\.tmp")
"""What `replace_file` calls a file until it is whole."""
OLD = 600.0
"""Seconds without a change after which nobody writes at a temporary file any more."""


def is_text(name: str) -> bool:
    r"""Return whether a name can be written as UTF-8 and used as a path: no bytes of other encodings, no NUL.

    Python keeps such bytes as halves of surrogate pairs, which neither CSV, JSON, HTML nor a terminal takes.

    Args:
        name: Of a file or folder, or what a cell holds.

    Example:
        >>> is_text("café"), is_text("caf\udce9"), is_text("a\0b")
        (True, False, False)
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in name


def not_text(names: Iterable[str]) -> list[str]:
    """Return the names that aren't UTF-8, in a form that can be printed.

    Args:
        names: Of files or folders.
    """
    return [visible(name) for name in names if not is_text(name)]


def is_taken(path: Path) -> bool:
    """Return whether anything has this name, a link that leads nowhere too: writing would replace it.

    Args:
        path: Where something is to be written.
    """
    return os.path.lexists(path)


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Write beside ``path``, then swap in one step; the old file stays if anything fails.

    Not `tempfile`: its files are closed to the rest of the group.

    Args:
        path: The file to make or replace; its folder must exist.
        content: All of it.

    Raises:
        OSError: The disk is full, or the folder can't be written to; it names the file.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105
        sync(path.parent)
    except OSError as error:
        if error.filename is None and error.errno is not None:  # a write tells no name
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def files_in(folder: Path, other_than: Iterable[str] = ()) -> list[Path]:
    """Return the files and folders in a folder, sorted, without what killed processes left half-written.

    Args:
        folder: Where to look; one that doesn't exist holds nothing.
        other_than: Names to leave out.
    """
    left_out = {*other_than}
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in paths if path.name not in left_out and not TEMPORARY.fullmatch(path.name)]


def load_json(text: str | bytes, **options: Any) -> Any:
    """Return what a text holds, as `json.loads` does.

    Args:
        text: JSON.
        options: Of `json.loads`.

    Raises:
        ValueError: It isn't JSON, or is nested too deeply.
    """
    try:
        return json.loads(text, **options)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def sync(path: Path) -> None:
    """Let a file's content, or the names in a folder, reach the disk, so that they are there after a power cut.

    Args:
        path: A file that was written, or a folder where one was renamed.
    """
    with suppress(OSError):  # some systems open no folders, some file systems sync none
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_temporary_files(folder: Path, own: Iterable[str] = ()) -> None:
    """Remove what killed processes left half-written in a folder.

    Args:
        folder: Where to look; nothing is done if it doesn't exist.
        own: Names of files that nobody else writes now; other temporary files go when nobody has changed them for long.
    """
    names = set(own)
    for path in folder.glob(".*.tmp") if folder.is_dir() else ():
        made = TEMPORARY.fullmatch(path.name)
        with suppress(OSError):  # gone meanwhile, or not ours to remove
            if made is not None and (made["name"] in names or time.time() - path.stat().st_mtime > OLD):
                path.unlink()
