"""Caltech101: things of 101 kinds, and faces.

Paper: Fei-Fei et al., CVPR workshop 2004.
"""

from functools import cached_property
from typing import ClassVar

import numpy as np

from starft.data.datasets.coop import CoOpSource
from starft.data.listing import list_images
from starft.data.source import ImageTable
from starft.data.splits import few

IMAGES = "101_ObjectCategories"
CLUTTER = "BACKGROUND_Google"
SHOTS = 30
"""Training images a class where there is no split file, the number that the data set's authors compare at."""


class Caltech101Source(CoOpSource):
    """Caltech101, by ``split_zhou_Caltech101.json`` (100 classes) or, without it, 30 training images of each of 101.

    The 30 are drawn with a fixed seed; such numbers can't be compared with those of others. Clutter is left out.
    """

    title: ClassVar[str] = "Caltech101"
    tree: ClassVar[str] = """caltech-101/
  split_zhou_Caltech101.json  (CoOp's; optional)
  101_ObjectCategories/
    accordion/  ... 102 folders
      image_0001.jpg"""
    folders = ("caltech-101", "caltech101")
    own_templates = ("a photo of a {}.",)
    split_file = "split_zhou_Caltech101.json"
    split_images = IMAGES
    split_counts: ClassVar[dict[str, int]] = {"train": 4128, "val": 1649, "test": 2465}
    own_counts: ClassVar[dict[str, int]] = {"train": 3030, "test": 5647}

    @cached_property
    def _folders(self) -> dict[str, int]:
        names = sorted({path.partition("/")[0] for path in list_images(self.need(IMAGES)) if "/" in path} - {CLUTTER})
        return {name: label for label, name in enumerate(names)}

    @property
    def listed_class_names(self) -> tuple[str, ...]:
        """The folders' names, with spaces for underscores."""
        return tuple(name.replace("_", " ").lower() for name in self._folders)

    def listed(self, split: str) -> ImageTable:
        """Draw 30 training images a class; the rest is for the test."""
        table = self.from_class_folders(IMAGES, self._folders, others=True)
        train = few(table.labels, SHOTS, seed=0)
        return table.take(train if split == "train" else np.setdiff1d(np.arange(len(table)), train))
