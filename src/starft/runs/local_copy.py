"""Where the local copy of a run folder on an object store lies."""

import hashlib
import re
from pathlib import Path

from starft.files.addresses import address_of, shown
from starft.files.cache import cache_folder


def local_folder(given: str | Path) -> Path:
    """Return the folder that a run works in: the one that was given, or the local copy of an address.

    Args:
        given: What ``trainer.default_root_dir`` holds.
    """
    address = address_of(given)
    if address is None:
        return Path(given)
    address = address.rstrip("/")
    name = re.sub(r"[^\w.-]", "_", shown(address).partition("://")[2])[-60:]
    return cache_folder() / "runs" / f"{name}-{hashlib.sha256(address.encode()).hexdigest()[:8]}"


def not_here(path: Path) -> str:
    """Return a sentence on a run folder or checkpoint that is an address, where only files are read; else nothing.

    Args:
        path: What a person gave.
    """
    if address_of(path) is None:
        return ""
    copies = cache_folder() / "runs"
    return f"{shown(path)} is remote; copy it to this machine, or give its run's local copy, which lies in {copies}."
