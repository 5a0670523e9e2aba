"""Waterbirds: birds cut out of CUB and put on backgrounds of Places, mostly those they live on.

Paper: Sagawa et al., ICLR 2020, arXiv 1911.08731.
"""

from dataclasses import replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from starft.data.datasets.published import PublishedSource
from starft.data.source import ImageTable
from starft.errors import DataError
from starft.types import EvalSet


class WaterbirdsSource(PublishedSource):
    """Waterbirds, as the group DRO authors or WILDS pack it (``waterbirds_v1.0``).

    Adjusted accuracy weighs the groups as the train split has them.
    """

    title: ClassVar[str] = "Waterbirds"
    tree: ClassVar[str] = """waterbird_complete95_forest2water2/  (or waterbirds_v1.0/)
  metadata.csv
  001.Black_footed_Albatross/  ... 200 folders
    Black_Footed_Albatross_0009_34.jpg"""
    folders = ("waterbird_complete95_forest2water2", "waterbirds_v1.0")
    counts: ClassVar = {"train": (3498, 184, 56, 1057), "val": (467, 466, 133, 133), "test": (2255, 2255, 642, 642)}
    own_templates = ("This is a picture of a {}.",)
    own_class_names = ("landbird", "waterbird")
    group_names = ("landbird on land", "landbird on water", "waterbird on land", "waterbird on water")
    """Bird by background; group = 2 * bird + background."""
    attribute_names = ("land", "water")

    @cached_property
    def _rows(self) -> tuple[list[str], dict[str, np.ndarray]]:
        files, *numbers = self.read_table("metadata.csv", ["img_filename", "y", "place", "split"])
        columns = dict(zip(("y", "place", "split"), map(self._small, numbers, ("y", "place", "split")), strict=True))
        return files, columns

    def _small(self, values: list[str], column: str) -> np.ndarray:
        numbers = self.whole_numbers(values, f"column {column} of metadata.csv")
        limit = 3 if column == "split" else 2
        wrong = numbers[(numbers < 0) | (numbers >= limit)]
        if len(wrong):
            raise DataError(f"{self.title}: {column} of metadata.csv must lie in [0, {limit}); got {wrong[0]}.")
        return numbers

    def table(self, split: str) -> ImageTable:
        """List one split of metadata.csv."""
        files, columns = self._rows
        rows = np.flatnonzero(columns["split"] == self.splits.index(split))
        labels = columns["y"][rows]
        return ImageTable(self.root, tuple(files[row] for row in rows), labels, 2 * labels + columns["place"][rows])

    def eval_set(self, name: str, split: str, ood: bool = False) -> EvalSet:
        """Score by group; a model tuned on something else is scored by the words "landbird" and "waterbird"."""
        return replace(super().eval_set(name, split, ood), group_weights=self.train_shares())
