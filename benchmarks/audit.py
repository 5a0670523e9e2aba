"""How good and how fast ``starft audit`` is, on the embedded world with scenes hidden.

Run it: ``python -m benchmarks.audit``. One JSON line a row: for each seed how many inferred scenes are right and which
attributes come first; how many of 200 planted copies are found, and how many false pairs; what an audit takes beside
one pass of the frozen image tower. Thresholds were chosen on seeds from 10 on.

Further rows are of ``starft audit model``: how often slices are named where errors fall at random within classes, how
often corrected intervals hold the truth of simulated data sets, and, for each of ``--models``, checkpoints of
``lightning_configs/mini``, where its first slices lie and whether its worst group is in the interval without labels.
``--data=benchmarks.audit.RandomScenes`` trains a model without a shortcut. ``--tower ViT-B-32 --files``
times an audit with another CLIP, of random weights, on JPEG files of 256 pixels a side.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from starft.audit.copies import copies_across
from starft.audit.data_audit import DataAudit, audit_data
from starft.audit.features import FeatureSet, encoded, evaluation_sets, features_of, frozen_clip, own_sets
from starft.audit.group_accuracy import corrected_by_checks
from starft.audit.inferred_groups import SIDES
from starft.audit.model_audit import audit_model
from starft.audit.predictions import load_for, predict
from starft.audit.slices import error_slices, named
from starft.captions.pool_files import load_pool
from starft.captions.pools import Pool
from starft.clip import Twin, image_preprocessing
from starft.data import CSV
from starft.data.datamodules import BaseDataModule
from starft.data.near_duplicates import copies, small_picture
from starft.mini import MiniWorld
from starft.mini.captions import PLACES
from starft.mini.splits import PictureSet, anywhere_pictures, home_pictures
from starft.mini.world import HOMES, draw
from starft.statistics import worst_group_interval

BINS = 15
TINY = "starft-mini"
CLASSES = 20
"""Of JPEG files that are timed."""


def main() -> None:
    """Print all rows."""
    parser = argparse.ArgumentParser(description="Measure the audit of data.")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--train-size", type=int, default=1920, help="training pictures a seed")
    parser.add_argument("--pictures", type=int, default=1000, help="that copies are planted among")
    parser.add_argument("--planted", type=int, default=200, help="copies")
    parser.add_argument("--copies-seeds", type=int, nargs="*", default=[0, 1, 2], help="of pictures and copies")
    parser.add_argument("--images", type=int, default=10_000, help="that are timed; 0 times nothing")
    parser.add_argument("--phrases", type=int, default=200, help="that are timed")
    parser.add_argument("--tower", default=TINY, help="that is timed; another one has random weights")
    parser.add_argument("--files", action="store_true", help="time JPEG files of 20 classes, not pictures in memory")
    parser.add_argument("--chance-runs", type=int, default=200, help="of slices with errors at random")
    parser.add_argument("--data-sets", type=int, default=100, help="that are simulated, for each rate of errors")
    parser.add_argument("--models", nargs="*", default=[], help="checkpoints of the embedded world's species")
    parser.add_argument("--models-seed", type=int, default=0, help="that they were trained with")
    given = parser.parse_args()
    torch.set_num_threads(1)
    clip, pool = frozen_clip(TINY, "mini"), load_pool("mini_scenes")
    for seed in given.seeds:
        print(json.dumps(scenes(clip, pool, seed, given.train_size)), flush=True)
    for seed in given.copies_seeds:
        print(json.dumps(planted_copies(given.pictures, given.planted, seed)), flush=True)
    if given.images:
        print(json.dumps(timed(given.images, given.phrases, given.tower, given.files)), flush=True)
    if given.chance_runs:
        print(json.dumps(slices_by_chance(clip, given.chance_runs)), flush=True)
    for rate in (0.0, 0.1, 0.2, 0.3) if given.data_sets else ():
        print(json.dumps(coverage(rate, given.data_sets)), flush=True)
    for path in given.models:
        print(json.dumps(slices_of(clip, pool, path, given.models_seed)), flush=True)


def audited(
    clip: Twin, data: BaseDataModule, pool: Pool, seed: int, folder: Path
) -> tuple[dict[str, PictureSet], dict[str, FeatureSet], DataAudit]:
    """Return the pictures, their features, and what an audit of them found."""
    images = own_sets(data, image_preprocessing(clip.model))
    sets = {name: features_of(clip, "", data, name, item, folder) for name, item in images.items()}
    found = copies_across(sets, clip.device, folder)
    return images, sets, audit_data(clip, sets, [pool], data.class_names, data.templates[0], seed, found)  # type: ignore[return-value]


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


def planted_copies(pictures: int, planted: int, seed: int) -> dict[str, object]:
    """Plant copies of training pictures among test pictures, and look for them."""
    train, test = (list(drawn(split, pictures, seed)) for split in ("copies-train", "copies-test"))
    rng = np.random.default_rng(seed)
    source, kinds = rng.permutation(pictures)[:planted], changes(rng)
    made = [[*kinds.values()][at % len(kinds)](train[of]) for at, of in enumerate(source)]
    first, second = (np.stack([small_picture(image) for image in some]) for some in ([*test, *made], train))
    found = {copy.first: copy.second for copy in copies(first, second)}
    hits = [found.get(pictures + at) == of for at, of in enumerate(source.tolist())]
    return {
        "row": "copies",
        "seed": seed,
        "planted": planted,
        "found": sum(hits),
        "found_of_each": {name: sum(hits[at :: len(kinds)]) for at, name in enumerate(kinds)},
        "false_pairs": len(found) - sum(hits),
        "pictures": pictures,
    }


def drawn(split: str, count: int, seed: int) -> Iterator[Image.Image]:
    """Yield pictures of the fine-tuning distribution."""
    for row in home_pictures(split, count, seed):
        yield Image.fromarray(draw(row.picture))


def timed(images: int, phrases: int, tower: str, files: bool) -> dict[str, object]:
    """Time an audit, with features to make and with features kept, against one pass of the frozen image tower."""
    clip = frozen_clip(tower, "mini" if tower == TINY else None)
    pool = Pool(
        "timed", "", tuple(f"{{}} {place} {at}" for at in range(phrases // 10) for place in PLACES.values()), {}, {}
    )
    # Random weights recognise nothing, which would end the audit.
    with TemporaryDirectory() as folder, patch("starft.audit.data_audit.recognised", lambda *_: True):
        data = written_data(images, Path(folder)) if files else drawn_data(images)
        own = own_sets(data, image_preprocessing(clip.model))
        for item in own.values():
            _ = getattr(item, "pixels", None)  # drawing isn't what is timed
        seconds = {}
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
        "tower": tower,
        "images": sum(map(len, own.values())),
        "phrases": len(pool.templates),
        "classes": len(data.class_names),
        "processor_seconds": {name: round(spent, 1) for name, spent in seconds.items()},
        "audit_over_pass": round(seconds["audit"] / seconds["pass"], 3),
        "at_most": 1.1,
    }


def drawn_data(images: int) -> MiniWorld:
    """Return pictures in memory."""
    train, rest = images * 4 // 5 // 12 * 12, images // 10 // 12 * 12
    return MiniWorld(train_size=train, val_size=rest, test_size=rest)


def written_data(images: int, folder: Path) -> CSV:
    """Write JPEG files of 256 pixels a side; return them with 20 classes that go with nothing."""
    lines = ["path,label,split"]
    for at, picture in enumerate(drawn("timed", images, 0)):
        picture.resize((256, 256), Image.Resampling.BICUBIC).save(folder / f"{at}.jpg", quality=90)
        lines.append(f"{at}.jpg,kind {(at + at // 10) % CLASSES},{('val', 'test', *['train'] * 8)[at % 10]}")
    (folder / "timed.csv").write_text("\n".join(lines))
    return CSV(folder / "timed.csv", num_workers=0)


class RandomScenes(MiniWorld):
    """The species of the embedded world in scenes at random: nothing to take for a shortcut."""

    def setup(self, stage: str) -> None:
        """Draw what the stage needs."""
        super().setup(stage)
        if stage == "fit":
            self.train_set = PictureSet(anywhere_pictures("train", self.train_size, self.seed))


def slices_by_chance(clip: Twin, runs: int) -> dict[str, object]:
    """Name slices where errors are at random in each class of each set."""
    data = MiniWorld()
    sets = evaluation_sets(data, image_preprocessing(clip.model))
    features = np.concatenate([batch.features for item in sets.values() for batch in encoded(clip, data, item)])
    labels = np.concatenate([item.labels for item in sets.values()])
    strata = labels + 12 * np.repeat(np.arange(len(sets)), [*map(len, sets.values())])
    some = 0
    for run in range(runs):
        rng = np.random.default_rng(run)
        wrong = rng.random(len(labels)) < rng.uniform(0.02, 0.5, strata.max() + 1)[strata]
        some += bool(named(error_slices(features, labels, strata, wrong, run)))
    return {"row": "slices by chance", "runs": runs, "with_a_slice": some, "at_most": 0.05}


def simulated(
    rng: np.random.Generator, rate: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return counts, checks of 100 images, and true accuracies of 1,000 images: two classes with a shortcut each."""
    usual = rng.uniform(0.7, 0.95, 2)
    truth = np.stack([rng.uniform(0.85, 0.98, 2), rng.uniform(0.4, 0.9, 2)], axis=1)
    labels = rng.integers(2, size=1000)
    attribute = (rng.random(1000) > usual[labels]).astype(int)
    right = (rng.random(1000) < truth[labels, attribute]).astype(int)
    inferred = attribute ^ (rng.random(1000) < rate)
    counts, checks = np.zeros((2, 2, 2), dtype=np.int64), np.zeros((2, 2, 2, 2), dtype=np.int64)
    np.add.at(counts, (labels, inferred, right), 1)
    np.add.at(checks, (labels[:100], attribute[:100], inferred[:100], right[:100]), 1)
    return counts, checks, truth


def coverage(rate: float, data_sets: int) -> dict[str, object]:
    """Count the simulated data sets whose truth a corrected interval holds: of each group, of the worst."""
    groups, worst, inferred = [], [], []
    for seed in range(data_sets):
        counts, checks, truth = simulated(np.random.default_rng(seed), rate)
        result = corrected_by_checks(counts, checks, seed)
        groups.append((result.lows <= truth) & (truth <= result.highs))
        worst.append(result.worst_interval[0] <= truth.min() <= result.worst_interval[1])
        plain = worst_group_interval(counts[..., 1].ravel().tolist(), counts.sum(axis=2).ravel().tolist())
        inferred.append(plain is not None and plain[0] <= truth.min() <= plain[1])
    covered = {"groups": np.mean(groups), "worst_group": np.mean(worst), "worst_group_uncorrected": np.mean(inferred)}
    return {"row": "coverage", "error_rate": rate, **{name: round(float(share), 3) for name, share in covered.items()}}


def slices_of(clip: Twin, pool: Pool, path: str, seed: int) -> dict[str, object]:
    """Say where a model's first slices lie, and compare its worst groups with the true ones."""
    data, pre = MiniWorld(seed=seed), image_preprocessing(clip.model)
    model = load_for(path, data)
    images = {"train": own_sets(data, pre)["train"], **evaluation_sets(data, pre)}
    many = PictureSet(anywhere_pictures("truth", 4800, 0))
    scenes_of = np.array([row.picture.scene for row in many.rows])
    species = np.array(many.labels)
    failed = predict(model, data, many).labels != species
    error = {(label, scene): failed[(species == label) & (scenes_of == scene)].mean()
             for label in range(12) for scene in np.unique(scenes_of)}  # fmt: skip
    mean = float(np.mean([*error.values()]))
    with TemporaryDirectory() as folder:
        sets = {name: features_of(clip, "", data, name, item, Path(folder)) for name, item in images.items()}
        found = audit_data(clip, sets, [pool], data.class_names, data.templates[0], seed)
        del sets["train"]
        told = {name: predict(model, data, images[name]) for name in sets}
        result = audit_model(found, sets, told, data.class_names, seed)
    rows = {f"{name}/{at}": row for name in sets for at, row in enumerate(images[name].rows)}  # type: ignore[attr-defined]
    lie = [
        np.mean([error[rows[image.path].label, rows[image.path].picture.scene] > 1.25 * mean for image in item.images])
        for item in result.slices[:3]
    ]
    worst = {}
    for name, item in result.groups.items():
        home = np.array([row.picture.scene == HOMES[row.picture.species] for row in images[name].rows])  # type: ignore[attr-defined]
        labels = np.array(images[name].labels)
        truth = {
            f"{data.class_names[label]} {side}": float((told[name].labels == labels)[own].mean())
            for label in range(12)
            for side, own in ((SIDES[0], (labels == label) & home), (SIDES[1], (labels == label) & ~home))
            if own.any()
        }
        lowest = min(truth.values())
        low, high = item.worst_interval
        worst[name] = {
            "same": truth.get(item.worst.name) == lowest, "in_interval": low <= lowest <= high, "true": round(lowest, 3)
        }  # fmt: skip
    return {
        "row": "slices",
        "model": path,
        "seed": seed,
        "slices": len(result.slices),
        "first": [item.words for item in result.slices[:3]],
        "first_lie_in_failing_groups": [round(float(share), 2) for share in lie],
        "at_least": 0.7,
        "worst_groups": worst,
    }


if __name__ == "__main__":
    main()
