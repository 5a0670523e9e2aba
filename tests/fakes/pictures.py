"""Tiny image files for fake data sets."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = ((200, 40, 40), (40, 160, 40), (40, 60, 200), (200, 180, 40), (150, 60, 170))


def picture(path: Path, number: int = 0, size: int = 12) -> None:
    """Write one image of some colour, with a brighter corner so that it isn't flat."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size, size, 3), COLOURS[number % len(COLOURS)], np.uint8)
    pixels[: 2 + number % 5, : 2 + number % 7] += 30
    Image.fromarray(pixels).save(path)


def class_folders(root: Path, names: list[str], images: int, suffix: str) -> None:
    """Write the same number of images into each of some folders."""
    for number, name in enumerate(names):
        for image in range(images):
            picture(root / name / f"{name}_{image}{suffix}", number)
