"""What input costs: decoding and augmentation against plain torchvision, and listing a million rows.

Run it: ``python -m benchmarks.input``. One JSON line a row. Decoding is measured in one process, image by image in
turns with torchvision, so that a busy machine slows both alike; the median of the ratios is told. Memory is read from
``/proc``, as Linux has it.
"""

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
from starft.data.imageset import ImageSet
from starft.data.listing import CACHE, list_images
from starft.data.loading import Turn
from starft.data.paths import path_problems
from starft.data.transforms import eval_transform, train_transform
from starft.types import ImagePreprocessing

IMAGES, ROUNDS = 48, 8
ROWS = 1_000_000
FOLDERS, FILES = 100, 100_000


def main() -> None:
    """Print all rows."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        for row in (*decoding(Path(made)), listing(Path(made)), folders(Path(made) / "tree")):
            print(json.dumps(row), flush=True)


def decoding(folder: Path) -> list[dict[str, object]]:
    """Compare our loader with plain torchvision on JPEGs of ImageNet's usual size."""
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        coarse = Image.fromarray(rng.integers(0, 256, (38, 50, 3), dtype=np.uint8))
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(folder / f"{number}.jpg", quality=90)
    paths = [f"{number}.jpg" for number in range(IMAGES)]
    wanted = ImagePreprocessing()
    table = ImageTable(folder, paths, np.zeros(IMAGES, dtype=np.int64))
    ours = ImageSet(table, eval_transform(wanted), train_transform(wanted, Augmentation()))
    bicubic = transforms.InterpolationMode.BICUBIC
    end = [transforms.ToTensor(), transforms.Normalize(wanted.mean, wanted.std)]
    crop = transforms.RandomResizedCrop(wanted.size, scale=(0.9, 1.0), interpolation=bicubic)
    train = transforms.Compose([crop, *end])
    middle = transforms.Compose([transforms.Resize(224, bicubic), transforms.CenterCrop(224), *end])

    def plain(transform: Callable[[Image.Image], Tensor], index: int) -> Tensor:
        with Image.open(folder / paths[index]) as image:
            return transform(image.convert("RGB"))

    return [
        ratio("decode and augment", lambda index: ours[Turn(0, index)]["image"], lambda index: plain(train, index)),
        ratio("decode for evaluation", lambda index: ours[index]["image"], lambda index: plain(middle, index)),
    ]


def ratio(name: str, ours: Callable[[int], Tensor], theirs: Callable[[int], Tensor]) -> dict[str, object]:
    """Time two loaders in turns, the first one changing from image to image."""
    seconds: dict[str, list[float]] = {"starft": [], "torchvision": []}
    for turn in range(IMAGES * ROUNDS):
        index = turn % IMAGES
        pair = [("starft", ours), ("torchvision", theirs)]
        for who, load in pair if turn % 2 else pair[::-1]:
            start = time.perf_counter()
            load(index)
            seconds[who].append(time.perf_counter() - start)
    ratios = [a / b for a, b in zip(seconds["starft"], seconds["torchvision"], strict=True)]
    milliseconds = {who: round(1000 * statistics.median(spent), 3) for who, spent in seconds.items()}
    return {
        "row": name,
        "images": IMAGES * ROUNDS,
        "median_ms": milliseconds,
        "ratio": round(statistics.median(ratios), 3),
        "at_most": 1.1,
    }


def listing(folder: Path) -> dict[str, object]:
    """List a table of a million rows in a process of its own, all its splits drawn."""
    table = folder / "million.csv"
    with table.open("w", encoding="utf-8") as file:
        file.write("path,label,attribute\n")
        for number in range(ROWS):
            file.write(f"images/{number % 1000:03}/{number:07}.jpg,class {number % 1000},{number % 7}\n")
    done = subprocess.run(
        [sys.executable, __file__, str(table)], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    return dict(json.loads(done.stdout))


def list_it(table: Path) -> dict[str, object]:
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


def folders(root: Path) -> dict[str, object]:
    """List a tree of empty files, list it again from the cache, and look all of its paths up as the check does."""
    os.environ[CACHE] = str(root.parent / "cache")
    for number in range(FOLDERS):
        (root / f"{number:04}").mkdir(parents=True)
        for image in range(FILES // FOLDERS):
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
    if len(sys.argv) > 1:
        print(json.dumps(list_it(Path(sys.argv[1]))))
    else:
        main()
