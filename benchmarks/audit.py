"""How good and how fast ``starft audit data`` is, on the embedded world with scenes hidden.

Run it: ``python -m benchmarks.audit``. One JSON line a row: for each seed how many inferred scenes are right and which
attributes come first; how many of 200 planted copies are found, and how many false pairs; what an audit takes beside
one pass of the frozen image tower. Thresholds were chosen on seeds from 10 on.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from starft.audit.data_audit import DataAudit, audit_data
from starft.audit.features import FeatureSet, encoded, features_of, frozen_clip, own_sets
from starft.captions.pool_files import load_pool
from starft.captions.pools import Pool
from starft.clip import Twin, image_preprocessing
from starft.data.near_duplicates import copies, small_picture
from starft.mini import MiniWorld
from starft.mini.captions import PLACES
from starft.mini.splits import PictureSet, home_pictures
from starft.mini.world import HOMES, draw

BINS = 15


def main() -> None:
    """Print all rows."""
    parser = argparse.ArgumentParser(description="Measure the audit of data.")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--train-size", type=int, default=1920, help="training pictures a seed")
    parser.add_argument("--pictures", type=int, default=1000, help="that copies are planted among")
    parser.add_argument("--planted", type=int, default=200, help="copies")
    parser.add_argument("--images", type=int, default=10_000, help="that are timed; 0 times nothing")
    parser.add_argument("--phrases", type=int, default=200, help="that are timed")
    given = parser.parse_args()
    torch.set_num_threads(1)
    clip, pool = frozen_clip("starft-mini", "mini"), load_pool("mini_scenes")
    for seed in given.seeds:
        print(json.dumps(scenes(clip, pool, seed, given.train_size)), flush=True)
    print(json.dumps(planted_copies(given.pictures, given.planted)), flush=True)
    if given.images:
        print(json.dumps(timed(given.images, given.phrases)), flush=True)


def audited(
    clip: Twin, data: MiniWorld, pool: Pool, seed: int, folder: Path
) -> tuple[dict[str, PictureSet], dict[str, FeatureSet], DataAudit]:
    """Return the pictures, their features, and what an audit of them found."""
    images = own_sets(data, image_preprocessing(clip.model))
    sets = {name: features_of(clip, "", data, name, item, folder) for name, item in images.items()}
    return images, sets, audit_data(clip, sets, [pool], data.class_names, data.templates[0], seed)  # type: ignore[return-value]


def scenes(clip: Twin, pool: Pool, seed: int, size: int) -> dict[str, object]:
    """Hide the scenes, infer them, and compare."""
    with TemporaryDirectory() as folder:
        images, _, found = audited(clip, MiniWorld(train_size=size, seed=seed), pool, seed, Path(folder))
    right, sure = [], []
    for name, item in images.items():
        inferred = found.inferred[name]
        truth = [PLACES[row.picture.scene] for row in item.rows]
        right.append(np.array(inferred.names)[inferred.values] == truth)
        sure.append(inferred.probabilities)
    first = [item.ranked.template for item in found.attributes[: len({*HOMES.values()})]]
    return {
        "row": "scenes",
        "seed": seed,
        "images": sum(map(len, right)),
        "agree": round(float(np.concatenate(right).mean()), 4),
        "calibration_error": round(calibration_error(np.concatenate(sure), np.concatenate(right)), 4),
        "homes_come_first": {*first} == {PLACES[scene] for scene in HOMES.values()},
        "copies": len(found.copies),
    }


def calibration_error(sure: NDArray[np.float32], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error over equal bins."""
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    bins = [place == at for at in range(BINS) if (place == at).any()]
    return float(sum(abs(sure[own].mean() - right[own].mean()) * own.mean() for own in bins))


def changes(rng: np.random.Generator) -> dict[str, Callable[[Image.Image], Image.Image]]:
    """Return what makes a copy of a picture."""

    def quality_50(image: Image.Image) -> Image.Image:
        file = BytesIO()
        image.save(file, "JPEG", quality=50)
        return Image.open(file).convert("RGB")

    def crop_80(image: Image.Image) -> Image.Image:
        width, height = round(0.8 * image.width), round(0.8 * image.height)
        x, y = rng.integers(0, image.width - width + 1), rng.integers(0, image.height - height + 1)
        return image.crop((x, y, x + width, y + height))

    return {
        "quality_50": quality_50,
        "half_size": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC),
        "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "crop_80": crop_80,
    }


def planted_copies(pictures: int, planted: int) -> dict[str, object]:
    """Plant copies of training pictures among test pictures, and look for them."""
    train, test = (list(drawn(split, pictures)) for split in ("copies-train", "copies-test"))
    rng = np.random.default_rng(0)
    source, kinds = rng.permutation(pictures)[:planted], changes(rng)
    made = [[*kinds.values()][at % len(kinds)](train[of]) for at, of in enumerate(source)]
    first, second = (np.stack([small_picture(image) for image in some]) for some in ([*test, *made], train))
    found = {copy.first: copy.second for copy in copies(first, second)}
    hits = [found.get(pictures + at) == of for at, of in enumerate(source.tolist())]
    return {
        "row": "copies",
        "planted": planted,
        "found": sum(hits),
        "found_of_each": {name: sum(hits[at :: len(kinds)]) for at, name in enumerate(kinds)},
        "false_pairs": len(found) - sum(hits),
        "pictures": pictures,
    }


def drawn(split: str, count: int) -> Iterator[Image.Image]:
    """Yield pictures of the fine-tuning distribution."""
    for row in home_pictures(split, count, 0):
        yield Image.fromarray(draw(row.picture))


def timed(images: int, phrases: int) -> dict[str, object]:
    """Time an audit, with features to make and with features kept, against one pass of the frozen image tower."""
    clip = frozen_clip("starft-mini", "mini")
    count = images // 12 * 12
    data = MiniWorld(
        train_size=count * 4 // 5 // 12 * 12, val_size=count // 10 // 12 * 12, test_size=count // 10 // 12 * 12
    )
    pool = Pool(
        "timed", "", tuple(f"{{}} {place} {at}" for at in range(phrases // 10) for place in PLACES.values()), {}, {}
    )
    own = own_sets(data, image_preprocessing(clip.model))
    for item in own.values():
        _ = item.pixels  # type: ignore[attr-defined]  # drawing isn't what is timed
    seconds = {}
    with TemporaryDirectory() as folder:
        for name in ("pass", "audit", "again"):
            start = time.process_time()
            if name == "pass":
                for item in own.values():
                    for _ in encoded(clip, data, item):
                        pass
            else:
                audited(clip, data, pool, 0, Path(folder))
            seconds[name] = time.process_time() - start
    return {
        "row": "time",
        "images": sum(map(len, own.values())),
        "phrases": len(pool.templates),
        "processor_seconds": {name: round(spent, 1) for name, spent in seconds.items()},
        "audit_over_pass": round(seconds["audit"] / seconds["pass"], 3),
        "at_most": 1.1,
    }


if __name__ == "__main__":
    main()
