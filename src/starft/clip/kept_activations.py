"""What the frozen beginning of the image tower makes of each training image, kept from one epoch to the next.

Values are rounded to bfloat16 before anything reads them, also the first time, so an epoch that computes them and one
that reads them back train alike, and so does a run that is continued, which begins with none.
"""

import mmap
import os
import sys
from collections.abc import Sequence
from math import prod
from pathlib import Path
from shutil import disk_usage
from tempfile import mkstemp
from typing import Literal
from weakref import finalize

import numpy as np
import torch
from torch import Tensor

from starft.clip.encoder import ClipEncoder
from starft.errors import ConfigError
from starft.files.sizes import in_words
from starft.safe_text import say

Keep = Literal["ram", "disk"]
BYTES = 2
"""Of a number."""


class KeptActivations:
    """The activations of the training images, in memory or in a file that goes when its process ends, however it does.

    Each process of a run keeps those of the images that it meets.

    Args:
        where: ``ram`` or ``disk``.
        count: How many training images there are.
        shape: Of the activations of one.
        folder: Where the file is made.

    Raises:
        ConfigError: There is no room.
    """

    def __init__(self, where: Keep, count: int, shape: Sequence[int], folder: Path) -> None:
        self._count, self._shape, self._size = count, tuple(shape), BYTES * prod(shape)
        self._is_kept = np.zeros(count, dtype=bool)
        self._file: int | None = None
        self._full = False
        room = _free_memory() if where == "ram" else _free_disk(folder)
        if room is not None and self.size > room:
            raise ConfigError(
                f"model.keep_activations {where} takes {in_words(self.size)} for {count:,} images, and "
                f"{in_words(room)} of {'memory' if where == 'ram' else f'the disk of {folder}'} are free; set it to "
                f"{'disk' if where == 'ram' else 'ram'} or null, or freeze another number of blocks."
            )
        if where == "ram":
            self._rows = np.empty((count, prod(shape)), dtype=np.uint16)
        else:
            self._file, name = mkstemp(dir=folder)
            Path(name).unlink()
            finalize(self, os.close, self._file)
            os.truncate(self._file, self.size)  # takes no room yet
            view = mmap.mmap(self._file, self.size, access=mmap.ACCESS_READ)
            self._rows = np.frombuffer(view, dtype=np.uint16).reshape(count, -1)

    @property
    def size(self) -> int:
        """Bytes of all."""
        return self._count * self._size

    @property
    def size_in_words(self) -> str:
        """The same with its unit."""
        return in_words(self.size)

    def __len__(self) -> int:
        """Return of how many images they are kept."""
        return int(self._is_kept.sum())

    def begin_images(self, clip: ClipEncoder, images: Tensor, index: Sequence[int]) -> Tensor | None:
        """Return what `ClipEncoder.begin_images` returns, rounded; of images that were met before, without computing.

        Args:
            clip: The student, whose beginning is the same as before.
            images: (B, 3, H, W).
            index: Place of each among the training images, on the host.
        """
        new = [row for row, place in enumerate(index) if not self._is_kept[place]]
        values = torch.empty(len(index), *self._shape, dtype=torch.bfloat16)
        if new:
            computed = clip.begin_images(images if len(new) == len(index) else images[new])
            if computed is None:  # thawed
                return None
            values[new] = computed.to("cpu", torch.bfloat16)
            self._dtype = computed.dtype
        old = [row for row, place in enumerate(index) if self._is_kept[place]]
        bits = values.view(torch.int16).flatten(1).numpy().view(np.uint16)
        bits[old] = self._rows[[index[row] for row in old]]
        for row in new:
            self._keep(index[row], bits[row])
        return values.to(images.device, self._dtype)

    def _keep(self, place: int, bits: "np.ndarray[tuple[int], np.dtype[np.uint16]]") -> None:
        """Keep the activations of an image; a disk that is full is told of once, and the run goes on."""
        if self._full:
            return
        try:
            if self._file is None:
                self._rows[place] = bits
            elif os.pwrite(self._file, bits.tobytes(), place * self._size) < self._size:
                raise OSError("the disk is full")  # as where nothing at all could be written
        except OSError as error:
            self._full = True
            say(
                f"Note: activations are kept of {len(self):,} of {self._count:,} images, no more "
                f"({error.strerror or error}); those of the others are computed in each epoch.",
                file=sys.stderr,
            )
        else:
            self._is_kept[place] = True


def _free_disk(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    return disk_usage(folder).free


def _free_memory() -> int | None:
    """Return how much memory is free, in bytes; None where the system doesn't say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), None)
