"""What a StarFT step holds in memory, worked out and not measured: ``python -m benchmarks.memory``.

One JSON line for each model and method, in GB: weights, the twin's, gradients, AdamW's moments, the copies of matrices
in bfloat16 that autocast makes and keeps, and the activations that the backward pass reads. Precision is that of
``bf16-mixed``, or of ``32-true`` with ``--precision float32``. On top comes what torch itself, its allocator and a
block's passing tensors take.

A block of a vision transformer keeps so many bytes for each token and unit of width (`BYTES`, counted with
``torch.autograd.graph.saved_tensors_hooks`` on three blocks of ViT-B/32, less weights).
"""

import argparse
import json

import open_clip
import torch
from torch import nn

from starft.clip.lora import LoRA, add_updates, freeze_base

MODELS = ("ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-H-14", "ViT-bigG-14")
METHODS = ("full", "full, twin in bf16", "lora", "lora, base in bf16")
BYTES = {"float32": {"full": 64.1, "lora": 40.4}, "bfloat16": {"full": 36.1, "lora": 25.0}}
TEXT_TOKENS = 250
"""Of two classes' captions at batch 64, as they share their beginnings."""


def main() -> None:
    """Print all rows."""
    parser = argparse.ArgumentParser(description="Work out what steps hold in memory.")
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="of open_clip, with towers of its own")
    parser.add_argument("--batch-size", type=int, default=64, help="images that go through a tower at a time")
    parser.add_argument("--precision", default="bfloat16", choices=list(BYTES))
    parser.add_argument("--rank", type=int, default=16)
    given = parser.parse_args()
    for name in given.models:
        with torch.device("meta"):
            model = open_clip.CLIP(**open_clip.get_model_config(name))
        weights = sum(weight.numel() for weight in model.parameters())
        matrices = sum(weight.numel() for weight in matrices_of(model))
        units = widths(model, given.batch_size)
        freeze_base(model)
        add_updates(model, LoRA(rank=given.rank), seed=0)
        updates = sum(weight.numel() for weight in model.parameters()) - weights
        for method in METHODS:
            row = step(method, weights, matrices, updates, units, given.precision)
            rounded = {part: round(size / 1e9, 2) for part, size in row.items()}
            setting = {"model": name, "method": method, "batch_size": given.batch_size, "precision": given.precision}
            print(json.dumps(setting | rounded | {"sum": round(sum(row.values()) / 1e9, 1)}))


def step(method: str, weights: int, matrices: int, updates: int, units: int, precision: str) -> dict[str, float]:
    """Return the bytes of each part of a step.

    Args:
        method: One of `METHODS`.
        weights: Numbers of the model.
        matrices: Those of its layers' matrices.
        updates: Those of LoRA's updates.
        units: Tokens times width, of all blocks.
        precision: A key of `BYTES`.
    """
    kind = method.partition(",")[0]
    trained = weights if kind == "full" else updates
    rounded = 2 * matrices + 4 * (weights - matrices)
    whole = rounded if method.endswith("base in bf16") else 4 * weights
    twin = 0 if kind == "lora" else rounded if method.endswith("twin in bf16") else 4 * weights
    is_cast = precision == "bfloat16" and not method.endswith("base in bf16")
    return {
        "weights": whole + (4 * updates if kind == "lora" else 0),
        "twin": twin,
        "gradients": 4 * trained,
        "optimizer": 8 * trained,
        "casts": 2 * matrices if is_cast else 0,
        "activations": BYTES[precision][kind] * units,
    }


def matrices_of(model: nn.Module) -> list[nn.Parameter]:
    """Return the matrices of a model's layers, which autocast casts and ``bf16`` rounds."""
    return [
        weight
        for part in model.modules()
        for name, weight in part.named_parameters(recurse=False)
        if weight.ndim == 2 and name.endswith("weight") and not isinstance(part, nn.Embedding)
    ]


def widths(model: open_clip.CLIP, batch: int) -> int:
    """Return the tokens of a batch times the width, of all blocks of both towers."""
    visual = model.visual
    patches = visual.grid_size[0] * visual.grid_size[1] + 1
    image = batch * patches * visual.transformer.width * len(visual.transformer.resblocks)
    text = TEXT_TOKENS * model.transformer.width * len(model.transformer.resblocks)
    return int(image + text)


if __name__ == "__main__":
    main()
