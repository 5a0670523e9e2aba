"""What input costs: decoding against plain torchvision and fast against exact, and listing a million rows.

Run it: ``python -m benchmarks.input --rows 1000000``. One JSON line a row. Decoding is measured in one
process, image by image in turns with torchvision, so that a busy machine slows both alike; the median of the ratios is
told. Memory is read from ``/proc``, as Linux has it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from starft.data import Augmentation, CSVSource, ImageTable
from starft.data.fast_decoding import transform_for
from starft.data.imageset import ImageSet
from starft.data.listing import list_images
from starft.data.loading import Turn
from starft.data.paths import path_problems
from starft.data.transforms import eval_transform, train_transform
from starft.files.cache import CACHE
from starft.types import ImagePreprocessing

FOLDERS = 100


def main() -> None:
    """Print all rows."""
    parser = argparse.ArgumentParser(description="Time the input.")
    parser.add_argument("--images", type=int, default=48, help="JPEGs that are decoded")
    parser.add_argument("--rounds", type=int, default=8, help="how often each")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the CSV that is listed")
    parser.add_argument("--files", type=int, default=100_000, help="in 100 folders, that are listed")
    parser.add_argument("--table", type=Path, help="list this CSV in this process, and do nothing else")
    given = parser.parse_args()
    if given.table is not None:
        print(json.dumps(measured(given.table)))
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        print(*map(json.dumps, decoding(Path(made), given.images, given.rounds)), sep="\n", flush=True)
        for (width, height), fewer in (((500, 375), 1), ((4000, 3000), 24)):  # an image of the second takes that longer
            files, turns = max(1, given.images // fewer), max(1, given.images * given.rounds // fewer)
            for row in fast_decoding(Path(made) / f"{width}", (width, height), files, turns):
                print(json.dumps(row), flush=True)
        print(json.dumps(listing(Path(made), given.rows)), flush=True)
        print(json.dumps(folders(Path(made) / "tree", given.files // FOLDERS)), flush=True)


def jpegs(folder: Path, size: tuple[int, int], images: int) -> list[str]:
    """Write smooth pictures, quality 90 and 4:2:0, as photographs are; return their paths."""
    rng = np.random.default_rng(0)
    for number in range(images):
        coarse = Image.fromarray(rng.integers(0, 256, (38, 50, 3), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90, subsampling="4:2:0")
    return [f"{number}.jpg" for number in range(images)]


def fast_decoding(folder: Path, size: tuple[int, int], images: int, turns: int) -> list[dict[str, object]]:
    """Compare `decode: fast` with `exact`, each up to what a worker hands over: 8-bit levels, or normalised floats."""
    folder.mkdir()
    wanted, augmentation = ImagePreprocessing(), Augmentation()
    table = ImageTable(folder, jpegs(folder, size, images), np.zeros(images, dtype=np.int64))
    fast, exact = (
        ImageSet(table, transform_for(how, wanted), transform_for(how, wanted, augmentation))
        for how in ("fast", "exact")
    )
    rows = []
    for name in ("train", "evaluation"):
        seconds: dict[str, list[float]] = {"exact": [], "fast": []}
        for turn in range(turns):
            pair = [("exact", exact), ("fast", fast)]
            which = Turn(turn, turn % images) if name == "train" else turn % images
            for how, made in pair if turn % 2 else pair[::-1]:
                start = time.process_time()
                made[which]
                seconds[how].append(time.process_time() - start)
        medians = {how: statistics.median(spent) for how, spent in seconds.items()}
        rows.append(
            {
                "row": f"{name} {size[0]}x{size[1]}",
                "exact_over_fast": round(medians["exact"] / medians["fast"], 2),
                "at_least": {"train 500x375": 2.3, "evaluation 500x375": 2.0}.get(f"{name} {size[0]}x{size[1]}", 6),
                "images": turns,
                "median_ms": {how: round(1000 * spent, 3) for how, spent in medians.items()},
            }
        )
    return rows


def decoding(folder: Path, images: int, rounds: int) -> list[dict[str, object]]:
    """Compare our loader with plain torchvision on JPEGs of ImageNet's usual size."""
    paths = jpegs(folder, (500, 375), images)
    wanted = ImagePreprocessing()
    table = ImageTable(folder, paths, np.zeros(images, dtype=np.int64))
    ours = ImageSet(table, eval_transform(wanted), train_transform(wanted, Augmentation()))
    bicubic = transforms.InterpolationMode.BICUBIC
    end = [transforms.ToTensor(), transforms.Normalize(wanted.mean, wanted.std)]
    crop = transforms.RandomResizedCrop(wanted.size, scale=(0.9, 1.0), interpolation=bicubic)
    train = transforms.Compose([crop, *end])
    middle = transforms.Compose([transforms.Resize(224, bicubic), transforms.CenterCrop(224), *end])

    def plain(transform: Callable[[Image.Image], Tensor], index: int) -> Tensor:
        with Image.open(folder / paths[index]) as image:
            return transform(image.convert("RGB"))

    turns = [turn % images for turn in range(images * rounds)]
    return [
        ratio("decode and augment", turns, lambda index: ours[Turn(0, index)]["image"], lambda i: plain(train, i)),
        ratio("decode for evaluation", turns, lambda index: ours[index]["image"], lambda i: plain(middle, i)),
    ]


def ratio(
    name: str, turns: list[int], ours: Callable[[int], Tensor], theirs: Callable[[int], Tensor]
) -> dict[str, object]:
    """Time two loaders in turns, the first one changing from image to image."""
    seconds: dict[str, list[float]] = {"starft": [], "torchvision": []}
    for turn, index in enumerate(turns):
        pair = [("starft", ours), ("torchvision", theirs)]
        for who, load in pair if turn % 2 else pair[::-1]:
            start = time.perf_counter()
            load(index)
            seconds[who].append(time.perf_counter() - start)
    ratios = [a / b for a, b in zip(seconds["starft"], seconds["torchvision"], strict=True)]
    milliseconds = {who: round(1000 * statistics.median(spent), 3) for who, spent in seconds.items()}
    return {
        "row": name,
        "images": len(turns),
        "median_ms": milliseconds,
        "ratio": round(statistics.median(ratios), 3),
        "at_most": 1.1,
    }


def listing(folder: Path, rows: int) -> dict[str, object]:
    """List a table in a process of its own, all its splits drawn."""
    table = folder / "long.csv"
    with table.open("w", encoding="utf-8") as file:
        file.write("path,label,attribute\n")
        for number in range(rows):
            file.write(f"images/{number % 1000:03}/{number:07}.jpg,class {number % 1000},{number % 7}\n")
    return apart(table)


def apart(table: Path) -> dict[str, object]:
    """Measure in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--table", str(table)], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    return dict(json.loads(done.stdout))


def measured(table: Path) -> dict[str, object]:
    """List a table in this process; its memory is the peak beyond what the imports have taken."""
    before = peak_mib()
    start, spent = time.perf_counter(), time.process_time()
    source = CSVSource(table)
    images = sum(len(source.table(split)) for split in source.splits)
    return {
        "row": "list a CSV",
        "rows": images,
        "seconds": round(time.perf_counter() - start, 2),
        "cpu_seconds": round(time.process_time() - spent, 2),
        "at_most_seconds": 10,
        "imports_mib": before,
        "listing_mib": peak_mib() - before,
        "at_most_mib": 1024,
    }


def folders(root: Path, each: int) -> dict[str, object]:
    """List a tree of empty files, list it again from the cache, and look all of its paths up as the check does."""
    os.environ[CACHE] = str(root.parent / "cache")
    for number in range(FOLDERS):
        (root / f"{number:04}").mkdir(parents=True)
        for image in range(each):
            (root / f"{number:04}" / f"{image:06}.jpg").touch()
    seconds = {}
    for name in ("first", "cached"):
        start = time.perf_counter()
        paths = list_images(root)
        seconds[name] = round(time.perf_counter() - start, 3)
    start = time.perf_counter()
    problems = path_problems(ImageTable(root, paths, np.zeros(len(paths), dtype=np.int64)))
    seconds["check"] = round(time.perf_counter() - start, 3)
    return {
        "row": "list folders",
        "files": len(paths),
        "folders": FOLDERS,
        "seconds": seconds,
        "problems": len(problems),
    }


def peak_mib() -> int:
    """Return the most memory that this process has held; ``getrusage`` would count what its parent held before, too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM"))


if __name__ == "__main__":
    main()
