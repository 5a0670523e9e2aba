"""Files on object stores and web servers, fetched once into the cache: ``s3://``, ``gs://``, ``https://``, ``hf://``.

`fsspec`'s own caches know no limit, no other process and no resuming, so `BoundedCache` takes their place.
"""

import hashlib
import os
import re
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from starft.errors import DataError
from starft.files.addresses import address_of, shown
from starft.files.atomic import replace_file
from starft.files.cache import CACHE, SIZE, BoundedCache
from starft.files.stores import FULL, ConnectionLost, NotGiven, NotThere, answer
from starft.safe_text import say

PART = 2**24
"""Bytes that are asked for at a time of a large file."""
TELL = 5.0
"""Seconds between two lines on a large file."""
LOOKED = 32
"""Files whose being there is looked up where a server lists none."""
VERSION = ("ETag", "etag", "generation", "blob_id", "LastModified", "Last-Modified", "size")
"""What tells that a file has changed, by the name that a store has for it."""


def local_copy(address: str, changes: bool = True) -> Path:
    """Return the file of an address in the cache, fetched if it isn't there.

    A large file comes in parts: each is tried again where the connection is lost, and a stopped command goes on later.

    Args:
        address: As `address_of` returns it.
        changes: Whether to ask the server if the file has changed since; not for many small files, which are taken as
            they were first fetched, with one request each.

    Raises:
        NotThere: The server has no such file.
        DataError: It can't be had: without credentials, a connection, the store's package, or room in the cache.
    """
    cache = BoundedCache("remote")
    size, version = _size_and_version(address) if changes else (None, "")
    key = hashlib.sha256(f"{address}\0{version}".encode()).hexdigest()[:32]
    path = cache.path(key, re.sub(r"[^\w.-]", "_", Path(shown(address)).name)[-60:])
    if cache.use(path):
        return path
    if size is not None and size > cache.limit:
        raise DataError(
            f"{shown(address)} holds {_megabytes(size)}, more than the cache may, {_megabytes(cache.limit)}; "
            f"set {SIZE} to more."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with cache.locked(key):
            if not cache.use(path):
                if size is None or size <= PART:
                    replace_file(path, answer(address, lambda store: store.cat_file(address)))
                else:
                    _fetch_parts(address, path, size)
                cache.count(path)
    except OSError as error:
        why = error.strerror or str(error)
        room = f"free some, set {CACHE} to a folder on another disk, or {SIZE} to less"
        room = room if error.errno in FULL else f"set {CACHE} to another folder"
        raise DataError(f"{shown(address)} can't be kept in the cache {cache.folder} ({why}); {room}.") from error
    return path


def remote_bytes(address: str) -> bytes:
    """Return what a small file holds, such as an image; fetched once.

    Args:
        address: As `address_of` returns it.

    Raises:
        DataError: As for `local_copy`.
    """
    path = local_copy(address, changes=False)
    try:
        return path.read_bytes()
    except FileNotFoundError:  # another process has just made room
        return local_copy(address, changes=False).read_bytes()


def missing_of(addresses: Sequence[str]) -> list[str]:
    """Return the addresses that their server doesn't have; nothing is fetched.

    An object store lists all that is below their common folder, a request a thousand files. A web server, or a store
    that may not be listed, is asked for `LOOKED` of them, spread evenly.

    Args:
        addresses: All of one scheme.

    Raises:
        DataError: The server can't be asked.
    """
    if addresses and not addresses[0].startswith("http"):
        there: set[str] = set()
        try:
            for bucket in sorted({address.split("/")[2] for address in addresses}):
                common = os.path.commonpath([address for address in addresses if address.split("/")[2] == bucket])
                there.update(answer(addresses[0], partial(_listed, common=str(address_of(common)))))
            return [address for address in addresses if address.partition("://")[2] not in there]
        except NotGiven:
            pass
    every = max(1, -(-len(addresses) // LOOKED))
    looked = addresses[::every]
    with ThreadPoolExecutor(8) as threads:
        return [address for address, gone in zip(looked, threads.map(_is_missing, looked), strict=True) if gone]


def _listed(store: Any, common: str) -> list[str]:
    """Return the names of all files below a folder, without their scheme; none where there is no such folder."""
    try:
        names: list[str] = store.find(common)
    except PermissionError as error:
        raise NotGiven from error
    return names


def _is_missing(address: str) -> bool:
    try:
        _size_and_version(address)
    except NotThere:
        return True
    return False


def _size_and_version(address: str) -> tuple[int | None, str]:
    """Return the size of a file, where its server says it, and a text that changes with it."""
    info = answer(address, lambda store: store.info(address))
    if info.get("type") == "directory":
        raise DataError(f"{shown(address)} is a folder; give the address of a file.")
    return info.get("size"), repr([info.get(name) and str(info[name]) for name in VERSION])


def _fetch_parts(address: str, path: Path, size: int) -> None:
    """Fetch a large file, part by part where the server can, else as one; what is there of it already stays.

    A part that is lost is asked for again. The path has the version in its name, so that all parts are of one.
    """
    part = path.with_name(f"{path.name}.part")
    told = time.monotonic()
    try:
        with part.open("ab") as file:
            while file.tell() < size:
                try:
                    file.write(answer(address, partial(_range, address=address, start=file.tell())))
                except NotGiven:
                    file.truncate(0)
                    answer(address, lambda store: store.get_file(address, str(part)))
                    break
                if time.monotonic() - told > TELL:
                    told = time.monotonic()
                    say(f"Fetching {shown(address)}: {file.tell() / size:.0%} of {_megabytes(size)}", file=sys.stderr)
            file.flush()
            os.fsync(file.fileno())
        if (length := part.stat().st_size) != size:
            raise DataError(f"{shown(address)} has {length} bytes where its server says {size}; try again.")
        os.replace(part, path)  # noqa: PTH105
    except (OSError, DataError) as error:
        if not isinstance(error, ConnectionLost):
            part.unlink(missing_ok=True)
        raise


def _range(store: Any, address: str, start: int) -> bytes:
    """Return one part of a file."""
    with store.open(address, block_size=PART, cache_type="none") as file:
        try:
            file.seek(start)
            content: bytes = file.read(PART)
        except ValueError as error:  # fsspec's, where a web server answers with the whole file
            raise NotGiven from error
    if not content:
        raise OSError("the server sent nothing")
    return content


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size:,} bytes"
