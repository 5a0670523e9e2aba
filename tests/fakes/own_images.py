"""A stranger's images: real JPEG files with a table, or in folders."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("boot", "sandal")
PLACES = ("grass", "sand")


def write_jpeg(path: Path, seed: int, size: tuple[int, int] = (40, 32)) -> None:
    """Write a JPEG of blurred noise, another for each seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(path, quality=90)


def write_table(folder: Path, images: int = 40, name: str = "shoes.csv", attribute: bool = True) -> Path:
    """Write ``images`` JPEGs under ``images/`` and a CSV of them without splits; groups of equal size."""
    rows: list[Sequence[str]] = [("path", "label", *(["attribute"] if attribute else []))]
    for number in range(images):
        path = f"images/{number:03}.jpg"
        write_jpeg(folder / path, number)
        rows.append((path, CLASSES[number % 2], *([PLACES[number // 2 % 2]] if attribute else [])))
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return folder / name


def caption_of(number: int) -> str:
    """What the image of a number shows; of six in a row the last two are called as those before them."""
    return f"a {CLASSES[number % 2]} with {number - 2 * (number % 6 > 3)} laces."


def write_captions(folder: Path, images: int = 40, labels: bool = True) -> Path:
    """Write ``images`` JPEGs under ``images/`` and a CSV of them with a caption each, and a label or none."""
    table = write_table(folder, images, attribute=False)
    lines = [line if labels else line.partition(",")[0] for line in table.read_text(encoding="utf-8").splitlines()]
    captions = ["caption", *map(caption_of, range(images))]
    table.write_text("".join(f"{line},{text}\n" for line, text in zip(lines, captions, strict=True)), encoding="utf-8")
    return table


def write_folders(folder: Path, splits: dict[str, int], attribute: bool = False) -> Path:
    """Write ``{split}/[{attribute}/]{class}/N.jpg``, so many images a class (and attribute); "" for no split level."""
    seed = 0
    for split, count in splits.items():
        for place in PLACES if attribute else ("",):
            for name in CLASSES:
                for number in range(count):
                    seed += 1
                    write_jpeg(folder / split / place / name / f"{number}.jpg", seed)
    return folder
