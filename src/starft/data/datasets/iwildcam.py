"""iWildCam: animals before camera traps, tested at places that training didn't see.

Papers: Beery et al., arXiv 2004.10340; splits and metric of WILDS v2.0 (Koh et al., ICML 2021, arXiv 2012.07421).
"""

from dataclasses import replace
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from starft.data.datasets.published import PublishedSource
from starft.data.source import ImageTable
from starft.errors import DataError
from starft.types import EvalSet

CLASSES = 182


class IWildCamSource(PublishedSource):
    """iWildCam as WILDS packs it (``iwildcam_v2.0``): 182 classes, scored by macro-F1.

    ``val`` and ``test`` are of other camera traps than ``train``; ``id_val`` and ``id_test`` are of the same ones.
    """

    title: ClassVar[str] = "iWildCam"
    tree: ClassVar[str] = """iwildcam_v2.0/
  metadata.csv
  categories.csv
  train/  (images of all splits)
    8b31d3be-21bc-11ea-a13a-137349068a90.jpg"""
    folders = ("iwildcam_v2.0",)
    counts: ClassVar = {"train": 129_809, "val": 14_961, "test": 42_791, "id_val": 7_314, "id_test": 8_154}
    own_templates = ("a photo of {}.", "a camera trap photo of {}.")

    @cached_property
    def own_class_names(self) -> tuple[str, ...]:
        """Species as categories.csv names them, but "an empty scene" for pictures without an animal."""
        labels, names = self.read_table("categories.csv", ["y", "name"])
        known = dict(zip(self.whole_numbers(labels, "column y of categories.csv").tolist(), names, strict=True))
        if missing := [label for label in range(CLASSES) if label not in known]:
            raise DataError(f"{self.title}: categories.csv doesn't name class {missing[0]}; get a whole copy.")
        return tuple("an empty scene" if known[y] == "empty" else known[y] for y in range(CLASSES))

    @cached_property
    def _rows(self) -> tuple[list[str], list[str], NDArray[np.int64]]:
        files, splits, labels = self.read_table("metadata.csv", ["filename", "split", "y"])
        return files, splits, self.whole_numbers(labels, "column y of metadata.csv")

    def table(self, split: str) -> ImageTable:
        """List one split of metadata.csv."""
        files, splits, labels = self._rows
        self.need("train")
        rows = np.flatnonzero(np.array(splits) == split)
        return ImageTable(self.root, tuple(f"train/{files[row]}" for row in rows), labels[rows])

    def eval_set(self, name: str, split: str, ood: bool = False) -> EvalSet:
        """Score by accuracy and macro-F1; other camera traps are out of distribution."""
        return replace(super().eval_set(name, split, ood or split in ("val", "test")), metrics=("macro_f1",))
