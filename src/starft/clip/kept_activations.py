"""What the frozen beginning of the image tower makes of each training image, kept from one epoch to the next.

Values are rounded to bfloat16 before anything reads them, also the first time, so an epoch that computes them and one
that reads them back train alike.

An image's last digits depend on the batch that it is computed in. So a run that goes on to the last bit reads what the
killed one has computed: a file that has a name stays. Behind the values it holds whose they are, and one record an
image, written once the values of its batch are there: place + 1 and a checksum, or zeros.
"""

import mmap
import os
import re
import sys
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from shutil import disk_usage
from tempfile import mkstemp
from typing import Literal
from weakref import finalize
from zlib import crc32

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
RECORD = np.dtype([("place", np.uint32), ("checksum", np.uint32)])


class KeptActivations:
    """The activations of the training images, in memory or in a file.

    Each process of a run keeps those of the images that it meets.

    Args:
        where: ``ram`` or ``disk``.
        count: How many training images there are.
        shape: Of the activations of one.
        folder: Where the file is made.
        dtype: Of what the model computes.
        name: Of the file, which the caller removes; None for one that goes when its process ends, however it does.
        owner: Says whose activations they are: a file with this name that has others' is emptied.
        processes: How many of this machine keep as many, each in a file of the same name with another number.

    Raises:
        ConfigError: There is no room.
    """

    def __init__(
        self,
        where: Keep,
        count: int,
        shape: Sequence[int],
        folder: Path,
        dtype: torch.dtype = torch.float32,
        name: str | None = None,
        owner: str = "",
        processes: int = 1,
    ) -> None:
        self._count, self._shape, self._size, self._dtype = count, tuple(shape), BYTES * prod(shape), dtype
        self._is_kept = np.zeros(count, dtype=bool)
        self._file: int | None = None
        self._owner = owner.encode()
        self._full = False
        room = _free_memory() if where == "ram" else _free_disk(folder, name)
        if room is not None and self.size * processes > room:
            each = "" if processes == 1 else f" in each of {processes} processes"
            raise ConfigError(
                f"model.keep_activations {where} takes {in_words(self.size)} for {count:,} images{each}, and "
                f"{in_words(room)} of {'memory' if where == 'ram' else f'the disk of {folder}'} are free; set it to "
                f"{'disk' if where == 'ram' else 'ram'} or null, or freeze another number of blocks."
            )
        if where == "ram":
            self._rows = np.empty((count, prod(shape)), dtype=np.uint16)
        else:
            self._open(folder, name)

    def _open(self, folder: Path, name: str | None) -> None:
        """Make the file, or take up what a killed process has left of it."""
        if name is None:
            self._file, made = mkstemp(dir=folder)
            Path(made).unlink()
        else:
            self._file = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600)
        finalize(self, os.close, self._file)
        left, whole = os.fstat(self._file).st_size, self._place_of_record(self._count)
        os.truncate(self._file, whole)  # takes no room yet
        view = mmap.mmap(self._file, self.size, access=mmap.ACCESS_READ)
        self._rows = np.frombuffer(view, dtype=np.uint16).reshape(self._count, -1)
        if left and not (left == whole and self._take_up()):
            self._is_kept[:] = False
            say(f"Note: {folder}/{name} is damaged or of another run; it is made anew.", file=sys.stderr)
            os.truncate(self._file, 0)
            os.truncate(self._file, whole)
        os.pwrite(self._file, self._owner, self.size)

    def _take_up(self) -> bool:
        """Note which activations are in the file; return whether all are as they were written."""
        assert self._file is not None
        content = os.pread(self._file, self._place_of_record(self._count) - self.size, self.size)
        records = np.frombuffer(content[len(self._owner) :], dtype=RECORD)
        places, checksums = (records[records["place"] > 0][name].tolist() for name in ("place", "checksum"))
        if not content.startswith(self._owner) or max(places, default=0) > self._count:
            return False
        self._is_kept[[place - 1 for place in places]] = True
        return all(crc32(self._rows[place - 1].tobytes()) == sum for place, sum in zip(places, checksums, strict=True))

    def _place_of_record(self, number: int) -> int:
        return self.size + len(self._owner) + number * RECORD.itemsize

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
        old = [row for row, place in enumerate(index) if self._is_kept[place]]
        bits = values.view(torch.int16).flatten(1).numpy().view(np.uint16)
        bits[old] = self._rows[[index[row] for row in old]]
        self._keep({index[row]: bits[row] for row in new})
        return values.to(images.device, self._dtype)

    def _keep(self, batch: Mapping[int, "np.ndarray[tuple[int], np.dtype[np.uint16]]"]) -> None:
        """Keep the activations of some images; where the disk is full, the run goes on without any, in their room."""
        if self._full:
            return
        try:
            for place, bits in batch.items():
                if self._file is None:
                    self._rows[place] = bits
                else:
                    self._write(bits.tobytes(), place * self._size)
            if self._file is not None:
                records = [(place + 1, crc32(bits.tobytes())) for place, bits in batch.items()]
                self._write(np.array(records, dtype=RECORD).tobytes(), self._place_of_record(len(self)))
        except OSError as error:
            self._full = True
            say(
                f"Note: no activations are kept any more ({error.strerror or error}), and those of {len(self):,} of "
                f"{self._count:,} images give their room back; they are computed in each epoch.",
                file=sys.stderr,
            )
            self._is_kept[:] = False
            assert self._file is not None
            os.truncate(self._file, 0)  # logs and checkpoints need it
        else:
            self._is_kept[[*batch]] = True

    def _write(self, content: bytes, place: int) -> None:
        assert self._file is not None
        if os.pwrite(self._file, content, place) < len(content):
            raise OSError("the disk is full")  # as where nothing at all could be written


def _free_disk(folder: Path, name: str | None) -> int:
    """Return how much of a disk is free, in bytes; what files have there already is the run's own."""
    folder.mkdir(parents=True, exist_ok=True)
    files = folder.glob(re.sub(r"\d+$", "*", name)) if name else ()
    return disk_usage(folder).free + sum(512 * path.stat().st_blocks for path in files)


def _free_memory() -> int | None:
    """Return how much memory is free, in bytes; None where the system doesn't say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), None)
