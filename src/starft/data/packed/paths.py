"""Paths of millions of images in a few arrays, which worker processes share as long as they live."""

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import overload

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Texts:
    """Many texts in one array of bytes.

    A list of Python's strings would be copied into each worker process bit by bit, as looking at an object changes it.

    Shapes: N texts of B bytes in all.

    Args:
        content: Their bytes, one behind the other, (B,).
        ends: Where each ends, (N,).
    """

    def __init__(self, content: NDArray[np.uint8], ends: Ints) -> None:
        self.content, self.ends = content, ends

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Texts":
        """Return texts as arrays."""
        content, ends = bytearray(), []
        for text in texts:
            content += os.fsencode(text)
            ends.append(len(content))
        return cls(np.frombuffer(bytes(content), dtype=np.uint8), np.array(ends, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def __iter__(self) -> Iterator[str]:
        return (self[at] for at in range(len(self)))

    def __getitem__(self, at: int) -> str:
        start = self.ends.item(at - 1) if at else 0
        return os.fsdecode(self.content[start : self.ends.item(at)].tobytes())


class PackedPaths(Sequence[str]):
    """Paths ``SHARD#KEY`` of images in shards, made as they are asked for.

    Shapes: N paths of R images in S shards.

    Args:
        shards: Paths of the shards.
        starts: The first image of each shard and, behind them, R, (S + 1,).
        keys: Of all R images.
        rows: Which of them, (N,).
    """

    def __init__(self, shards: Sequence[str], starts: Ints, keys: Texts, rows: Ints) -> None:
        self.shards, self.starts, self.keys, self.rows = tuple(shards), starts, keys, rows
        self._starts: list[int] = starts.tolist()  # in a list of few numbers one is looked up faster

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...
    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        """Return one path, or some."""
        if isinstance(at, slice):
            return tuple(self.take(np.arange(len(self))[at]))
        row = self.rows.item(at)
        return f"{self.shards[bisect_right(self._starts, row) - 1]}#{self.keys[row]}"

    def take(self, positions: Ints) -> "PackedPaths":
        """Return some of the paths.

        Args:
            positions: Which ones, (M,).
        """
        return PackedPaths(self.shards, self.starts, self.keys, self.rows[positions])

    @cached_property
    def files(self) -> tuple[str, ...]:
        """Paths of the shards that hold these images."""
        numbers = np.unique(np.searchsorted(self.starts, self.rows, side="right") - 1)
        return tuple(self.shards[number] for number in numbers.tolist())
