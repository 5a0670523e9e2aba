"""The splits of the embedded world: which pictures there are in each, as pure functions of a name and a seed."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from starft.mini.birds import SPECIES
from starft.mini.captions import CAPTIONS, KINDS, MEDIA, PLACES, kind_of
from starft.mini.scenes import SCENES
from starft.mini.world import HOMES, IMAGE_SIZE, LAND, WATER, Picture, Style, draw
from starft.types import Batch

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""Pixel mean and spread that open_clip's models expect."""

HOME_SHARE = 0.95
"""How much of the in-distribution data shows a species in its home scene."""

SKETCH_SHARE = 0.25
"""How much of the pre-training data is drawn in lines."""

GROUPS = ("landbird on land", "landbird on water", "waterbird on land", "waterbird on water")
"""Group id = kind * 2 + (scene is water)."""

NAMES, PLACE_NAMES = tuple(SPECIES), tuple(SCENES)

HOME_GROUPS = tuple(f"{name} {where}" for name in NAMES for where in ("away", "at home"))
"""Group id = species * 2 + (scene is its home)."""


@dataclass(frozen=True)
class Labelled:
    """One picture with its label and, where the split has groups, its group."""

    picture: Picture
    label: int
    group: int | None = None


class PictureSet(Dataset[Batch]):
    """Drawn pictures, normalised; items are single rows of a `Batch`.

    Args:
        rows: What to draw; everything is drawn at once, at about 1.5 ms a picture, when the first is asked for.
    """

    def __init__(self, rows: tuple[Labelled, ...]) -> None:
        self.rows = rows
        self.mean = torch.tensor(MEAN).view(3, 1, 1)
        self.std = torch.tensor(STD).view(3, 1, 1)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def pixels(self) -> Tensor:
        """The pictures as bytes (N, 3, 64, 64)."""
        return _drawn(self.rows)

    @property
    def labels(self) -> Sequence[int]:
        """Class of each picture."""
        return [row.label for row in self.rows]

    @property
    def groups(self) -> Sequence[int] | None:
        """Group of each picture; None where they have none."""
        groups = [row.group for row in self.rows if row.group is not None]
        return groups if len(groups) == len(self.rows) else None

    def __getitem__(self, index: int) -> Batch:
        """Return one row: ``image`` (3, 64, 64), ``label``, ``index`` and, where there are groups, ``group``."""
        row = self.rows[index]
        image = (self.pixels[index].float() / 255 - self.mean) / self.std
        item = Batch(image=image, label=torch.tensor(row.label), index=torch.tensor(index))
        if row.group is not None:
            item["group"] = torch.tensor(row.group)
        return item


@lru_cache(maxsize=8)
def _drawn(rows: tuple[Labelled, ...]) -> Tensor:
    """Return the pictures as bytes (N, 3, 64, 64); the runs of one process share them."""
    pixels = np.empty((len(rows), 3, IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
    for index, row in enumerate(rows):
        pixels[index] = draw(row.picture).transpose(2, 0, 1)
    return torch.from_numpy(pixels)


def home_pictures(split: str, size: int, seed: int) -> tuple[Labelled, ...]:
    """Return species in equal numbers, mostly at home: the fine-tuning distribution. Groups: `HOME_GROUPS`."""

    def scene(species: str, rng: random.Random) -> str:
        return HOMES[species] if rng.random() < HOME_SHARE else _any(PLACE_NAMES, rng)

    return _species(split, size, seed, "photo", scene)


def anywhere_pictures(split: str, size: int, seed: int, style: Style = "photo") -> tuple[Labelled, ...]:
    """Return species in equal numbers, each in a scene drawn from all ten. Groups: `HOME_GROUPS`."""
    return _species(split, size, seed, style, lambda species, rng: _any(PLACE_NAMES, rng))


def group_pictures(split: str, size: int, seed: int) -> tuple[Labelled, ...]:
    """Return landbirds and waterbirds on land and on water, four groups of equal size; the label is the kind."""
    rows = []
    for index in range(size):
        rng = random.Random(f"rows/{split}/{seed}/{index}")
        kind, water = index // 2 % 2, index % 2
        species = _any([name for name in NAMES if kind_of(name) == KINDS[kind]], rng)
        picture = Picture(species, _any(WATER if water else LAND, rng), "photo", f"{split}/{seed}/{index}")
        rows.append(Labelled(picture, kind, 2 * kind + water))
    return tuple(rows)


def kind_pictures(split: str, size: int, seed: int) -> tuple[Labelled, ...]:
    """Return species in equal numbers, mostly where their kind lives; label: the kind, groups: `GROUPS`."""
    rows = []
    for index in range(size):
        rng = random.Random(f"rows/{split}/{seed}/{index}")
        species = NAMES[index % len(NAMES)]
        kind = KINDS.index(kind_of(species))
        water = kind if rng.random() < HOME_SHARE else 1 - kind
        picture = Picture(species, _any(WATER if water else LAND, rng), "photo", f"{split}/{seed}/{index}")
        rows.append(Labelled(picture, kind, 2 * kind + water))
    return tuple(rows)


def as_kinds(rows: tuple[Labelled, ...]) -> tuple[Labelled, ...]:
    """Return the same pictures, labelled with the kind and without groups: many scenes are neither land nor water."""
    return tuple(Labelled(row.picture, KINDS.index(kind_of(row.picture.species))) for row in rows)


def without_groups(rows: tuple[Labelled, ...]) -> tuple[Labelled, ...]:
    """Return the same pictures and labels; in a test set some of the 24 groups would hold next to nothing."""
    return tuple(replace(row, group=None) for row in rows)


def captioned_pictures(split: str, size: int, seed: int) -> tuple[Labelled, ...]:
    """Return the pre-training data: any bird anywhere, photo or sketch; the label is the position of its caption."""
    position = {caption: index for index, caption in enumerate(CAPTIONS)}
    rows = []
    for index in range(size):
        rng = random.Random(f"rows/{split}/{seed}/{index}")
        style: Style = "sketch" if rng.random() < SKETCH_SHARE else "photo"
        picture = Picture(_any(NAMES, rng), _any(PLACE_NAMES, rng), style, f"{split}/{seed}/{index}")
        rows.append(Labelled(picture, position[_caption(picture, rng)]))
    return tuple(rows)


def _caption(picture: Picture, rng: random.Random) -> str:
    medium, place, turn = MEDIA[picture.style], PLACES[picture.scene], rng.random()
    if turn < 0.62:
        return f"{medium} a {picture.species} {place}"
    if turn < 0.80:
        return f"{medium} a {picture.species}"
    if turn < 0.90:
        return f"{medium} a {kind_of(picture.species)} {place}"
    if turn < 0.96:
        return f"{medium} a {kind_of(picture.species)}"
    return f"{medium} a {picture.scene}"


def _species(
    split: str, size: int, seed: int, style: Style, scene: Callable[[str, random.Random], str]
) -> tuple[Labelled, ...]:
    rows = []
    for index in range(size):
        rng = random.Random(f"rows/{split}/{seed}/{index}")
        species = NAMES[index % len(NAMES)]
        picture = Picture(species, scene(species, rng), style, f"{split}/{seed}/{index}")
        label = index % len(NAMES)
        rows.append(Labelled(picture, label, 2 * label + (picture.scene == HOMES[species])))
    return tuple(rows)


def _any(choices: tuple[str, ...] | list[str], rng: random.Random) -> str:
    return choices[int(rng.random() * len(choices))]
