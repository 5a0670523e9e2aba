"""Writing files so that nothing half-written is ever seen, and names that every file format can hold."""

import os
import uuid
from collections.abc import Iterable
from pathlib import Path


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


def printable(name: str) -> str:
    r"""Return a name with what isn't UTF-8 written as ``\xe9``.

    Args:
        name: Of a file or folder.

    Example:
        >>> print(printable("caf\udce9"), printable("\ud800"))
        caf\xe9 \ud800
    """
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a pair that no file system gave
        return name.encode("utf-8", "backslashreplace").decode()


def not_text(names: Iterable[str]) -> list[str]:
    """Return the names that aren't UTF-8, in a form that can be printed.

    Args:
        names: Of files or folders.
    """
    return [printable(name) for name in names if not is_text(name)]


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Write beside ``path``, then swap in one step; the old file stays if anything fails.

    Not `tempfile`: its files are closed to the rest of the group.

    Args:
        path: The file to make or replace; its folder must exist.
        content: All of it.

    Raises:
        OSError: The disk is full, or the folder can't be written to.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105
    finally:
        temporary.unlink(missing_ok=True)
