"""Writing files so that nothing half-written is ever seen."""

import os
import uuid
from pathlib import Path


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
