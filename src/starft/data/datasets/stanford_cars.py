"""Stanford Cars: 196 models of cars, with maker and year.

Paper: Krause et al., ICCV workshop 2013.
"""

from functools import cached_property
from typing import ClassVar

import numpy as np

from starft.data.datasets.coop import CoOpSource
from starft.data.source import ImageTable


class StanfordCarsSource(CoOpSource):
    """Stanford Cars, by ``split_zhou_StanfordCars.json`` or, without it, the authors' train and test split."""

    title: ClassVar[str] = "StanfordCars"
    tree: ClassVar[str] = """stanford_cars/
  split_zhou_StanfordCars.json  (CoOp's; or else the .mat files)
  devkit/
    cars_meta.mat
    cars_train_annos.mat
  cars_test_annos_withlabels.mat
  cars_train/
    00001.jpg
  cars_test/
    00001.jpg"""
    folders = ("stanford_cars",)
    own_templates = ("a photo of a {}.", "a photo of a {}, a type of car.")
    split_file = "split_zhou_StanfordCars.json"
    split_counts: ClassVar[dict[str, int]] = {"train": 6509, "val": 1635, "test": 8041}
    own_counts: ClassVar[dict[str, int]] = {"train": 8144, "test": 8041}

    @cached_property
    def listed_class_names(self) -> tuple[str, ...]:
        """Maker, model, type and year, as the authors write them."""
        return tuple(str(name) for name in self.read_mat("devkit/cars_meta.mat", "class_names"))

    def listed(self, split: str) -> ImageTable:
        """List the authors' split."""
        folder = f"cars_{split}"
        self.need(folder)
        file = "devkit/cars_train_annos.mat" if split == "train" else "cars_test_annos_withlabels.mat"
        rows = self.read_mat(file, "annotations")
        labels = np.array([int(row["class"]) - 1 for row in rows], np.int64)
        return ImageTable(self.root, tuple(f"{folder}/{row['fname']}" for row in rows), labels)
