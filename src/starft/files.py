"""Writing files so that nothing half-written is ever seen, and reading JSON that may be anybody's."""

import json
import os
import uuid
from pathlib import Path
from typing import Any


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
