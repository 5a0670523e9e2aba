"""Files on object stores and web servers, fetched once into the cache: ``s3://``, ``gs://``, ``https://``, ``hf://``.

`fsspec`'s own caches know no limit, no other process and no resuming, so `BoundedCache` takes their place.
"""

import hashlib
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from starft.errors import DataError
from starft.files.addresses import address_of, shown
from starft.files.atomic import replace_file
from starft.files.cache import CACHE, SIZE, BoundedCache
from starft.files.sizes import in_words
from starft.files.stores import FULL, ConnectionLost, NotGiven, NotThere, answer
from starft.safe_text import say
from starft.wording import count_of

FOLDER = "remote"
"""Of the cache."""
PART = 2**24
"""Bytes that are asked for at a time of a large file."""
TELL = 5.0
"""Seconds between two lines on a large file."""
LOOKED = 32
"""Files whose being there is looked up where a server lists none."""
VERSION = ("ETag", "etag", "generation", "blob_id", "LastModified", "Last-Modified", "size")
"""What tells that a file has changed, by the name that a store has for it."""


class RemoteFile(NamedTuple):
    """A file as its server has it now.

    Args:
        address: As `address_of` returns it.
        size: Its bytes; None where the server doesn't say.
        version: A text that changes with the file.
    """

    address: str
    size: int | None
    version: str

    @property
    def path(self) -> Path:
        """Where this version of it is in the cache, or will be; its name begins with 32 hexadecimal digits."""
        key = hashlib.sha256(f"{self.address}\0{self.version}".encode()).hexdigest()[:32]
        return BoundedCache(FOLDER).path(key, re.sub(r"[^\w.-]", "_", Path(shown(self.address)).name)[-60:])


def remote_file(address: str) -> RemoteFile:
    """Return what a server says of a file; nothing is fetched.

    Args:
        address: As `address_of` returns it.

    Raises:
        NotThere: The server has no such file.
        DataError: It can't be asked.
    """
    return _described(address, answer(address, lambda store: store.info(address)))


def remote_shards(addresses: Sequence[str]) -> list[RemoteFile]:
    """Return what a server says of shards, which are all read again and again; nothing is fetched.

    Args:
        addresses: As `address_of` returns them.

    Raises:
        NotThere: The server doesn't have one.
        DataError: It can't be asked, or they hold more than the cache may.
    """
    with ThreadPoolExecutor(8) as threads:
        files = [*threads.map(remote_file, addresses)]
    size, limit = sum(file.size or 0 for file in files), BoundedCache(FOLDER).limit
    if size > limit:
        more = f" and {count_of(len(files) - 1, 'other shard')} hold" if len(files) > 1 else " holds"
        raise DataError(
            f"{shown(addresses[0])}{more} {in_words(size)}, more than the cache may, {in_words(limit)}, so that "
            f"they would be fetched over and over; set {SIZE} to more."
        )
    return files


def local_copy(address: str, changes: bool = True) -> Path:
    """Return the file of an address in the cache, fetched if it isn't there.

    Args:
        address: As `address_of` returns it.
        changes: Whether to ask the server if the file has changed since; not for many small files, which are taken as
            they were first fetched, with one request each.

    Raises:
        NotThere: The server has no such file.
        DataError: It can't be had: without credentials, a connection, the store's package, or room in the cache.
    """
    return fetch(remote_file(address) if changes else RemoteFile(address, None, ""))


def fetch(file: RemoteFile) -> Path:
    """Return a file in the cache, fetched if it isn't there.

    A large file comes in parts: each is tried again where the connection is lost, and a stopped command goes on later.

    Args:
        file: As its server has it.

    Raises:
        NotThere: The server has no such file.
        DataError: It can't be had: without credentials, a connection, the store's package, or room in the cache.
    """
    cache = BoundedCache(FOLDER)
    address, size, path = file.address, file.size, file.path
    if cache.use(path):
        return path
    if size is not None and size > cache.limit:
        raise DataError(
            f"{shown(address)} holds {in_words(size)}, more than the cache may, {in_words(cache.limit)}; "
            f"set {SIZE} to more."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with cache.locked(path.name):
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
    """Return the addresses that their server doesn't have, of those that `look_up` looks at.

    Args:
        addresses: All of one scheme.

    Raises:
        DataError: The server can't be asked.
    """
    return [address for address, file in look_up(addresses).items() if file is None]


def look_up(addresses: Sequence[str]) -> dict[str, RemoteFile | None]:
    """Return what servers say of many files, None of one that isn't there; nothing is fetched.

    An object store lists all that is below their common folder, a request a thousand files. A web server, or a store
    that may not be listed, is asked for `LOOKED` of them, spread evenly.

    Args:
        addresses: All of one scheme.

    Raises:
        DataError: The server can't be asked.
    """
    if addresses and not addresses[0].startswith("http"):
        there: dict[str, Any] = {}
        try:
            for bucket in sorted({address.split("/")[2] for address in addresses}):
                common = os.path.commonpath([address for address in addresses if address.split("/")[2] == bucket])
                there |= answer(addresses[0], partial(_listed, common=str(address_of(common))))
        except NotGiven:
            pass
        else:
            infos = {address: there.get(address.partition("://")[2]) for address in addresses}
            return {address: info and _described(address, info) for address, info in infos.items()}
    every = max(1, -(-len(addresses) // LOOKED))
    looked = addresses[::every]
    with ThreadPoolExecutor(8) as threads:
        return dict(zip(looked, threads.map(_if_there, looked), strict=True))


def listed_below(address: str, pattern: str | None = None) -> list[str]:
    """Return the paths, below a folder of an object store, of the files in it.

    Args:
        address: Of the folder, as `address_of` returns it.
        pattern: Of the paths, such as ``data/*.tar``; None takes all.

    Raises:
        DataError: The store can't be asked.
    """
    start = f"{address.rstrip('/').partition('://')[2]}/"
    names: dict[str, Any] = answer(
        address,
        lambda store: (
            store.find(address, detail=True)
            if pattern is None
            else store.glob(f"{address.rstrip('/')}/{pattern}", detail=True)
        ),
    )
    files = [name for name, info in names.items() if info.get("type") == "file" and name.startswith(start)]
    return sorted(name.removeprefix(start) for name in files)


def files_below(address: str, prefix: str = "") -> dict[str, RemoteFile]:
    """Return the files of a folder of an object store, as it has them now, by their paths below it.

    Args:
        address: Of the folder, as `address_of` returns it; one that isn't there holds none.
        prefix: What their paths begin with.

    Raises:
        DataError: The store can't be asked.
    """

    def find(store: Any) -> dict[str, Any]:
        store.invalidate_cache()
        infos: dict[str, Any] = store.find(address, detail=True, prefix=prefix)
        return infos

    scheme, _, start = address.rstrip("/").partition("://")
    files = {name: info for name, info in answer(address, find).items() if info.get("type") == "file"}
    return {
        name.removeprefix(f"{start}/"): _described(f"{scheme}://{name}", info)
        for name, info in files.items()
        if name.startswith(f"{start}/") and not name.endswith("/")
    }


def _listed(store: Any, common: str) -> dict[str, Any]:
    """Return what a store says of all files below a folder, by name without scheme; nothing without such a folder."""
    try:
        infos: dict[str, Any] = store.find(common, detail=True)
    except PermissionError as error:
        raise NotGiven from error
    return infos


def _if_there(address: str) -> RemoteFile | None:
    try:
        return remote_file(address)
    except NotThere:
        return None


def _described(address: str, info: Mapping[str, Any]) -> RemoteFile:
    """Return a file as its server describes it."""
    if info.get("type") == "directory":
        raise DataError(f"{shown(address)} is a folder; give the address of a file.")
    version = repr([info.get(name) and str(info[name]) for name in VERSION])
    return RemoteFile(address, info.get("size"), version)


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
                    say(f"Fetching {shown(address)}: {file.tell() / size:.0%} of {in_words(size)}", file=sys.stderr)
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
