"""ImageNet-Vid-Robust: frames of videos, and whether a model is right on all frames around one.

Paper: Shankar et al., ICCV 2021, arXiv 1906.02168. Of each of 30 classes the logit is the highest of its ImageNet
classes'. A frame may show several of them; each then counts as right, as in the authors' scoring.
"""

from dataclasses import replace
from functools import cached_property
from typing import ClassVar

import numpy as np

from starft.data.datasets.imagenet import ImageNetClasses, synsets
from starft.data.source import ImageTable
from starft.errors import DataError
from starft.types import EvalSet


class ImageNetVidRobustSource(ImageNetClasses):
    """ImageNet-Vid-Robust: anchor frames, each with its neighbours up to 10 frames away.

    Each frame is listed once, whatever the number of sets that it is in.

    Args:
        root: Folder that holds ``metadata``, ``misc`` and ``val``.
        class_names: Names of ImageNet's 1000 classes in the place of OpenAI's; null keeps OpenAI's.
        templates: Caption templates to put in the place of OpenAI's 80, each with ``{}`` once; null keeps the 80.
    """

    title: ClassVar[str] = "ImageNet-Vid-Robust"
    tree: ClassVar[str] = """imagenet-vid-robust/
  metadata/
    pmsets.json
    labels.json
  misc/
    imagenet_vid_class_index.json
    rev_wnid_map.json
  val/
    ILSVRC2015_val_00000000/  ...
      000010.JPEG"""
    folders = ("imagenet-vid-robust", "imagenet_vid_ytbb_robust/imagenet-vid-robust")
    counts: ClassVar = {"test": None}
    """The paper counts 1109 sets; whether it counts a frame of two sets once or twice it doesn't say."""

    @cached_property
    def _sets(self) -> dict[str, list[str]]:
        sets: dict[str, list[str]] = self.read_json("metadata/pmsets.json")
        return sets

    @cached_property
    def _frame_labels(self) -> dict[str, tuple[int, ...]]:
        told = self.read_json("metadata/labels.json")
        return {frame: tuple(sorted(labels)) for frame, labels in told.items()}

    @cached_property
    def _accepted(self) -> tuple[tuple[int, ...], ...]:
        """The 30 classes, then every combination of them that a frame shows."""
        several = sorted({labels for labels in self._frame_labels.values() if len(labels) > 1})
        return (*((label,) for label in range(len(self._merge))), *several)

    @cached_property
    def _merge(self) -> tuple[tuple[int, ...], ...]:
        classes = self.read_json("misc/imagenet_vid_class_index.json")
        members = self.read_json("misc/rev_wnid_map.json")
        place = {synset: position for position, synset in enumerate(synsets())}
        try:
            wnids = [classes[str(label)][0] for label in range(len(classes))]
            return tuple(tuple(place[member] for member in members[wnid]) for wnid in wnids)
        except KeyError as error:
            raise DataError(
                f"{self.title}: the files in {self.root / 'misc'} don't fit together ({error}); get a whole copy."
            ) from error

    @cached_property
    def _frames(self) -> dict[str, int]:
        """Row of each frame, in the order of the sets."""
        frames = dict.fromkeys(frame for anchor, others in self._sets.items() for frame in (anchor, *others))
        return {frame: row for row, frame in enumerate(frames)}

    def table(self, split: str) -> ImageTable:
        """List the frames of every set."""
        self.need("val")
        label_of = {labels: label for label, labels in enumerate(self._accepted)}
        try:
            labels = [label_of[self._frame_labels[frame]] for frame in self._frames]
        except KeyError as error:
            raise DataError(
                f"{self.title}: {self.root / 'metadata' / 'labels.json'} has no usable label of a frame ({error}); "
                "get a whole copy."
            ) from error
        return ImageTable(self.root, tuple(self._frames), np.array(labels, np.int64))

    def eval_set(self, name: str, split: str, ood: bool = False) -> EvalSet:
        """Score 30 classes by their highest ImageNet logit, frame by frame and set by set (``pm0``, ``pm10``)."""
        rows = self._frames
        return replace(
            super().eval_set(name, split, ood),
            merge=self._merge,
            accepted=self._accepted,
            frame_sets=tuple(
                (rows[anchor], *(rows[frame] for frame in others)) for anchor, others in self._sets.items()
            ),
        )
