"""A table of images as a data set that loads them, and what becomes of those that can't be read."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, default_collate
from torch.utils.data.distributed import DistributedSampler

from starft.data.fast_decoding import FastTransform, prepared_fast
from starft.data.images import BadImageError, prepared
from starft.data.loading import SignalProofLoader, Turn
from starft.data.source import ImageTable
from starft.data.transforms import Transform, drawn_from, seed_of
from starft.errors import DataError
from starft.types import Batch

TRIES = 100
"""How many images in a row may be bad before a replacement is given up."""


class ImageSet(Dataset[Batch]):
    """Images of a table; items are single rows of a `Batch`.

    An item is asked for by its position, which gives it as in evaluation, or by a `Turn`, which gives it as in
    training: varied at random by (seed, epoch, position, how often it came before in the epoch) alone, in whatever
    process.

    Args:
        table: Which images.
        plain: Transform of evaluation.
        varied: Transform of training; null where the set isn't for training.
        seed: Of the variations.
    """

    def __init__(self, table: ImageTable, plain: Transform, varied: Transform | None = None, seed: int = 0) -> None:
        self.table, self.plain, self.varied, self.seed = table, plain, varied, seed

    def __len__(self) -> int:
        return len(self.table)

    @property
    def labels(self) -> Sequence[int]:
        """Class of each image."""
        labels: list[int] = self.table.labels.tolist()
        return labels

    @property
    def groups(self) -> Sequence[int] | None:
        """Group of each image; None where they have none."""
        return None if self.table.groups is None else self.table.groups.tolist()

    def __getitem__(self, which: int | Turn) -> Batch:
        """Return one row: ``image`` (3, H, W), ``label``, ``index`` and, where there are groups, ``group``.

        The image is normalised, or uint8 where a `FastTransform` makes it.

        Raises:
            BadImageError: The image can't be read.
        """
        turn, index = (which, which.position) if isinstance(which, Turn) else (None, which)
        path = self.path(index)
        if turn is not None and self.varied is not None:
            with drawn_from(self.seed, turn.epoch, index, *([turn.copy] if turn.copy else [])):
                pixels = self._prepared(path, self.varied)
        else:
            pixels = self._prepared(path, self.plain)
        table = self.table
        row = Batch(image=pixels, label=torch.tensor(int(table.labels[index])), index=torch.tensor(index))
        if table.groups is not None:
            row["group"] = torch.tensor(int(table.groups[index]))
        return row

    def _prepared(self, path: str, transform: Transform) -> Tensor:
        if isinstance(transform, FastTransform) and self.table.read is None:
            return prepared_fast(path, transform, self.table.file_bytes)
        return prepared(path, transform, self.table.reader)

    def path(self, index: int) -> str:
        """Return where an image is."""
        return self.table.location(index)


class Loaded(NamedTuple):
    """What a worker hands over: one row or batch, if there is any, and the bad images met on the way.

    Args:
        batch: The row or batch; null where nothing could be read.
        bad: Path and reason of each bad image.
        stop: A sentence that ends the run, whatever is done about bad images, such as on a lost connection.
    """

    batch: Batch | None
    bad: tuple[tuple[str, str], ...]
    stop: str = ""


class Guarded(Dataset[Loaded]):
    """An `ImageSet` whose bad images stop the run with a sentence, or are skipped and counted.

    A skipped image of an evaluation set is left out of its batch, and so out of every metric. In training another image
    takes its place, drawn by (seed, epoch, position), so that batches keep their size on every device.

    Args:
        images: The images.
        on_bad_image: ``stop`` or ``skip``.
    """

    def __init__(self, images: ImageSet, on_bad_image: Literal["stop", "skip"]) -> None:
        self.images, self.on_bad_image = images, on_bad_image
        self.bad: dict[str, str] = {}
        """Path -> reason of the bad images met so far; kept in the main process."""

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, which: int | Turn) -> Loaded:
        """Return one row, or what went wrong; nothing is raised in a worker, where sentences turn into tracebacks."""
        bad: list[tuple[str, str]] = []
        replacing = self.on_bad_image == "skip" and isinstance(which, Turn)
        wanted = which
        for attempt in range(TRIES if replacing else 1):
            try:
                return Loaded(self.images[wanted], tuple(bad))
            except BadImageError as error:
                bad.append((error.path, error.why))
            except DataError as error:
                return Loaded(None, tuple(bad), str(error))
            if isinstance(which, Turn):
                drawn = np.random.default_rng(seed_of(self.images.seed, *which, attempt)).integers(len(self))
                wanted = which._replace(position=int(drawn))
        return Loaded(None, tuple(bad))

    def receive(self, loaded: Loaded, size: int = 0) -> Batch | None:
        """Take over what a worker read: the batch, or None if all of it is bad.

        Args:
            loaded: As `gathered` made it.
            size: Rows that the batch must hold.

        Raises:
            BadImageError: An image is bad, and the run shall stop.
            DataError: An image can't be fetched, or rows are missing, as no image was found to take their place.
        """
        if loaded.stop:
            raise DataError(loaded.stop)
        if loaded.bad and self.on_bad_image == "stop":
            raise BadImageError(*loaded.bad[0])
        self.bad.update(loaded.bad)
        if size and (loaded.batch is None or len(loaded.batch["label"]) < size):
            raise DataError(f"{TRIES} training images in a row can't be read, {loaded.bad[0][0]} first; mend the data.")
        return loaded.batch

    def blank(self) -> Batch:
        """Return a batch of one black image that stands for none: its index is -1."""
        row = Batch(image=self.images.plain(Image.new("RGB", (1, 1))), label=torch.tensor(0), index=torch.tensor(-1))
        if self.images.table.groups is not None:
            row["group"] = torch.tensor(0)
        batch: Batch = default_collate([row])
        return batch


def gathered(rows: Sequence[Loaded]) -> Loaded:
    """Make one batch of rows; a `DataLoader`'s ``collate_fn`` for `Guarded` sets.

    Args:
        rows: As the set gives them.
    """
    good = [row.batch for row in rows if row.batch is not None]
    stop = next((row.stop for row in rows if row.stop), "")
    return Loaded(default_collate(good) if good else None, tuple(bad for row in rows for bad in row.bad), stop)


class GuardedLoader(SignalProofLoader):
    """An evaluation loader over a `Guarded` set: a batch without its bad images, none where all of it is bad.

    Of several processes, which wait for each other batch by batch, each must have as many as it was dealt: there a
    `blank` batch takes the place of a bad one, and is counted nowhere.
    """

    def __iter__(self) -> Any:
        """Yield the batches."""
        assert isinstance(self.dataset, Guarded)
        for loaded in super().__iter__():
            batch = self.dataset.receive(loaded)
            if batch is None and isinstance(self.sampler, DistributedSampler):
                batch = self.dataset.blank()
            if batch is not None:
                yield batch
