"""Small pictures of some images of an audit, kept in its folder, so that a page needs no data."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from starft.audit.data_audit import Attribute, DataAudit, shortcuts
from starft.audit.features import TRAIN, FeatureSet, LabelledImages
from starft.audit.model_audit import ModelAudit
from starft.data.datamodules import BaseDataModule
from starft.errors import StarftError
from starft.reporting.audit_page import COPIES, SLICE_IMAGES, SLICES
from starft.runs.audit_result import audit_picture
from starft.runs.sample_writer import write_picture
from starft.types import ImagePreprocessing

SHOWN, WITH, WITHOUT = 6, 8, 4
"""Shortcuts that have pictures; training images with each, and without it."""

Place = tuple[str, str]
"""Set and path of an image."""
Examples = Mapping[str, Mapping[str, Sequence[Mapping[str, str]]]]
"""Attribute -> ``with`` or ``without`` -> path, label and attribute of some training images."""


def examples_of(audit: DataAudit, train: FeatureSet, class_names: Sequence[str], seed: int) -> Examples:
    """Return training images of each shortcut's classes that show it, and some that don't, drawn at random.

    Args:
        audit: Of the data.
        train: The training images.
        class_names: In label order.
        seed: Of the draw.
    """
    inferred = audit.inferred[TRAIN]

    def drawn(item: Attribute, shows: bool, most: int) -> list[dict[str, str]]:
        side = (inferred.values == inferred.names.index(item.ranked.template)) == shows
        labels = [at for at, name in enumerate(class_names) if name in item.ranked.classes]
        there = np.flatnonzero(side & train.readable & np.isin(train.labels, labels))
        return [
            {
                "path": train.paths[at],
                "label": class_names[train.labels[at]],
                "attribute": inferred.names[inferred.values[at]],
            }
            for at in np.random.default_rng(seed).permutation(there)[:most].tolist()
        ]

    return {
        item.ranked.template: {"with": drawn(item, True, WITH), "without": drawn(item, False, WITHOUT)}
        for item in shortcuts(audit)[:SHOWN]
        if item.ranked.classes
    }


def of_data(audit: DataAudit, examples: Examples) -> list[Place]:
    """Return the images that a page shows of an audit of data.

    Args:
        audit: What was found.
        examples: Of its shortcuts.
    """
    places = [(TRAIN, row["path"]) for sides in examples.values() for rows in sides.values() for row in rows]
    pairs = audit.copies[:COPIES]
    return [*places, *((pair.set, pair.path) for pair in pairs), *((pair.of_set, pair.of_path) for pair in pairs)]


def of_model(audit: ModelAudit) -> list[Place]:
    """Return the images that a page shows of an audit of a model.

    Args:
        audit: What was found.
    """
    return [(image.set, image.path) for item in audit.slices[:SLICES] for image in item.images[:SLICE_IMAGES]]


def keep_pictures(
    folder: Path,
    data: BaseDataModule,
    images: Mapping[str, LabelledImages],
    sets: Mapping[str, FeatureSet],
    preprocessing: ImagePreprocessing,
    places: Iterable[Place],
) -> None:
    """Write a small picture of each image, as the model sees it; one that can't be read any more has none.

    Args:
        folder: Of the audit.
        data: Whose images they are.
        images: By set.
        sets: Their features, which know the paths.
        preprocessing: How the images are normalised.
        places: Of the images.
    """
    at_of = {name: {path: at for at, path in enumerate(item.paths)} for name, item in sets.items()}
    for name, path in dict.fromkeys(places):
        file = audit_picture(folder, name, path)
        file.parent.mkdir(exist_ok=True)
        try:
            image = data.on_after_batch_transfer(images[name][at_of[name][path]], 0)["image"].float().numpy()
            write_picture(file, levels(image, preprocessing))
        except (OSError, StarftError):
            continue


def levels(image: NDArray[np.float32], preprocessing: ImagePreprocessing) -> NDArray[np.float32]:
    """Return an image's levels (3, H, W), about 0 to 1.

    Args:
        image: As a model takes it.
        preprocessing: How it is normalised.
    """
    mean, std = (np.array(part, dtype=np.float32)[:, None, None] for part in (preprocessing.mean, preprocessing.std))
    return np.asarray(image * std + mean, dtype=np.float32)
