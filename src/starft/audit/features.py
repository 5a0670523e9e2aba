"""Features of the images of a config, made in one pass of the frozen image tower and kept in a folder.

Of each set, ``train``, ``val/NAME`` or ``test/NAME``, the folder holds the features as float16, small pictures to tell
copies by, and a JSON file that says of which model and images they are. They are read as memory maps: what a reader
holds at a time doesn't grow with the number of images. float16 halves the file; on the embedded world it moves no
logit by more than 0.002 and changes no image's attribute.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset

from starft.audit.digests import images_digest, weights_digest
from starft.audit.kept import FIRST, SMALL, check_kept, read_note, stale
from starft.clip import ClipEncoder, Twin, build_clip, image_preprocessing
from starft.data.check import complain
from starft.data.contents import ImageContents
from starft.data.datamodules import BaseDataModule
from starft.data.fast_decoding import transform_for
from starft.data.imageset import Guarded, GuardedLoader, ImageSet, gathered
from starft.data.loading import SignalProofLoader, ignore_stop_signals
from starft.data.near_duplicates import SIDE
from starft.errors import ConfigError, DataError, RunFolderError
from starft.files.atomic import remove_temporary_files, replace_file, sync
from starft.reporting.console import Console
from starft.runs.manifest import checked_pretrained
from starft.types import Batch, EvalSet, ImagePreprocessing

CHUNK = 4096
"""Rows that are read at a time."""
TRAIN = FIRST
FEWEST = 50
"""Training images that an audit needs."""


class LabelledImages(Protocol):
    """A map-style data set of images whose labels are known before one is decoded."""

    @property
    def labels(self) -> Sequence[int]:
        """Class of each image."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Batch: ...


class Encoded(NamedTuple):
    """One batch of images, as the frozen model sees them.

    Shapes: ``at`` (positions in the set) and ``labels`` int64 (B,), ``features`` float32 (B, D), ``small`` uint8
    (B, SIDE, SIDE, 3).
    """

    at: NDArray[np.int64]
    labels: NDArray[np.int64]
    features: NDArray[np.float32]
    small: NDArray[np.uint8]


@dataclass(frozen=True)
class FeatureSet:
    """Features of the images of one set; rows stand in the set's order.

    Args:
        name: ``train``, ``val/NAME`` or ``test/NAME``.
        rows: Unit features (N, D) in float16, a memory map; zeros where an image couldn't be read.
        small: Pictures (N, SIDE, SIDE, 3) in bytes, a memory map.
        labels: Class of each image (N,).
        paths: Where each image is, relative to its data set's root; ``NAME/N`` where pictures are drawn.
        digest: Of the model and the images.
    """

    name: str
    rows: NDArray[np.float16]
    small: NDArray[np.uint8]
    labels: NDArray[np.int64]
    paths: Sequence[str]
    digest: str

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def readable(self) -> NDArray[np.bool_]:
        """Whether each image could be read (N,)."""
        return np.concatenate([rows.any(axis=1) for _, rows in self.chunks()])

    def chunks(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yield some rows at a time, with their place."""
        for start in range(0, len(self), CHUNK):
            place = slice(start, start + CHUNK)
            yield place, np.asarray(self.rows[place], dtype=np.float32)

    def sample(self, most: int, seed: int) -> NDArray[np.int64]:
        """Return positions of readable images, at most so many, drawn by a seed, in order.

        Args:
            most: How many.
            seed: Of the draw.
        """
        there = np.flatnonzero(self.readable)
        return np.sort(np.random.default_rng(seed).permutation(there)[:most])


def frozen_clip(model_name: str, pretrained: str | None) -> Twin:
    """Return the frozen model, on the GPU if there is one.

    Args:
        model_name: CLIP architecture.
        pretrained: Its weights.

    Raises:
        StarftError: It can't be built.
    """
    clip = Twin(build_clip(model_name, checked_pretrained(pretrained)))
    return clip.to("cuda" if torch.cuda.is_available() else "cpu")


def training_set(data: BaseDataModule, preprocessing: ImagePreprocessing) -> LabelledImages:
    """Return the training images as they are prepared in evaluation.

    Args:
        data: Of a config; it is set up if need be.
        preprocessing: How the model wants its images.

    Raises:
        StarftError: The data can't be used.
    """
    if data.train_set is None:
        data.preprocessing = preprocessing
        data.setup("fit")
    images: Any = data.train_set
    if images is None:
        raise ConfigError(f"{type(data).__name__} makes no train_set in setup; ranking phrases needs training images.")
    return images  # type: ignore[no-any-return]


def check_images(data: BaseDataModule) -> None:
    """Refuse images on disk that can't be audited, before a model is built; none is decoded.

    Args:
        data: Of a config.

    Raises:
        DataError: They have problems, no labels, are too few, or of one class.
    """
    if isinstance(data, ImageContents):
        complain(data.check("fit", "test"))
        if not data.source.class_names:
            raise DataError(f"The images of {data.source.title} have no labels, and an audit needs them; add a column.")
        check_labels(data.own_tables()[TRAIN].labels)


def check_labels(labels: NDArray[np.int64]) -> None:
    """Refuse training images that are too few, or all of one class.

    Args:
        labels: Of the training images.

    Raises:
        DataError: An audit would say nothing.
    """
    if len(labels) < FEWEST:
        raise DataError(f"There are {len(labels)} training images, and an audit needs {FEWEST} at least; take more.")
    if len(np.unique(labels)) < 2:
        raise DataError(f"All {len(labels)} training images are of one class; an audit needs two classes at least.")


def own_sets(data: BaseDataModule, preprocessing: ImagePreprocessing) -> dict[str, LabelledImages]:
    """Return the training images and the validation and test images of the same data, by name; no other eval sets.

    All training images are taken, where a run would take ``shots`` of them.

    Args:
        data: Of a config, after `check_images`.
        preprocessing: How the model wants its images.

    Raises:
        StarftError: The data can't be used.
    """
    if isinstance(data, ImageContents):
        data.preprocessing, plain = preprocessing, transform_for(data.eval_decode, preprocessing)
        tables = data.own_tables()
        named = {split: split if split == TRAIN else f"{split}/{data.own_name}" for split in tables}
        return {named[split]: ImageSet(table, plain) for split, table in tables.items()}
    sets: dict[str, Any] = {TRAIN: training_set(data, preprocessing)}
    if not hasattr(sets[TRAIN], "labels"):
        raise ConfigError(f"The train_set of {type(data).__name__} has no property labels; an audit needs them.")
    check_labels(np.asarray(sets[TRAIN].labels, dtype=np.int64))
    data.setup("test")
    for stage, described, images in (("val", data.val_sets, data.val_data), ("test", data.test_sets, data.test_data)):
        sets |= {f"{stage}/{item.name}": own for item, own in list(zip(described, images, strict=True))[:1]}
    return sets


def evaluation_sets(data: BaseDataModule, preprocessing: ImagePreprocessing) -> dict[str, LabelledImages]:
    """Return the validation and test images of all eval sets that have the classes of training, by name.

    Args:
        data: Of a config, after `check_images`.
        preprocessing: How the model wants its images.

    Raises:
        StarftError: The data can't be used, or have no such set.
    """
    sets = {
        name: images
        for name, (item, images) in described_sets(data, preprocessing).items()
        if item.class_names == tuple(data.class_names) and not item.merge and not item.accepted
    }
    sets = {name: images for name, images in sets.items() if hasattr(images, "labels")}
    if not sets:
        raise ConfigError("The data have no validation or test images of the training classes; give some with labels.")
    return sets


def described_sets(data: BaseDataModule, preprocessing: ImagePreprocessing) -> dict[str, tuple[EvalSet, Any]]:
    """Return all validation and test sets and their images, by name.

    Args:
        data: Of a config, after `check_images`.
        preprocessing: How the model wants its images.
    """
    data.preprocessing = preprocessing
    sets: dict[str, tuple[EvalSet, Any]] = {}
    for stage, split in (("validate", "val"), ("test", "test")):
        if isinstance(data, ImageContents) and not data.evaluated(stage):
            continue
        data.setup(stage)
        described, images = (data.val_sets, data.val_data) if split == "val" else (data.test_sets, data.test_data)
        sets |= {f"{split}/{item.name}": (item, own) for item, own in zip(described, images, strict=True)}
    return sets


def encoded(
    clip: ClipEncoder, data: BaseDataModule, images: LabelledImages, chosen: Sequence[int] | None = None, seed: int = 0
) -> Iterator[Encoded]:
    """Yield batches of images through the frozen image tower; bad images stop it or are left out, as the config has it.

    Args:
        clip: The frozen model.
        data: Whose loader options are taken.
        images: Any.
        chosen: Positions of those that are wanted, in order; None for all.
        seed: Of a training set whose images are cropped at random whatever way they are asked for.
    """
    loader = _loader(data, images, range(len(images)) if chosen is None else chosen)
    asked = image_preprocessing(clip.model)
    mean, std = (torch.tensor(values, device=clip.device).view(3, 1, 1) for values in (asked.mean, asked.std))
    console = Console(stderr=True)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed)
        for batch in track(loader, "looking", console=console, disable=not console.is_terminal):
            there = data.on_after_batch_transfer(batch | {"image": batch["image"].to(clip.device)}, 0)["image"]
            pixels = F.adaptive_avg_pool2d(there.float() * std + mean, SIDE).permute(0, 2, 3, 1)
            yield Encoded(
                batch["index"].numpy(),
                batch["label"].numpy(),
                clip.encode_image(there).float().cpu().numpy(),
                (255 * pixels).round().clamp(0, 255).to(torch.uint8).cpu().numpy(),
            )


def _loader(data: BaseDataModule, images: Any, chosen: Sequence[int]) -> DataLoader[Any]:
    how: dict[str, Any] = {
        "batch_size": data.eval_batch_size,
        "num_workers": data.num_workers,
        "worker_init_fn": ignore_stop_signals,
    }
    if not isinstance(images, ImageSet):
        return SignalProofLoader(Subset(images, chosen), **how)
    guarded = Guarded(images, getattr(data, "on_bad_image", "stop"))
    return GuardedLoader(guarded, sampler=chosen, collate_fn=gathered, **how)


def features_of(
    clip: Twin, model: str, data: BaseDataModule, name: str, images: LabelledImages, folder: Path
) -> FeatureSet:
    """Return the features of a set: those that the folder holds, or else made now and kept there.

    Args:
        clip: The frozen model.
        model: What messages call it.
        data: Of the config.
        name: Of the set, as `own_sets` has it.
        images: Of the set.
        folder: Where features are kept; nobody else may write there meanwhile.

    Raises:
        RunFolderError: The folder holds features of another model or of other images.
    """
    stem = name.replace("/", "-")
    note, rows, small = (folder / f"{stem}{end}" for end in (".json", ".npy", SMALL))
    expected = {"model": model, "weights": weights_digest(clip), "images": images_digest(data, name, images)}
    known = read_note(note) if rows.is_file() and small.is_file() else {}
    if not known:
        _encode_into(rows, small, encoded(clip, data, images), len(images))
        replace_file(note, f"{json.dumps(expected, indent=1)}\n".encode())
    elif any(known.get(key) != value for key, value in expected.items()):
        check_kept(model, folder)
        other = known.get("weights") != expected["weights"]
        whose = f"other weights of the model {model}" if other else "other images"
        raise stale(note, f"{whose} than there are now")
    try:
        opened = [np.load(path, mmap_mode="r", allow_pickle=False) for path in (rows, small)]
        forms = [(array.dtype, array.ndim, len(array), *array.shape[2:]) for array in opened]
        if forms != [(np.float16, 2, len(images)), (np.uint8, 4, len(images), SIDE, 3)]:
            raise ValueError
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"{rows} or {small} is damaged or of another version; remove {folder} to make the features anew."
        ) from error
    digest = blake2b(json.dumps(expected).encode(), digest_size=16).hexdigest()
    labels = np.asarray(images.labels, dtype=np.int64)
    return FeatureSet(name, opened[0], opened[1], labels, paths_of(name, images), digest)


def paths_of(name: str, images: LabelledImages) -> Sequence[str]:
    """Return where the images of a set are, as messages and tables have it.

    Args:
        name: Of the set, as `own_sets` has it.
        images: Of the set.
    """
    return images.table.paths if isinstance(images, ImageSet) else [f"{name}/{at}" for at in range(len(images))]


def _encode_into(rows: Path, small: Path, batches: Iterator[Encoded], size: int) -> None:
    """Write features and small pictures of all batches, and swap the files in when they are whole."""
    remove_temporary_files(rows.parent, (rows.name, small.name))
    parts = [path.with_name(f".{path.name}.{uuid4().hex}.tmp") for path in (rows, small)]
    maps: list[NDArray[Any]] = []
    try:
        for batch in batches:
            if not maps:
                shapes = ((np.float16, (size, batch.features.shape[1])), (np.uint8, (size, *batch.small.shape[1:])))
                maps = [
                    np.lib.format.open_memmap(part, "w+", dtype, shape)
                    for part, (dtype, shape) in zip(parts, shapes, strict=True)
                ]
            maps[0][batch.at], maps[1][batch.at] = batch.features, batch.small
        if not maps:
            raise ConfigError(f"None of the {size} images could be read; mend the data.")
        del maps
        for part, path in zip(reversed(parts), (small, rows), strict=True):
            sync(part)
            part.replace(path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
