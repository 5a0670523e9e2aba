"""What packed data cost: shuffled reading against a folder, and the index of a million images.

Run it: ``python -m benchmarks.packed``. One JSON line a row. Images are read in one process, one by one in turns from
folder and shards, in the same shuffled order; the median of the ratios is told. A slow disk is simulated: each file
that is opened costs 5 ms. Memory is read from ``/proc``, as Linux has it.
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
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from benchmarks.input import peak_mib
from PIL import Image

from starft.data import Augmentation, ImageFolderSource, PackedSource
from starft.data.imageset import Guarded, ImageSet, gathered
from starft.data.loading import SignalProofLoader, Turn, ignore_stop_signals
from starft.data.packed.index import PackedBytes
from starft.data.packed.shard_writer import pack
from starft.data.transforms import eval_transform, train_transform
from starft.files.cache import CACHE
from starft.types import ImagePreprocessing

LATENCY = 0.005
"""Seconds that opening a file costs on the simulated disk."""
SHARDS = 8


class SlowBytes(PackedBytes):
    """Shards on a disk where opening a file takes `LATENCY`."""

    def _handle(self, shard: int, path: str) -> int:
        if shard not in self._open:
            time.sleep(LATENCY)
        return super()._handle(shard, path)


def main() -> None:
    """Print all rows."""
    parser = argparse.ArgumentParser(description="Time packed data.")
    parser.add_argument("--images", type=int, default=400, help="JPEGs that are read")
    parser.add_argument("--rounds", type=int, default=5, help="how often each")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the set that is indexed")
    parser.add_argument("--apart", choices=["index", "workers"], help="measure this alone, of shards that are there")
    parser.add_argument("--shards", type=Path, help="where these are")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.apart is not None:
        print(json.dumps(measured(given.apart, given.shards)))
        return
    with tempfile.TemporaryDirectory() as made:
        os.environ[CACHE] = str(Path(made) / "cache")
        print(*map(json.dumps, reading(Path(made), given.images, given.rounds)), sep="\n", flush=True)
        shards = Path(made) / "tiny"
        tiny(shards, given.rows)
        for what in ("index", "index", "workers"):
            print(json.dumps(apart(what, shards)), flush=True)


def apart(what: str, shards: Path) -> dict[str, object]:
    """Measure in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.packed", "--apart", what, "--shards", str(shards)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def measured(what: str, shards: Path) -> dict[str, object]:
    """Measure in this process."""
    return index(shards) if what == "index" else workers(shards)


def reading(folder: Path, images: int, rounds: int) -> list[dict[str, object]]:
    """Compare a folder with its shards, on a warm disk and on a slow one, with decoding and without."""
    rng = np.random.default_rng(0)
    for number in range(images):
        coarse = Image.fromarray(rng.integers(0, 256, (38, 50, 3), dtype=np.uint8))
        path = folder / "photos" / "train" / ("cat", "dog")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
    source = ImageFolderSource(folder / "photos")
    loose = source.table("train")
    pack(source, {"train": loose}, folder / "packed", images * 5000)
    packed = PackedSource(str(folder / "packed")).table("train")
    assert isinstance(packed.file_bytes, PackedBytes)
    wanted = ImagePreprocessing()
    sets = [ImageSet(t, eval_transform(wanted), train_transform(wanted, Augmentation())) for t in (packed, loose)]
    slow = SlowBytes(packed.file_bytes.index)

    def bytes_of(table: ImageSet, read: Callable[[str], bytes], at: int) -> bytes:
        return read(table.path(at))

    def late(path: str) -> bytes:
        time.sleep(LATENCY)
        return loose_bytes(path)

    def loose_bytes(path: str) -> bytes:
        with open(path, "rb") as file:  # noqa: PTH123  # as Pillow opens it
            return file.read()

    turns = [int(at) for _ in range(rounds) for at in rng.permutation(images)]
    read = packed.file_bytes
    ours, theirs = sets
    return [
        ratio("read and decode, warm", turns, lambda at: ours[Turn(0, at)], lambda at: theirs[Turn(0, at)], 0.95),
        ratio(
            "read, warm", turns, lambda at: bytes_of(ours, read, at), lambda at: bytes_of(theirs, loose_bytes, at), 0.95
        ),
        ratio(
            "read, 5 ms a file", turns, lambda at: bytes_of(ours, slow, at), lambda at: bytes_of(theirs, late, at), 3
        ),
    ]


def ratio(
    name: str, turns: list[int], packed: Callable[[int], object], loose: Callable[[int], object], at_least: float
) -> dict[str, object]:
    """Time both in turns, the first one changing from image to image."""
    seconds: dict[str, list[float]] = {"packed": [], "folder": []}
    for turn, index_ in enumerate(turns):
        pair = [("packed", packed), ("folder", loose)]
        for who, load in pair if turn % 2 else pair[::-1]:
            start = time.perf_counter()
            load(index_)
            seconds[who].append(time.perf_counter() - start)
    ratios = [b / a for a, b in zip(seconds["packed"], seconds["folder"], strict=True)]
    return {
        "row": name,
        "images": len(turns),
        "median_ms": {who: round(1000 * statistics.median(spent), 4) for who, spent in seconds.items()},
        "packed_over_folder": round(statistics.median(ratios), 3),
        "at_least": at_least,
    }


def tiny(folder: Path, rows: int) -> None:
    """Write shards of images of a few hundred bytes, each with a label and an attribute."""
    folder.mkdir()
    buffer = BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(buffer, "jpeg")
    content = buffer.getvalue()
    for shard in range(SHARDS):
        with (folder / f"train-{shard:06}.tar").open("wb") as file:
            for number in range(shard, rows, SHARDS):
                said = json.dumps({"label": f"class {number % 1000}", "attribute": f"place {number % 7}"}).encode()
                for ending, part in (("jpg", content), ("json", said)):
                    file.write(header(f"{number % 1000:04}/{number:08}.{ending}", len(part)))
                    file.write(part + bytes(-len(part) % 512))
            file.write(bytes(1024))


def header(name: str, size: int) -> bytes:
    """Return the header of a member of a tar file; Python's tarfile takes a minute for a million of them."""
    fields = name.encode().ljust(100, b"\0") + b"0000644\0" + 2 * b"0000000\0" + b"%011o\0" % size + b"0" * 11 + b"\0"
    rest = b"0".ljust(101, b"\0") + b"ustar\x0000".ljust(255, b"\0")
    return fields + b"%06o\0 " % (sum(fields) + 8 * 32 + sum(rest)) + rest


def index(folder: Path) -> dict[str, object]:
    """Open a packed set; its memory is the peak beyond what the imports have taken."""
    before, start, spent = peak_mib(), time.perf_counter(), time.process_time()
    cached = any((Path(os.environ[CACHE]) / "packed").glob("*.npz")) if CACHE in os.environ else False
    source = PackedSource(str(folder))
    images = len(source.table("train"))
    return {
        "row": "open from the index" if cached else "build the index",
        "images": images,
        "seconds": round(time.perf_counter() - start, 2),
        "cpu_seconds": round(time.process_time() - spent, 2),
        "at_most_seconds": 2 if cached else 60,
        "mib": peak_mib() - before,
        "at_most_mib": 300,
    }


def workers(folder: Path) -> dict[str, object]:
    """Read an epoch in two workers; tell what memory each has for itself after a tenth and at the end."""
    table = PackedSource(str(folder)).table("train")
    images = Guarded(ImageSet(table, lambda _: torch.zeros(1)), "stop")
    size, order = max(1, min(1000, len(table) // 20)), torch.randperm(len(table)).tolist()
    begin = ignore_stop_signals
    loader = SignalProofLoader(images, size, sampler=order, num_workers=2, collate_fn=gathered, worker_init_fn=begin)
    iterator = iter(loader)
    mib: list[list[float]] = []
    batches = len(loader)
    for number, _ in enumerate(iterator):
        if number in (batches // 10, batches - 1):
            mib.append([own_mib(worker.pid) for worker in iterator._workers])
    return {
        "row": "memory of workers over an epoch",
        "images": len(table),
        "mib_after_a_tenth": mib[0],
        "mib_at_the_end": mib[1],
        "growth_mib": round(max(b - a for a, b in zip(*mib, strict=True)), 1),
    }


def own_mib(process: int) -> float:
    """Return the memory that a process shares with no other."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return round(sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024, 1)


if __name__ == "__main__":
    main()
