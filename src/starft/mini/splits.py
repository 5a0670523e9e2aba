"""The splits of the embedded world: which pictures there are in each, as pure functions of a name and a seed."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from starft.mini.birds import SPECIES
from starft.mini.captions import CAPTIONS, DRESSED_CAPTIONS, KINDS, MEDIA, PLACES, dressed, kind_of
from starft.mini.looks import COLORS, TEXTURES
from starft.mini.scenes import SCENES
from starft.mini.world import (
    HOMES,
    IMAGE_SIZE,
    LAND,
    OWN_TEXTURES,
    VARIETIES,
    VARIETY_HOMES,
    WATER,
    Picture,
    Style,
    draw,
)
from starft.types import Batch

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
"""Pixel mean and spread that open_clip's models expect."""

HOME_SHARE = 0.95
"""How much of the in-distribution data shows a species in its home scene, where nobody says otherwise."""

SKETCH_SHARE = 0.25
"""How much of the pre-training data is drawn in lines."""

GROUPS = ("landbird on land", "landbird on water", "waterbird on land", "waterbird on water")
"""Group id = kind * 2 + (scene is water)."""

NAMES, PLACE_NAMES = tuple(SPECIES), tuple(SCENES)

LAND_TEXTURES, WATER_TEXTURES = tuple(TEXTURES)[:3], tuple(TEXTURES)[3:]

TEXTURE_GROUPS = tuple(f"{kind} in {whose} texture" for kind in KINDS for whose in ("a landbird's", "a waterbird's"))
"""Group id = kind * 2 + (texture is a waterbird's)."""

TEXTURED_SHARE, COLORED_SHARE = 0.45, 0.45
"""How much of the pre-training data wears a texture, or a colour, where birds do."""

SAID_SHARE = 0.75
"""How many captions of those say which."""


@dataclass(frozen=True)
class Task:
    """Classes of the world's birds, and what mostly goes with each of them in training.

    Args:
        names: The classes: species, or varieties, such as a red duck.
        homes: Class -> its scene, or its texture.
        textures: Birds wear textures, which go with the classes; else scenes do.
        home_share: How much of the in-distribution data shows a class at home on purpose; the rest is anywhere.
    """

    names: tuple[str, ...]
    homes: Mapping[str, str]
    textures: bool = False
    home_share: float = HOME_SHARE

    @property
    def home_groups(self) -> tuple[str, ...]:
        """Group id = class * 2 + (scene or texture is its home)."""
        where = ("in another's texture", "in its texture") if self.textures else ("away", "at home")
        return tuple(f"{name} {at}" for name in self.names for at in where)

    @property
    def groups(self) -> tuple[str, ...]:
        """Group id = kind * 2 + (scene, or texture, is a waterbird's)."""
        return TEXTURE_GROUPS if self.textures else GROUPS


SPECIES_TASK = Task(NAMES, HOMES)
TEXTURES_TASK = Task(NAMES, OWN_TEXTURES, textures=True)
VARIETIES_TASK = Task(VARIETIES, VARIETY_HOMES)


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


def home_pictures(
    split: str, size: int, seed: int, task: Task = SPECIES_TASK, imbalance: float = 1.0
) -> tuple[Labelled, ...]:
    """Return classes, mostly at home: the fine-tuning distribution. Groups: ``task.home_groups``.

    Args:
        split: Names the pictures.
        size: How many.
        seed: Draws them.
        task: The classes and what goes with them.
        imbalance: As `counts_of_long_tail` takes it.
    """
    return _classes(split, size, seed, "photo", task, task.home_share, imbalance)


def counts_of_long_tail(size: int, classes: int, imbalance: float) -> list[int]:
    """Return how many pictures each class has: the same part of the one before it, and one at least.

    Args:
        size: How many all have, no fewer than there are classes.
        classes: How many there are, two at least.
        imbalance: The first's number by the last's; 1 for equal numbers.
    """
    weights, many = float(imbalance) ** (-np.arange(classes) / (classes - 1)), classes
    while (exact := (size - classes + many) * weights[:many] / weights[:many].sum())[-1] < 1:
        many -= 1  # the others have one each
    counts = np.floor(exact).astype(int)
    most_cut = np.argsort(counts - exact, kind="stable")[: size - classes + many - counts.sum()]
    counts[most_cut] += 1
    return [*map(int, counts), *(classes - many) * [1]]


def anywhere_pictures(
    split: str, size: int, seed: int, style: Style = "photo", task: Task = SPECIES_TASK
) -> tuple[Labelled, ...]:
    """Return classes in equal numbers, each in a scene or texture drawn from all. Groups: ``task.home_groups``."""
    return _classes(split, size, seed, style, task, 0.0)


def group_pictures(split: str, size: int, seed: int, task: Task = SPECIES_TASK) -> tuple[Labelled, ...]:
    """Return landbirds and waterbirds on land and on water, or in the textures of each; the label is the kind.

    The four groups, ``task.groups``, are of equal size.
    """
    rows = []
    sides = (LAND_TEXTURES, WATER_TEXTURES) if task.textures else (LAND, WATER)
    for index in range(size):
        rng = random.Random(f"rows/{split}/{seed}/{index}")
        kind, water = index // 2 % 2, index % 2
        name = _any([name for name in task.names if kind_of(_species_of(name)) == KINDS[kind]], rng)
        picture = _picture(name, _any(sides[water], rng), "photo", f"{split}/{seed}/{index}", task, rng)
        rows.append(Labelled(picture, kind, 2 * kind + water))
    return tuple(rows)


def kind_pictures(split: str, size: int, seed: int, home_share: float = HOME_SHARE) -> tuple[Labelled, ...]:
    """Return species in equal numbers, mostly where their kind lives; label: the kind, groups: `GROUPS`."""
    rows = []
    for index in range(size):
        rng = random.Random(f"rows/{split}/{seed}/{index}")
        species = NAMES[index % len(NAMES)]
        kind = KINDS.index(kind_of(species))
        water = kind if rng.random() < home_share else 1 - kind
        picture = Picture(species, _any(WATER if water else LAND, rng), "photo", f"{split}/{seed}/{index}")
        rows.append(Labelled(picture, kind, 2 * kind + water))
    return tuple(rows)


def as_kinds(rows: tuple[Labelled, ...]) -> tuple[Labelled, ...]:
    """Return the same pictures, labelled with the kind and without groups: many scenes are neither land nor water."""
    return tuple(Labelled(row.picture, KINDS.index(kind_of(row.picture.species))) for row in rows)


def without_groups(rows: tuple[Labelled, ...]) -> tuple[Labelled, ...]:
    """Return the same pictures and labels; in a small set some of the groups would hold next to nothing."""
    return tuple(replace(row, group=None) for row in rows)


def captioned_pictures(split: str, size: int, seed: int, looks: bool = False) -> tuple[Labelled, ...]:
    """Return the pre-training data: any bird anywhere, photo or sketch; the label is the position of its caption.

    Args:
        split: Names the pictures.
        size: How many.
        seed: Draws them.
        looks: Most photos' birds wear a texture or a colour, and most of their captions say which.
    """
    position = {caption: index for index, caption in enumerate(DRESSED_CAPTIONS if looks else CAPTIONS)}
    rows = []
    for index in range(size):
        rng = random.Random(f"rows/{split}/{seed}/{index}")
        style: Style = "sketch" if rng.random() < SKETCH_SHARE else "photo"
        picture = Picture(_any(NAMES, rng), _any(PLACE_NAMES, rng), style, f"{split}/{seed}/{index}")
        if looks:
            picture = _with_looks(picture, rng)
        rows.append(Labelled(picture, position[_caption(picture, rng)]))
    return tuple(rows)


def _with_looks(picture: Picture, rng: random.Random) -> Picture:
    turn = rng.random()
    if turn < TEXTURED_SHARE:
        texture = _any(tuple(TEXTURES), rng)
        return picture if picture.style == "sketch" else replace(picture, texture=texture)
    if turn < TEXTURED_SHARE + COLORED_SHARE:
        color = _any(tuple(COLORS), rng)
        return picture if picture.style == "sketch" else replace(picture, color=color)
    return picture


def _caption(picture: Picture, rng: random.Random) -> str:
    medium, place, turn = MEDIA[picture.style], PLACES[picture.scene], rng.random()
    said = rng.random() < SAID_SHARE if picture.texture or picture.color else False
    looks = {"texture": picture.texture, "color": picture.color} if said else {}
    species, kind = dressed(picture.species, **looks), dressed(kind_of(picture.species), **looks)
    if turn < 0.62:
        return f"{medium} a {species} {place}"
    if turn < 0.80:
        return f"{medium} a {species}"
    if turn < 0.90:
        return f"{medium} a {kind} {place}"
    if turn < 0.96:
        return f"{medium} a {kind}"
    return f"{medium} a {picture.scene}"


def _classes(
    split: str, size: int, seed: int, style: Style, task: Task, home_share: float, imbalance: float = 1.0
) -> tuple[Labelled, ...]:
    rows = []
    places = tuple(TEXTURES) if task.textures else PLACE_NAMES
    counts = counts_of_long_tail(size, len(task.names), imbalance)
    labels = (label for turn in range(max(counts)) for label, count in enumerate(counts) if turn < count)
    for index, label in enumerate(labels):
        rng = random.Random(f"rows/{split}/{seed}/{index}")
        name = task.names[label]
        at_home = home_share and rng.random() < home_share
        place = task.homes[name] if at_home else _any(places, rng)
        picture = _picture(name, place, style, f"{split}/{seed}/{index}", task, rng)
        rows.append(Labelled(picture, label, 2 * label + (place == task.homes[name])))
    return tuple(rows)


def _picture(name: str, place: str, style: Style, seed: str, task: Task, rng: random.Random) -> Picture:
    """Return a picture of a class in a scene; in a texture it may be anywhere."""
    *color, species = name.split()
    if task.textures:
        return Picture(species, _any(PLACE_NAMES, rng), style, seed, texture=place)
    return Picture(species, place, style, seed, color=color[0] if color else None)


def _species_of(name: str) -> str:
    return name.rsplit(" ", 1)[-1]


def _any(choices: tuple[str, ...] | list[str], rng: random.Random) -> str:
    return choices[int(rng.random() * len(choices))]
