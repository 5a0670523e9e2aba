"""Writing files so that nothing half-written is ever seen."""

import os
import re
import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{32}\.tmp")
"""What `replace_file` calls a file until it is whole."""
OLD = 600.0
"""Seconds without a change after which nobody writes at a temporary file any more."""


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
