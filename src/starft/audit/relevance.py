"""Where a model looks: how much surer it is of a class for each part of the image that it sees.

A picture is cut into 8 x 8 cells, and random halves of them are hidden behind the picture's own colours, blurred, as
RISE does (Petsiuk, Das and Saenko, BMVC 2018). The relevance of a cell is its coefficient in a linear regression of the
log odds of the class on which cells are there, as in LIME (Ribeiro et al., KDD 2016); for halves drawn evenly it
estimates the cell's Banzhaf value. Each half goes with the other one, so that interactions of two cells cancel.

It asks of a model nothing but logits, so it works for every tower: maps of attention or gradients need a way into one,
which differs between the ViTs, ResNets and timm towers that open_clip builds, and a frozen twin gives no gradients.
Hiding one cell at a time (occlusion) is cheaper; in the embedded world it agrees a little less with what bird and scene
truly do (`benchmarks/relevance.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from starft.audit.features import FeatureSet, described_sets
from starft.audit.pictures import levels
from starft.audit.predictions import Predictions
from starft.data.datamodules import BaseDataModule
from starft.data.imageset import ImageSet
from starft.errors import StarftError
from starft.inference.classifier import Classifier
from starft.runs.audit_result import audit_picture
from starft.runs.sample_writer import write_picture

CELLS = 8
"""Cells a side."""
BLUR = 4
"""Colours a side that hidden cells are filled from."""
HALVES, CHUNK = 64, 32
"""Random halves of the cells, each with its other half; masked pictures that go through the model at a time."""
RIDGE = 1.0
"""Of the regression: 128 pictures tell 64 coefficients."""
FOR, AGAINST = (0.85, 0.1, 0.1), (0.1, 0.3, 0.9)
"""Colours of what speaks for a class, and of what speaks against it."""


@torch.no_grad()
def relevance(model: Classifier, pixels: Tensor, labels: Tensor) -> Tensor:
    """Return what each cell adds to the log odds of a class, (B, CELLS, CELLS) on the host.

    Args:
        model: Any.
        pixels: Prepared images (B, 3, H, W).
        labels: The class (B,) that is explained of each.
    """
    half = torch.rand(HALVES, CELLS * CELLS, generator=torch.Generator().manual_seed(0)) < 0.5
    seen = torch.cat([half, ~half])
    results = []
    for image, label in zip(pixels.to(model.device), labels.to(model.device), strict=True):
        blurred = F.interpolate(F.adaptive_avg_pool2d(image[None], BLUR), image.shape[1:], mode="bilinear")
        odds = []
        for some in torch.split(seen.to(model.device), CHUNK):
            shown = F.interpolate(some.view(-1, 1, CELLS, CELLS).float(), image.shape[1:], mode="nearest-exact")
            odds.append(log_odds(model, torch.where(shown > 0, image, blurred), label.expand(len(some))).cpu())
        results.append(_coefficients(seen.double() - 0.5, torch.cat(odds).double()))
    return torch.stack(results).view(-1, CELLS, CELLS)


def _coefficients(seen: Tensor, odds: Tensor) -> Tensor:
    """Return the slopes (K,) of log odds (N,) on which cells (N, K) are there, -1/2 or 1/2; each half has its other."""
    gram = seen.T @ seen + RIDGE * torch.eye(seen.shape[1], dtype=seen.dtype)
    slopes: Tensor = torch.linalg.solve(gram, seen.T @ odds)
    return slopes.float()


def log_odds(model: Classifier, pixels: Tensor, labels: Tensor) -> Tensor:
    """Return the log odds (B,) of a class: unlike its probability they move where the model is sure.

    Args:
        model: Any.
        pixels: Prepared images (B, 3, H, W).
        labels: The class (B,) of each.
    """
    logits = model.logits(pixels)
    own = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return own[:, 0] - others.logsumexp(dim=1)


def overlay(picture: NDArray[np.float32], cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a picture (3, H, W) in grey with its cells in colour: red for what speaks for the class, blue against it.

    Args:
        picture: Levels (3, H, W) in [0, 1].
        cells: Relevance (CELLS, CELLS); the largest is the deepest colour.
    """
    size = picture.shape[1:]
    smooth = F.interpolate(torch.from_numpy(cells)[None, None], size, mode="bilinear")[0, 0].numpy()
    share = (smooth / max(float(np.abs(cells).max()), 1e-9)).clip(-1, 1)
    grey = np.broadcast_to(picture.clip(0, 1).mean(axis=0), picture.shape)
    colour = np.where(share >= 0, np.reshape(FOR, (3, 1, 1)), np.reshape(AGAINST, (3, 1, 1)))
    depth = 0.75 * np.abs(share)
    return np.asarray((1 - depth) * grey + depth * colour, dtype=np.float32)


@dataclass(frozen=True)
class Mistake:
    """One image that the model has wrong, with its heat maps.

    Args:
        set: Such as ``test/id``.
        index: Its position in the set.
        path: As its data set has it.
        label: Its class.
        prediction: What the model says, which the maps explain.
        probability: The model's own, of that.
        frozen: What the frozen model says.
    """

    set: str
    index: int
    path: str
    label: str = ""
    prediction: str = ""
    probability: float = 0.0
    frozen: str = ""


def surest(sets: Mapping[str, FeatureSet], predictions: Mapping[str, Predictions], most: int) -> list[Mistake]:
    """Return the mistakes that a model is surest of, as places alone.

    Args:
        sets: Validation and test images.
        predictions: Of the model.
        most: How many.
    """
    found = []
    for name, item in sets.items():
        said = predictions[name]
        for at in np.flatnonzero((said.labels >= 0) & (said.labels != item.labels)).tolist():
            found.append((float(said.probabilities[at]), Mistake(name, at, item.paths[at])))
    return [place for _, place in sorted(found, key=lambda one: -one[0])[:most]]


def keep_maps(
    folder: Path, data: BaseDataModule, model: Classifier, frozen: Classifier, places: Sequence[Mistake]
) -> list[Mistake]:
    """Write a picture of each image and the heat maps of both models for what the tuned one says; return them in full.

    Args:
        folder: Of the audit.
        data: Whose images they are.
        model: The tuned one.
        frozen: The other.
        places: Of validation or test images; those that can't be read any more are left out.
    """
    results, explained = {place: place for place in dict.fromkeys(places)}, {}
    described = described_sets(data, model.preprocessing)
    for kind, own in (("tuned", model), ("frozen", frozen)):
        if own.preprocessing != data.preprocessing:
            described = described_sets(data, own.preprocessing)
        for place in [*results]:
            item, images = described[place.set]
            names = item.class_names
            scorer = own if own.class_names == tuple(names) else own.with_classes(names, item.templates)
            try:
                pixels, label = _image(data, images, place.index)
            except (OSError, StarftError):
                del results[place]
                continue
            values, said = scorer.ranked(pixels, 1)
            if kind == "tuned":
                explained[place] = said[:, 0].cpu()
                results[place] = replace(
                    place, label=names[label], prediction=names[int(said)], probability=round(float(values), 4)
                )
            else:
                results[place] = replace(results[place], frozen=names[int(said)])
            cells = relevance(scorer, pixels, explained[place])[0].numpy()
            shown = levels(pixels[0].cpu().numpy(), own.preprocessing)
            if kind == "tuned":
                write_picture(_file(folder, place, "plain"), shown)
            write_picture(_file(folder, place, kind), overlay(shown, cells))
    return [*results.values()]


def places_of(data: BaseDataModule, eval_set: str, indices: Sequence[int]) -> list[Mistake]:
    """Return images of a test set; none where the data have no such set, or score it by other rules.

    Args:
        data: Set up for tests.
        eval_set: Its name, without ``test/``.
        indices: Positions in it.
    """
    for item, own in zip(data.test_sets, data.test_data, strict=True):
        images: Any = own
        if item.name == eval_set and item.class_names and not item.merge and not item.accepted:
            paths: Any = images.table.paths if isinstance(images, ImageSet) else None
            name = f"test/{eval_set}"
            there = [at for at in indices if 0 <= at < len(images)]
            return [Mistake(name, at, f"{name}/{at}" if paths is None else paths[at]) for at in there]
    return []


def _image(data: BaseDataModule, images: Any, at: int) -> tuple[Tensor, int]:
    """Return an image (1, 3, H, W) as the model takes it, and its label."""
    batch = data.on_after_batch_transfer(images[at], 0)
    return batch["image"].float()[None], int(batch["label"])


def _file(folder: Path, place: Mistake, kind: str) -> Path:
    file = audit_picture(folder, place.set, str(place.index), kind)
    file.parent.mkdir(exist_ok=True)
    return file
