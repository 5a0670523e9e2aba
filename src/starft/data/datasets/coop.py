"""Split files of CoOp, ``split_zhou_*.json``: the reproducible splits of data sets that have no split of their own.

Paper: Zhou et al., IJCV 2022, arXiv 2109.01134.
"""

from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from starft.data.datasets.published import PublishedSource
from starft.data.source import ImageTable, Published
from starft.errors import DataError

Rows = list[tuple[str, int, str]]


class CoOpSource(PublishedSource):
    """A data set that is split by CoOp's file where its folder holds one, and by its own lists elsewhere."""

    split_file: ClassVar[str]
    """What CoOp calls its file."""
    split_images: ClassVar[str] = ""
    """Folder below ``root`` that the paths in the file are relative to; "" for ``root``."""
    split_counts: ClassVar[dict[str, int]]
    """Images of CoOp's splits."""
    own_counts: ClassVar[dict[str, int]]
    """Images of the data set's own splits."""

    @property
    def has_split_file(self) -> bool:
        """Whether CoOp's file is there."""
        return (self.root / self.split_file).is_file()

    @property
    def splits(self) -> tuple[str, ...]:
        """CoOp's three, or the data set's own."""
        return ("train", "val", "test") if self.has_split_file else tuple(self.own_counts)

    @cached_property
    def _split(self) -> dict[str, Rows]:
        told = self.read_json(self.split_file)
        try:
            return {split: [(str(p), int(y), str(n)) for p, y, n in told[split]] for split in ("train", "val", "test")}
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{self.title}: {self.root / self.split_file} isn't a split file of CoOp "
                f"({type(error).__name__}: {error}); get it again."
            ) from error

    @cached_property
    def own_class_names(self) -> tuple[str, ...]:
        """Class names as CoOp's file has them, or the data set's own."""
        if not self.has_split_file:
            return self.listed_class_names
        names = {label: name for rows in self._split.values() for _, label, name in rows}
        if sorted(names) != list(range(len(names))):
            raise DataError(f"{self.title}: the labels in {self.root / self.split_file} have gaps; get it again.")
        return tuple(names[label].replace("_", " ") for label in range(len(names)))

    def read_mat(self, below: str, key: str) -> NDArray[Any]:
        """Return one array, of one dimension, of a MATLAB file.

        Args:
            below: Its path below ``root``.
            key: The array's name.

        Raises:
            DataError: It is missing or can't be read.
        """
        path = self.need(below)
        try:
            return np.atleast_1d(loadmat(str(path), squeeze_me=True)[key])
        except Exception as error:  # the readers share no base: MatReadError, IndexError, KeyError, struct.error, ...
            raise DataError(f"{self.title}: {path} can't be read as MATLAB's {key!r}; get a whole copy.") from error

    @property
    def listed_class_names(self) -> tuple[str, ...]:
        """Class names where CoOp's file isn't there."""
        raise NotImplementedError

    def listed(self, split: str) -> ImageTable:
        """List a split where CoOp's file isn't there."""
        raise NotImplementedError

    def table(self, split: str) -> ImageTable:
        """List a split as CoOp's file has it, or as the data set's own lists have it."""
        if not self.has_split_file:
            return self.listed(split)
        if self.split_images:
            self.need(self.split_images)
        start = f"{self.split_images}/" if self.split_images else ""
        rows = self._split[split]
        return ImageTable(self.root, tuple(start + p for p, _, _ in rows), np.array([y for _, y, _ in rows], np.int64))

    def published(self, split: str) -> Published:
        """Return the counts of CoOp's splits, or of the data set's own."""
        return Published((self.split_counts if self.has_split_file else self.own_counts)[split])
