"""Where models of the embedded world look: on the bird or on the scene.

Run it: ``python -m benchmarks.relevance --models CKPT CKPT``. One JSON line a model, the frozen one first, on pictures
with scenes at random. ``exact`` is what no photo allows: the log odds of what the model says, with its bird on other
scenes and its scene without a bird, as a game of two players (Shapley, 1953); the share of the bird in what speaks for
the prediction. ``map`` is the share of the red parts of the heat map of `starft audit model` that lie on the bird, and
``occlusion`` the same of a map that hides one cell at a time; ``correlation`` is Spearman's, with the exact share.
Intervals are 95 %, over the pictures.
"""

import argparse
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional as F

from starft.audit.features import frozen_clip
from starft.audit.predictions import load_for
from starft.audit.relevance import BLUR, CELLS, log_odds, relevance
from starft.inference.classifier import Classifier
from starft.mini import MiniWorld
from starft.mini.splits import PictureSet, anywhere_pictures
from starft.mini.world import without_bird

OTHERS = 16
"""Other scenes that a bird is put on."""


def main() -> None:
    """Print a row a model."""
    parser = argparse.ArgumentParser(description="Measure where models of the embedded world look.")
    parser.add_argument("--models", nargs="*", default=[], help="checkpoints of its species")
    parser.add_argument("--pictures", type=int, default=480)
    parser.add_argument("--mapped", type=int, default=120, help="pictures that maps are made of")
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = MiniWorld()
    frozen = Classifier(frozen_clip("starft-mini", "mini"), data.class_names, data.templates)
    world = World(given.pictures)
    for name, model in (("frozen", frozen), *((path, load_for(path, data)) for path in given.models)):
        print(json.dumps({"model": name, **looked(model, world, given.mapped)}), flush=True)


class World:
    """Pictures (N, 3, H, W) with scenes at random, the same without their birds, and where the birds are (N, 1, H, W).

    Args:
        size: How many.
    """

    def __init__(self, size: int) -> None:
        rows = anywhere_pictures("relevance", size, 0)
        pictures = PictureSet(rows)
        bare, masks = zip(*(without_bird(row.picture) for row in rows), strict=True)
        self.labels = torch.tensor(pictures.labels)
        self.pixels = torch.stack([pictures[at]["image"] for at in range(size)])
        levels = torch.from_numpy(np.stack(bare)).permute(0, 3, 1, 2).float() / 255
        self.bare = (levels - pictures.mean) / pictures.std
        self.masks = torch.from_numpy(np.stack(masks))[:, None]
        draw = torch.Generator().manual_seed(0)
        self.others = torch.stack([torch.randperm(size, generator=draw)[:OTHERS] for _ in range(size)], dim=1)


@torch.no_grad()
def looked(model: Classifier, world: World, mapped: int) -> dict[str, Any]:
    """Return how much of what a model goes by is the bird.

    Args:
        model: Of the world's species.
        world: The pictures.
        mapped: How many of them maps are made of.
    """
    said = model.logits(world.pixels).argmax(dim=1)
    right = said == world.labels
    exact = exact_share(model, world, said)
    pixels, labels, some = world.pixels[:mapped], said[:mapped], exact[:mapped]
    row: dict[str, Any] = {"accuracy": round(float(right.float().mean()), 3), "exact": mean_of(exact)}
    row |= {"exact_right": mean_of(exact[right]), "exact_wrong": mean_of(exact[~right])}
    maps: dict[str, Callable[..., Tensor]] = {"map": relevance, "occlusion": occlusion}
    for name, cells_of in maps.items():
        share = on_the_bird(cells_of(model, pixels, labels), world.masks[:mapped])
        correlation = float(spearmanr(share.numpy(), some.numpy()).statistic)
        row |= {name: mean_of(share), f"{name}_correlation": round(correlation, 2)}
    return row | {"pictures": len(said), "mapped": len(labels), "bird_area": round(float(world.masks.mean()), 3)}


def exact_share(model: Classifier, world: World, said: Tensor) -> Tensor:
    """Return the bird's share (N,) of what bird and scene add to the log odds; what speaks against it counts as 0.

    Args:
        model: Any.
        world: The pictures.
        said: What the model says of them.
    """
    whole, scene = log_odds(model, world.pixels, said), log_odds(model, world.bare, said)
    bird, nothing = torch.zeros_like(whole), torch.zeros_like(whole)
    for other in world.others:
        elsewhere = world.bare[other]
        bird += log_odds(model, world.masks * world.pixels + (1 - world.masks) * elsewhere, said) / OTHERS
        nothing += log_odds(model, elsewhere, said) / OTHERS
    of_bird = ((whole - scene) + (bird - nothing)).clamp(min=0)
    of_scene = ((whole - bird) + (scene - nothing)).clamp(min=0)
    return of_bird / (of_bird + of_scene).clamp(min=1e-6)


def occlusion(model: Classifier, pixels: Tensor, labels: Tensor) -> Tensor:
    """Return what the log odds lose when one cell is hidden (Zeiler and Fergus, 2014), (B, CELLS, CELLS).

    Args:
        model: Any.
        pixels: Prepared images (B, 3, H, W).
        labels: The class (B,) that is explained of each.
    """
    whole, size = log_odds(model, pixels, labels), pixels.shape[-1] // CELLS
    blurred = F.interpolate(F.adaptive_avg_pool2d(pixels, BLUR), pixels.shape[2:], mode="bilinear")
    result = torch.zeros(len(pixels), CELLS, CELLS)
    for at in range(CELLS * CELLS):
        hidden, down, right = pixels.clone(), size * (at // CELLS), size * (at % CELLS)
        cell = (..., slice(down, down + size), slice(right, right + size))
        hidden[cell] = blurred[cell]
        result[:, at // CELLS, at % CELLS] = whole - log_odds(model, hidden, labels)
    return result


def on_the_bird(cells: Tensor, masks: Tensor) -> Tensor:
    """Return the share (B,) of what speaks for the class that lies on the bird.

    Args:
        cells: Relevance (B, CELLS, CELLS).
        masks: Where the birds are (B, 1, H, W).
    """
    covered = F.adaptive_avg_pool2d(masks, CELLS)[:, 0]
    speaks = cells.clamp(min=0)
    return (speaks * covered).sum(dim=(1, 2)) / speaks.sum(dim=(1, 2)).clamp(min=1e-6)


def mean_of(shares: Tensor) -> list[float]:
    """Return the mean of shares and the ends of its interval.

    Args:
        shares: Of the pictures.
    """
    values: NDArray[np.float64] = shares.double().numpy()
    half = 1.96 * float(values.std()) / max(len(values), 1) ** 0.5 if len(values) else 0.0
    middle = float(values.mean()) if len(values) else float("nan")
    return [round(value, 3) for value in (middle, middle - half, middle + half)]


if __name__ == "__main__":
    main()
