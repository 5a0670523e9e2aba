"""The images of shards as arrays: where each lies, and what is said of it."""

import os
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from starft.data.images import BadImageError
from starft.data.packed.paths import Ints, PackedPaths, Texts
from starft.data.packed.samples import Flaws
from starft.files.addresses import address_of
from starft.files.cache import BoundedCache
from starft.files.remote import FOLDER, local_copy

OPEN = 64
"""Shards that a process keeps open."""
CHANGED = "its shard has changed since it was indexed"


@dataclass(frozen=True)
class Column:
    """What is said of images.

    Shapes: N images.

    Args:
        codes: Position of each image's text, -1 where nothing is said, (N,).
        texts: The texts.
    """

    codes: NDArray[np.int32]
    texts: Texts


@dataclass(frozen=True)
class PackedIndex:
    """The images of some shards.

    Shapes: N images in S shards.

    Args:
        root: Folder that the shards are below, perhaps a remote one.
        shards: Their paths below ``root``.
        places: Where the images' bytes lie, a file for each shard.
        stamps: Size and time of change of each shard, of a remote one its version in the place of the time, (S, 2).
        starts: The first image of each shard and, behind them, N, (S + 1,).
        keys: Of the images.
        hashes: Of their paths, sorted, (N,).
        order: The image of each of ``hashes``, (N,).
        offsets: Where each begins in its file, or `NOWHERE`, (N,).
        lengths: Bytes of each, (N,).
        columns: What is said of them: ``label``, ``attribute``, ``group``, ``split``, ``caption``.
        class_names: Of the labels, where the shards tell them.
        flaws: What is wrong with samples.
    """

    root: Path
    shards: tuple[str, ...]
    places: tuple[str, ...]
    stamps: Ints
    starts: Ints
    keys: Texts
    hashes: NDArray[np.uint64]
    order: Ints
    offsets: Ints
    lengths: Ints
    columns: Mapping[str, Column]
    class_names: tuple[str, ...]
    flaws: Flaws

    def __len__(self) -> int:
        return len(self.offsets)

    def paths(self, rows: Ints) -> PackedPaths:
        """Return ``SHARD#KEY`` of some images.

        Args:
            rows: Which ones, (M,).
        """
        return PackedPaths(self.shards, self.starts, self.keys, rows)

    def shard_of(self, row: int) -> int:
        """Return the shard of an image.

        Args:
            row: Which image.
        """
        return bisect_right(self._starts, row) - 1

    @cached_property
    def _starts(self) -> list[int]:
        starts: list[int] = self.starts.tolist()  # in a list of few numbers one is looked up faster
        return starts

    def row_of(self, path: str) -> int | None:
        """Return the image that a path names, or None; of several the first.

        Args:
            path: ``SHARD#KEY`` below ``root``.
        """
        value = path_hash(path)
        at, size = int(self.hashes.searchsorted(np.uint64(value))), len(self.hashes)
        while at < size and self.hashes.item(at) == value:
            row = self.order.item(at)
            if path == f"{self.shards[self.shard_of(row)]}#{self.keys[row]}":
                return row
            at += 1
        return None


class PackedBytes:
    """Returns the bytes of images in shards; each process opens its shards itself, and keeps some open.

    Args:
        index: Of the shards.
    """

    def __init__(self, index: PackedIndex) -> None:
        self.index, self._address = index, address_of(index.root)
        self._prefix = f"{self._address or os.fspath(index.root)}/"
        self._open: dict[int, int] = {}

    def __call__(self, path: str) -> bytes:
        """Return the bytes of an image's file.

        Args:
            path: ``ROOT/SHARD#KEY``.

        Raises:
            BadImageError: There is no such image, or its shard is another than when it was indexed.
            DataError: A remote shard had to leave the cache, and can't be fetched again.
        """
        row = self.index.row_of(path.removeprefix(self._prefix))
        if row is None:
            raise BadImageError(path, "its shard holds no such key")
        length = self.index.lengths.item(row)
        if length == 0:
            raise BadImageError(path, "it is empty (0 bytes)")
        shard = self.index.shard_of(row)
        try:
            handle = self._handle(shard, path)
            content = os.pread(handle, length, self.index.offsets.item(row))
            if self._lies_in_place(shard) and _stamp(os.fstat(handle)) != self._stamps[shard]:  # written over
                raise BadImageError(path, CHANGED)
        except OSError as error:
            raise BadImageError(path, f"its shard can't be read: {error.strerror}") from error
        if len(content) < length:
            raise BadImageError(path, "its shard is shorter than when it was indexed")
        return content

    def _handle(self, shard: int, path: str) -> int:
        if shard not in self._open:
            if len(self._open) >= OPEN:
                os.close(self._open.pop(next(iter(self._open))))
            self._open[shard] = self._opened(self.index.shards[shard], self.index.places[shard], shard, path)
        return self._open[shard]

    def _opened(self, name: str, place: str, shard: int, path: str) -> int:
        """Open a shard's file; a remote one that had to leave the cache is fetched again."""
        if self._address is None and stamp_of(self._own(name)) != self._stamps[shard]:
            raise BadImageError(path, CHANGED)
        for _ in range(2):
            if self._address is None or BoundedCache(FOLDER).use(Path(place)):
                return os.open(place, os.O_RDONLY)
            if os.fspath(local_copy(f"{self._address}/{name}")) != place:
                break
        raise BadImageError(path, "its shard has changed, or its copy has left the cache, since it was indexed")

    @cached_property
    def _stamps(self) -> list[tuple[int, int]]:
        return [(size, changed) for size, changed in self.index.stamps.tolist()]

    def _lies_in_place(self, shard: int) -> bool:
        """Return whether images are read from the shard itself; a copy of it, or of a remote one, stays as it is."""
        return self._address is None and self.index.places[shard] == self._own(self.index.shards[shard])

    def _own(self, name: str) -> str:
        return os.path.join(self.index.root, name)  # noqa: PTH118  # as places are written

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_open": {}}

    def __del__(self) -> None:
        for handle in getattr(self, "_open", {}).values():
            os.close(handle)


def path_hash(path: str) -> int:
    """Return 64 bits of a path, the same on every machine.

    Args:
        path: ``SHARD#KEY``.
    """
    return int.from_bytes(blake2b(os.fsencode(path), digest_size=8).digest(), "little")


def stamp_of(path: str) -> tuple[int, int]:
    """Return size and time of change of a file.

    Args:
        path: The file.
    """
    return _stamp(os.stat(path))  # noqa: PTH116  # of places, which are texts


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns
