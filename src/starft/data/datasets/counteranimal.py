"""CounterAnimal: animals of ImageNet before backgrounds that CLIP finds easy, and before others.

Paper: Wang et al., NeurIPS 2024, arXiv 2403.11497. Scored among all 1000 classes, the paper's "1 vs. 1000". Where the
images lie was learnt from public programs that read them; the authors' archive wasn't at hand.
"""

import re
from dataclasses import replace
from typing import ClassVar

import numpy as np

from starft.data.datasets.imagenet import ImageNetClasses
from starft.data.source import ImageTable
from starft.errors import DataError

KINDS = ("common", "counter")
"""What folders of backgrounds begin with; the group of an image is its place here."""


class CounterAnimalSource(ImageNetClasses):
    """CounterAnimal: 13,100 photos of 45 of ImageNet's classes, in two groups.

    ``common`` are photos before a background that is common for the animal (the paper's easy group), ``counter`` before
    one that isn't (hard); the paper tells both accuracies and how much the second one is lower.
    """

    title: ClassVar[str] = "CounterAnimal"
    tree: ClassVar[str] = """LAION-final/
  296 ice bear/  ... 45 folders, each begins with the class's number in ImageNet
    common-snow/
      1.jpg
    counter-grass/
      1.jpg"""
    folders = ("LAION-final",)
    counts: ClassVar = {"test": (7_174, 5_926)}
    group_names = KINDS
    """Here a group is a kind of background, whatever the label."""

    def table(self, split: str) -> ImageTable:
        """List the class folders."""
        top = self.need("")
        numbers = {folder.name: re.match(r"\d{1,3}(?= )", folder.name) for folder in top.iterdir() if folder.is_dir()}
        labels = {name: int(number[0]) for name, number in numbers.items() if number is not None}
        if not labels:
            raise DataError(
                f"{self.title}: no folder of {top} begins with the number of a class; give the root of a folder like "
                f"this:\n{self.tree}"
            )
        table = self.from_class_folders("", labels)
        kinds = [path.split("/")[1].partition("-")[0] for path in table.paths]
        if strange := next((path for path, kind in zip(table.paths, kinds, strict=True) if kind not in KINDS), None):
            raise DataError(
                f"{self.title}: {top / strange} lies below no folder common-... or counter-...; move it away, or give "
                f"the root of a folder like this:\n{self.tree}"
            )
        return replace(table, groups=np.array([KINDS.index(kind) for kind in kinds], dtype=np.int64))
