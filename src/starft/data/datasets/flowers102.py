"""Flowers102: 102 kinds of flowers that are common in Britain.

Paper: Nilsback and Zisserman, ICVGIP 2008. Class names are those of torchvision.
"""

from typing import ClassVar

import numpy as np
from torchvision.datasets import Flowers102 as TorchvisionFlowers102

from starft.data.datasets.coop import CoOpSource
from starft.data.source import ImageTable
from starft.errors import DataError

IDS = {"train": "trnid", "val": "valid", "test": "tstid"}


class Flowers102Source(CoOpSource):
    """Flowers102, by ``split_zhou_OxfordFlowers.json`` or, without it, the authors' split (``setid.mat``)."""

    title: ClassVar[str] = "Flowers102"
    tree: ClassVar[str] = """oxford_flowers/  (or flowers-102/)
  split_zhou_OxfordFlowers.json  (CoOp's; or else the .mat files)
  imagelabels.mat
  setid.mat
  jpg/
    image_00001.jpg  ... image_08189.jpg"""
    folders = ("oxford_flowers", "flowers-102")
    own_templates = ("a photo of a {}, a type of flower.",)
    split_file = "split_zhou_OxfordFlowers.json"
    split_images = "jpg"
    split_counts: ClassVar[dict[str, int]] = {"train": 4093, "val": 1633, "test": 2463}
    own_counts: ClassVar[dict[str, int]] = {"train": 1020, "val": 1020, "test": 6149}

    @property
    def listed_class_names(self) -> tuple[str, ...]:
        """Torchvision's list."""
        return tuple(TorchvisionFlowers102.classes)

    def listed(self, split: str) -> ImageTable:
        """List the authors' split; image ids count from 1."""
        self.need("jpg")
        labels = self.read_mat("imagelabels.mat", "labels").astype(np.int64)
        ids = self.read_mat("setid.mat", IDS[split]).astype(np.int64)
        if len(ids) and ids.max() > len(labels):
            raise DataError(f"{self.title}: imagelabels.mat has no label of image {ids.max()}; get a whole copy.")
        return ImageTable(self.root, tuple(f"jpg/image_{number:05d}.jpg" for number in ids), labels[ids - 1] - 1)
