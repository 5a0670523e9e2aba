"""What a data set on disk tells: which images there are, what they show, and what ought to be there."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from starft.data.images import read_image
from starft.data.packed.paths import PackedPaths
from starft.errors import ConfigError
from starft.files.addresses import address_of, shown
from starft.types import EvalSet


@dataclass(frozen=True)
class ImageTable:
    """The images of one split; nothing is decoded yet.

    Shapes: N images; ``labels`` and ``groups`` int64 (N,).

    Args:
        root: Folder that every path is relative to and must not leave, perhaps a remote one (`starft.files.addresses`).
        paths: POSIX paths below ``root``, one an image.
        labels: Class of each image.
        groups: Group id of each image; None where the set has no groups.
        captions: The text of each image, without spaces around it; None where captions are made of class names.
        read: Makes a picture of an image that needs a reader of its own, told its `location`; None decodes its file.
        file_bytes: Returns the bytes of an image's file, told its `location`, where it lies in a shard, a table or
            elsewhere than on disk; None opens the file. Not beside ``read``.
        packed: Whether paths are ``FILE#KEY``, one image of a file that holds many; ``read`` or ``file_bytes`` knows
            them.
        left_out: Paths of files among the images that are no pictures.
    """

    root: Path
    paths: Sequence[str]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None
    captions: Sequence[str] | None = None
    read: Callable[[str], Image.Image] | None = None
    file_bytes: Callable[[str], bytes] | None = None
    packed: bool = False
    left_out: Sequence[str] = ()

    @property
    def files(self) -> Sequence[str]:
        """Paths of the files that hold the images, below ``root``."""
        if isinstance(self.paths, PackedPaths):
            return self.paths.files
        return tuple(dict.fromkeys(path.rpartition("#")[0] for path in self.paths)) if self.packed else self.paths

    @property
    def reader(self) -> Callable[[str], Image.Image]:
        """What makes a picture of an image, told its `location`."""
        return self.read or partial(read_image, file_bytes=self.file_bytes)

    def __len__(self) -> int:
        return len(self.paths)

    def location(self, at: int) -> str:
        """Return the path of an image, or its address where the images are remote.

        Args:
            at: Its position.
        """
        path = os.path.join(self.root, self.paths[at])  # noqa: PTH118  # once an image
        return address_of(path) or path

    def take(self, positions: NDArray[np.int64]) -> "ImageTable":
        """Return the table of some of the images.

        Args:
            positions: Which ones, (M,).
        """
        groups = self.groups[positions] if self.groups is not None else None
        captions = tuple(self.captions[at] for at in positions) if self.captions is not None else None
        if isinstance(self.paths, PackedPaths):
            paths: Sequence[str] = self.paths.take(positions)
        else:
            paths = tuple(self.paths[at] for at in positions)
        return replace(self, paths=paths, labels=self.labels[positions], groups=groups, captions=captions)


@dataclass(frozen=True)
class Published:
    """What the papers say a split holds, to tell a truncated copy by.

    Args:
        images: Number of images; None where only class names and the like are published.
        groups: Number of images by group name; empty where the set has no groups.
    """

    images: int | None
    groups: Mapping[str, int] = field(default_factory=dict)


class Source(ABC):
    """One data set on disk, read split by split; cheap to make, nothing is read before it is asked for.

    Args:
        root: Folder that holds it.
    """

    title: ClassVar[str]
    """What messages call the data set, such as ``Waterbirds``."""
    tree: ClassVar[str]
    """The expected folder, drawn with one line a file or folder, for messages about missing ones."""

    labelled: ClassVar[bool] = True
    """Whether the labels mean anything; not for images that are only predicted."""

    remote: ClassVar[bool] = False
    """Whether the root may be remote; a folder that is listed lies on this machine."""

    has_splits: bool = True
    """Whether the data tell their splits; else they are drawn."""

    def __init__(self, root: Path) -> None:
        if address_of(root) is not None and not self.remote:
            raise ConfigError(
                f"{self.title}: {shown(root)} is remote, and {self.title} reads folders of this machine; copy it "
                "here, or list its images in a table for starft.data.CSV."
            )
        self.root = root

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """One name a class, in label order."""

    @property
    @abstractmethod
    def templates(self) -> tuple[str, ...]:
        """Caption templates, each with ``{}`` once."""

    @property
    def group_names(self) -> tuple[str, ...]:
        """One name a group, in the order of group ids; empty where the set has no groups."""
        return ()

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """Values of the attribute, in order, where group ids are label * their number + attribute; empty elsewhere."""
        return ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What is worth knowing of the whole set, each a sentence without its period."""
        return ()

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """Splits there are: of ``train``, ``val`` and ``test``, and of others with names of their own."""

    @abstractmethod
    def table(self, split: str) -> ImageTable:
        """List one split.

        Args:
            split: One of ``splits``.

        Raises:
            DataError: A file or folder is missing or can't be used; the sentence names it and draws `tree`.
        """

    def as_eval(self) -> "Source":
        """Return the source as it is where it is only evaluated."""
        return self

    def without(self, split: str) -> str:
        """Return a sentence on a split that there isn't, without its period.

        Args:
            split: Its name.
        """
        have = " and ".join(self.splits) or "none"
        return (
            f"{self.title} at {self.root} has the splits {have} but no {split}; name the images of a split {split} in "
            "the split column or folder, or leave the split column or folders away to have splits drawn"
        )

    def published(self, split: str) -> Published | None:
        """Return what the split ought to hold, or None where nobody says."""
        return None

    def eval_set(self, name: str, split: str, ood: bool = False) -> EvalSet:
        """Return how a model is scored on a split.

        Args:
            name: Stands in metric names.
            split: One of ``splits``.
            ood: Whether the set counts in ``ood_acc``.
        """
        attributes = len(self.attribute_names)
        return EvalSet(name, self.class_names, self.templates, self.group_names, ood=ood, num_attributes=attributes)
