"""The folder of an export: made whole beside its place, then moved there; what lies there already stays."""

import glob
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from starft.errors import RunFolderError
from starft.files.atomic import OLD, is_taken, sync
from starft.files.digests import write_sums


def check_free(folder: Path) -> None:
    """Refuse a place where something lies.

    Args:
        folder: Where the export goes.

    Raises:
        RunFolderError: It is a file, or a folder with something in it.
    """
    if is_taken(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise RunFolderError(f"{folder} holds something already; move it away or give another --to.")


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """Yield a new folder that takes the place of ``folder`` in one step when the block is done, and goes if it fails.

    ``SHA256SUMS`` is added to it; what a killed export of this name left half-written goes.

    Args:
        folder: Where the export goes; it must not exist, or be empty.

    Raises:
        RunFolderError: Something lies there.
        OSError: The disk is full, or the folder can't be written to.
    """
    check_free(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    for stale in folder.parent.glob(f".{glob.escape(folder.name)}.{'?' * 32}.tmp"):
        if stale.is_dir() and time.time() - _last_change(stale) > OLD:
            shutil.rmtree(stale, ignore_errors=True)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    temporary.mkdir()
    try:
        try:
            yield temporary
        except SafetensorError as error:  # it has no number of the system's error
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(folder)) from error
        except OSError as error:
            if error.filename is not None or error.errno is None:
                raise
            raise OSError(error.errno, error.strerror, str(folder)) from error
        write_sums(temporary)
        _open_to_all(temporary)
        for path in temporary.rglob("*"):
            sync(path)
        sync(temporary)
        check_free(folder)
        temporary.replace(folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _last_change(folder: Path) -> float:
    return max((path.stat().st_mtime for path in (folder, *folder.rglob("*"))), default=0.0)


def _open_to_all(folder: Path) -> None:
    """Give every file the rights that new files have here: safetensors closes its own to everybody else."""
    plain = folder / ".new"
    plain.touch()
    mode = plain.stat().st_mode
    plain.unlink()
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)


def write_json(path: Path, held: Mapping[str, Any]) -> None:
    """Write a mapping as JSON.

    Args:
        path: The file to make.
        held: Plain values.
    """
    path.write_text(json.dumps(held, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
