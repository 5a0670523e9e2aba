"""CelebA for the question whether hair is blond, which goes with sex in the training data.

Paper: Liu et al., ICCV 2015, arXiv 1411.7766; groups as in Sagawa et al., ICLR 2020, arXiv 1911.08731.
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

LABEL, ATTRIBUTE = "Blond_Hair", "Male"


class CelebASource(PublishedSource):
    """CelebA, with its lists as .csv (Kaggle) or .txt (the authors, torchvision).

    Adjusted accuracy weighs the groups as the train split has them.
    """

    title: ClassVar[str] = "CelebA"
    tree: ClassVar[str] = """celeba/
  list_attr_celeba.csv     (or .txt)
  list_eval_partition.csv  (or .txt)
  img_align_celeba/
    000001.jpg  ... 202599.jpg"""
    folders = ("celeba", "celebA", "CelebA", "celebA_v1.0")
    counts: ClassVar = {
        "train": (71629, 66874, 22880, 1387),
        "val": (8535, 8276, 2874, 182),
        "test": (9767, 7535, 2480, 180),
    }
    own_templates = ("a photo of a person with {}.",)
    own_class_names = ("dark hair", "blond hair")
    group_names = ("not blond, female", "not blond, male", "blond, female", "blond, male")
    """Hair by sex; group = 2 * blond + male."""
    attribute_names = ("female", "male")

    @property
    def _images(self) -> str:
        """Kaggle's archive holds the folder twice, one in the other."""
        twice = "img_align_celeba/img_align_celeba"
        return twice if (self.root / twice).is_dir() else "img_align_celeba"

    @cached_property
    def _rows(self) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        if (self.root / "list_attr_celeba.csv").exists() or not (self.root / "list_attr_celeba.txt").exists():
            files, *signs = self.read_table("list_attr_celeba.csv", ["image_id", LABEL, ATTRIBUTE])
            others, parts = self.read_table("list_eval_partition.csv", ["image_id", "partition"])
        else:
            files, *signs = self._read_text()
            split = [line.split() for line in self.read_lines("list_eval_partition.txt")]
            others, parts = [row[0] for row in split], [row[-1] for row in split]
        part_of = dict(zip(others, self.whole_numbers(parts, "list_eval_partition").tolist(), strict=True))
        missing = next((file for file in files if file not in part_of), None)
        if missing is not None:
            raise DataError(f"{self.title}: list_eval_partition doesn't tell the split of {missing}; get a whole copy.")
        blond, male = (self.whole_numbers(column, "list_attr_celeba") for column in signs)
        in_split = np.array([part_of[file] for file in files], np.int64)
        return files, (blond > 0).astype(np.int64), (male > 0).astype(np.int64), in_split

    def _read_text(self) -> list[list[str]]:
        """The .txt form: how many there are, the attributes' names, then one line an image."""
        lines = self.read_lines("list_attr_celeba.txt")
        names = lines[1].split() if len(lines) > 1 else []
        if LABEL not in names or ATTRIBUTE not in names:
            raise DataError(
                f"{self.title}: line 2 of {self.root / 'list_attr_celeba.txt'} must name {LABEL} and {ATTRIBUTE}; "
                "get a whole copy."
            )
        rows = [line.split() for line in lines[2:]]
        if short := next((row for row in rows if len(row) != len(names) + 1), None):
            raise DataError(f"{self.title}: the line of {short[0]} in list_attr_celeba.txt is cut short.")
        return [[row[place] for row in rows] for place in (0, 1 + names.index(LABEL), 1 + names.index(ATTRIBUTE))]

    def table(self, split: str) -> ImageTable:
        """List one split of the partition."""
        files, blond, male, in_split = self._rows
        self.need(self._images)
        rows = np.flatnonzero(in_split == self.splits.index(split))
        paths = tuple(f"{self._images}/{files[row]}" for row in rows)
        return ImageTable(self.root, paths, blond[rows], 2 * blond[rows] + male[rows])

    def eval_set(self, name: str, split: str, ood: bool = False) -> EvalSet:
        """Score by group."""
        return replace(super().eval_set(name, split, ood), group_weights=self.train_shares())
