"""Images of any number as batches in order: decoded by worker processes, a few batches ahead and no more."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from starft.data.images import BadImageError, prepared
from starft.data.loading import SignalProofLoader, ignore_stop_signals
from starft.data.transforms import Transform
from starft.files.atomic import is_text
from starft.inference.inputs import Item
from starft.safe_text import visible


class Opened(NamedTuple):
    """What became of one image, or of a batch of them.

    Args:
        names: Of the images that could be read.
        pixels: Theirs, (B, 3, H, W); None where none could be read.
        bad: Name and reason of each image that can't be read.
    """

    names: tuple[str, ...]
    pixels: Tensor | None
    bad: tuple[tuple[str, str], ...]


class Pictures(Dataset[Opened]):
    """A data set without a length: an item is asked for by its name and path, which the sampler hands over.

    Args:
        transform: Prepares an image for the model.
    """

    def __init__(self, transform: Transform) -> None:
        self.transform = transform

    def __getitem__(self, item: Item) -> Opened:
        """Return one image, or why it can't be read."""
        if not is_text(item.shown):
            return Opened((), None, ((visible(item.shown), "its name isn't UTF-8, rename it"),))
        try:
            return Opened((item.shown,), prepared(item.path, self.transform), ())
        except BadImageError as error:
            return Opened((), None, ((item.shown, error.why),))


def batches(
    items: Iterable[Item], transform: Transform, batch_size: int, workers: int, device: torch.device
) -> Iterator[Opened]:
    """Yield the images in order.

    Args:
        items: Read off as they are needed: of a stream no more than what is being worked on is held.
        transform: Prepares an image for the model.
        batch_size: Images a batch, good and bad.
        workers: Processes that decode; 0 decodes in this one.
        device: Where the batches will go.
    """
    with warnings.catch_warnings():  # whoever asks for more workers than there are processors gets them
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader = SignalProofLoader(
            Pictures(transform),
            batch_sampler=_chunks(items, batch_size),
            num_workers=workers,
            collate_fn=_together,
            worker_init_fn=ignore_stop_signals,
            pin_memory=device.type == "cuda",
        )
        loaded = iter(loader)
    yield from loaded


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    left = iter(items)
    while some := list(islice(left, size)):
        yield some


def _together(rows: Sequence[Opened]) -> Opened:
    good = [row.pixels for row in rows if row.pixels is not None]
    return Opened(
        tuple(name for row in rows for name in row.names),
        torch.stack(good) if good else None,
        tuple(bad for row in rows for bad in row.bad),
    )
