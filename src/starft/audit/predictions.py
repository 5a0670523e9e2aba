"""What a trained model says of the images of an audit."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from starft.audit.features import LabelledImages, encoded
from starft.data.datamodules import BaseDataModule
from starft.errors import ConfigError
from starft.inference.classifier import Classifier, load

UNREADABLE = -1


@dataclass(frozen=True)
class Predictions:
    """Of the images of one set.

    Args:
        labels: The most probable class of each image (N,); `UNREADABLE` where it couldn't be read.
        probabilities: Of these classes (N,).
    """

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]


def load_for(path: str, data: BaseDataModule) -> Classifier:
    """Return a trained model that has the classes of the data.

    Args:
        path: A checkpoint, or an export of the format open_clip.
        data: Of a config.

    Raises:
        StarftError: The model can't be loaded, or has other classes.
    """
    model = load(Path(path))
    if model.class_names != tuple(data.class_names):
        own, others = (
            f"{', '.join(names[:4])}{', ...' if len(names) > 4 else ''}"
            for names in (model.class_names, data.class_names)
        )
        raise ConfigError(
            f"{path} tells {own} apart, and the data have {others}; give the config that it was trained with."
        )
    return model


def predict(model: Classifier, data: BaseDataModule, images: LabelledImages) -> Predictions:
    """Return what a model says of a set of images.

    Args:
        model: Of the data's classes.
        data: Whose loader options are taken.
        images: As the model wants them.
    """
    labels = np.full(len(images), UNREADABLE, dtype=np.int64)
    probabilities = np.zeros(len(images), dtype=np.float32)
    head = model.head.detach().cpu()
    for batch in encoded(model.clip, data, images):
        best, which = (torch.from_numpy(batch.features) @ head.T).softmax(dim=-1).max(dim=-1)
        labels[batch.at], probabilities[batch.at] = which.numpy(), best.numpy()
    return Predictions(labels, probabilities)
