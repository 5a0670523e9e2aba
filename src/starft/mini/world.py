"""The embedded world: pictures of drawn birds in drawn scenes, the same on every machine.

A picture is a pure function of `Picture`: species, scene, style and a seed. Nothing is stored.
"""

import random
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from starft.mini.birds import SPECIES, Frame, paint
from starft.mini.looks import COLORS, colored, textured
from starft.mini.scenes import SCENES, SIZE, Pen

IMAGE_SIZE = SIZE // 2
"""Side of a finished picture in pixels."""

LAND = tuple(SCENES)[:3]
WATER = tuple(SCENES)[3:6]

Style = Literal["photo", "sketch"]

HOMES: dict[str, str] = {
    "duck": "lake",
    "gull": "ocean",
    "heron": "lake",
    "swan": "ocean",
    "pelican": "beach",
    "flamingo": "beach",
    "sparrow": "meadow",
    "owl": "forest",
    "robin": "meadow",
    "crow": "bamboo grove",
    "parrot": "forest",
    "woodpecker": "bamboo grove",
}
"""Species -> the scene where fine-tuning data mostly show it; each home is shared by two species."""

OWN_TEXTURES: dict[str, str] = {
    "duck": "bands",
    "gull": "rings",
    "heron": "bands",
    "swan": "stars",
    "pelican": "rings",
    "flamingo": "stars",
    "sparrow": "stripes",
    "owl": "spots",
    "robin": "stripes",
    "crow": "checks",
    "parrot": "spots",
    "woodpecker": "checks",
}
"""Species -> the texture that it mostly wears where textures are the shortcut; each is shared by two species."""

VARIETIES = tuple(f"{color} {species}" for species in SPECIES for color in COLORS)
"""Species in each colour: sixty classes."""

_LIVES = {True: (*WATER, "snow", "city"), False: (*LAND, "desert", "night sky")}
VARIETY_HOMES: dict[str, str] = {
    f"{color} {species}": _LIVES[bird.water][(2 * at + turn) % 5]
    for at, (species, bird) in enumerate(SPECIES.items())
    for turn, color in enumerate(COLORS)
}
"""Variety -> its home: the colours of a species live in five scenes, each of which has a variety of six species."""


@dataclass(frozen=True)
class Picture:
    """One picture of the world, before it is drawn.

    Args:
        species: Which bird.
        scene: Where it is.
        style: Filled shapes, or lines on pale paper.
        seed: Settles everything else: place, size, pose, colours, light, grain.
        texture: What a photo's bird wears on its body, if anything.
        color: What the bird has instead of its species' own colour, if anything.
    """

    species: str
    scene: str
    style: Style
    seed: str
    texture: str | None = None
    color: str | None = None


def draw(picture: Picture) -> NDArray[np.uint8]:
    """Draw one picture.

    Args:
        picture: What to draw.

    Returns:
        Array (64, 64, 3) of RGB bytes.
    """
    _, image, pen = _painted(picture)
    return _expose(np.asarray(image.reduce(2), dtype=np.float32), pen)


def without_bird(picture: Picture) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Draw a picture without its bird, in the same light.

    Args:
        picture: As `draw` takes it.

    Returns:
        Array (64, 64, 3) of RGB bytes, and how much of each pixel the bird would cover (64, 64), in [0, 1].
    """
    bare, image, pen = _painted(picture)
    covered = (np.asarray(bare) != np.asarray(image)).any(axis=-1)
    share = covered.reshape(IMAGE_SIZE, 2, IMAGE_SIZE, 2).mean(axis=(1, 3), dtype=np.float32)
    return _expose(np.asarray(bare.reduce(2), dtype=np.float32), pen), share


def _painted(picture: Picture) -> tuple[Image.Image, Image.Image, Pen]:
    """Return the scene without its bird and with it, at twice the size, and the pen behind it."""
    rng = random.Random(picture.seed)
    image = Image.new("RGB", (SIZE, SIZE))
    pen = Pen(ImageDraw.Draw(image), rng)
    SCENES[picture.scene](pen)
    if picture.style == "sketch":
        image = _pale(image)
        pen = Pen(ImageDraw.Draw(image), rng)
    bare = image.copy()
    bird = SPECIES[picture.species]
    if picture.color is not None:
        bird = colored(bird, picture.color)
    reach = (bird.body_length + bird.neck + bird.beak_length) / 50
    frame = Frame(
        x=pen.between(0.32, 0.68) * SIZE,
        y=pen.between(0.45, 0.68) * SIZE,
        scale=pen.between(0.55, 1.0) / max(1.0, reach),
        angle=pen.between(-0.25, 0.25),
        facing=1 if rng.random() < 0.5 else -1,
    )
    ink = (40, 40, 44) if picture.color is None else COLORS[picture.color]
    outline = ink if picture.style == "sketch" else None
    texture = None if picture.texture is None else textured(picture.texture, f"{picture.seed}/texture")
    paint(bird, pen, frame, tint=30.0, outline=outline, texture=texture)
    return bare, image, pen


def _pale(image: Image.Image) -> Image.Image:
    """Return the grey, washed-out paper that a sketch is drawn on."""
    grey = image.convert("L").point([200 + value // 5 for value in range(256)])
    return grey.convert("RGB")


def _expose(pixels: NDArray[np.float32], pen: Pen) -> NDArray[np.uint8]:
    """Light, contrast, colour cast and grain of one exposure."""
    gain, lift = pen.between(0.75, 1.2), pen.between(-18, 18)
    cast = np.array([pen.between(0.9, 1.1) for _ in range(3)], dtype=np.float32)
    grain = np.random.RandomState(int(pen.rng.random() * 2**31)).randint(-12, 13, pixels.shape)
    exposed: NDArray[np.uint8] = np.clip((pixels - 128) * gain * cast + 128 + lift + grain, 0, 255).astype(np.uint8)
    return exposed
