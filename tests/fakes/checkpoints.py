"""Checkpoints as runs write them, without the run: weights moved a little from where they started."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from starft.runs.checkpoint_files import WholeCheckpointIO
from starft.training.module import FinetuneModule

NAMES = ("duck", "gull", "crow")


def write(
    path: Path,
    model_name: str = "starft-mini",
    pretrained: str | None = "mini",
    class_names: Sequence[str] = NAMES,
    **options: Any,
) -> FinetuneModule:
    """Write a checkpoint; return the module whose weights are in it."""
    torch.manual_seed(0)
    module = FinetuneModule(model_name=model_name, pretrained=pretrained, **options)
    module.describe(tuple(class_names), ("a photo of a {}.", "a sketch of a {}."))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            base = module.adapter is not None and not parameter.requires_grad
            if not name.startswith("twin.") and parameter.ndim and not base:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.01)
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
    module.on_save_checkpoint(checkpoint)
    WholeCheckpointIO().save_checkpoint(checkpoint, path)
    return module.eval()
