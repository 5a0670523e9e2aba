"""SUN397: photos of 397 kinds of places.

Paper: Xiao et al., CVPR 2010.
"""

from functools import cached_property
from typing import ClassVar

import numpy as np

from starft.data.datasets.coop import CoOpSource
from starft.data.source import ImageTable
from starft.errors import DataError

PARTITIONS = {"train": "Training_01.txt", "test": "Testing_01.txt"}


class SUN397Source(CoOpSource):
    """SUN397, by ``split_zhou_SUN397.json`` or, without it, the first of the authors' ten partitions."""

    title: ClassVar[str] = "SUN397"
    tree: ClassVar[str] = """sun397/
  split_zhou_SUN397.json  (CoOp's; or else the three .txt files)
  ClassName.txt
  Training_01.txt
  Testing_01.txt
  SUN397/
    a/  ... z/
      abbey/
        sun_aaalbzqrimafwbiv.jpg"""
    folders = ("sun397",)
    own_templates = ("a photo of a {}.",)
    split_file = "split_zhou_SUN397.json"
    split_images = "SUN397"
    split_counts: ClassVar[dict[str, int]] = {"train": 15880, "val": 3970, "test": 19850}
    own_counts: ClassVar[dict[str, int]] = {"train": 19850, "test": 19850}

    def _lines(self, name: str) -> list[str]:
        return [line.lstrip("/") for line in self.read_lines(name)]

    @cached_property
    def _classes(self) -> dict[str, int]:
        return {place: label for label, place in enumerate(self._lines("ClassName.txt"))}

    @property
    def listed_class_names(self) -> tuple[str, ...]:
        """Places such as "abbey" and "indoor apse", of ``a/abbey`` and ``a/apse/indoor``."""
        return tuple(" ".join(reversed(place.split("/")[1:])).replace("_", " ") for place in self._classes)

    def listed(self, split: str) -> ImageTable:
        """List the first partition."""
        self.need("SUN397")
        paths = self._lines(PARTITIONS[split])
        try:
            labels = [self._classes[path.rpartition("/")[0]] for path in paths]
        except KeyError as error:
            raise DataError(f"{self.title}: ClassName.txt doesn't name the place {error}; get a whole copy.") from error
        return ImageTable(self.root, tuple(f"SUN397/{path}" for path in paths), np.array(labels, np.int64))
