"""Test sets of ImageNet's classes under other conditions: V2, R, A and Sketch.

Papers: V2, Recht et al., ICML 2019, arXiv 1902.10811; R, Hendrycks et al., ICCV 2021, arXiv 2006.16241; A, Hendrycks et
al., CVPR 2021, arXiv 1907.07174; Sketch, Wang et al., NeurIPS 2019, arXiv 1905.13549.

R and A have 200 of the 1000 classes: the model's logits of the others are left out (``EvalSet.merge``).
"""

from dataclasses import replace
from typing import ClassVar

from starft.data.datasets.imagenet import ImageNetClasses, synsets
from starft.data.source import ImageTable
from starft.types import EvalSet


class _TestOnly(ImageNetClasses):
    """A set that is tested on only, with one folder a class."""

    @property
    def labels(self) -> dict[str, int]:
        """Label of each class folder."""
        return {synset: label for label, synset in enumerate(synsets())}

    def table(self, split: str) -> ImageTable:
        """List the class folders."""
        return self.from_class_folders("", self.labels)


class ImageNetV2Source(_TestOnly):
    """ImageNet-V2, matched frequency: 10,000 new photos, collected as ImageNet was.

    Its folders are numbers, to be sorted as such: "10" comes behind "9".
    """

    title: ClassVar[str] = "ImageNet-V2"
    tree: ClassVar[str] = """imagenetv2-matched-frequency-format-val/
  0/  ... 999/
    1e2d2e2b0d6f3ff3e8ae2b7a85ccf6a7ac4c7e7e.jpeg"""
    folders = ("imagenetv2-matched-frequency-format-val",)
    counts: ClassVar = {"test": 10_000}

    @property
    def labels(self) -> dict[str, int]:
        """Folders are named for the labels."""
        return {str(label): label for label in range(1000)}


class ImageNetSketchSource(_TestOnly):
    """ImageNet-Sketch: 50,889 sketches of all 1000 classes."""

    title: ClassVar[str] = "ImageNet-Sketch"
    tree: ClassVar[str] = """sketch/
  n01440764/  ... 1000 folders
    sketch_0.JPEG"""
    folders = ("sketch", "imagenet-sketch")
    counts: ClassVar = {"test": 50_889}


class _Subset(_TestOnly):
    """A set of 200 of the classes."""

    subset: ClassVar[str]
    """Which of `synsets`."""

    @property
    def labels(self) -> dict[str, int]:
        """The 200 synsets, sorted."""
        return {synset: label for label, synset in enumerate(synsets(self.subset))}

    def eval_set(self, name: str, split: str, ood: bool = False) -> EvalSet:
        """Score the 200 classes among themselves, on the head of all 1000."""
        place = {synset: position for position, synset in enumerate(synsets())}
        merge = tuple((place[synset],) for synset in synsets(self.subset))
        return replace(super().eval_set(name, split, ood), merge=merge)


class ImageNetRSource(_Subset):
    """ImageNet-R: 30,000 renditions (art, cartoons, toys, tattoos) of 200 classes."""

    title: ClassVar[str] = "ImageNet-R"
    tree: ClassVar[str] = """imagenet-r/
  n01443537/  ... 200 folders
    art_0.jpg"""
    folders = ("imagenet-r",)
    subset = "r"
    counts: ClassVar = {"test": 30_000}


class ImageNetASource(_Subset):
    """ImageNet-A: 7,500 photos of 200 classes that a ResNet-50 got wrong."""

    title: ClassVar[str] = "ImageNet-A"
    tree: ClassVar[str] = """imagenet-a/
  n01498041/  ... 200 folders
    0.000116_digital clock _ digital clock_0.865662.jpg"""
    folders = ("imagenet-a",)
    subset = "a"
    counts: ClassVar = {"test": 7_500}
