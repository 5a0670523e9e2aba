"""Time and peak memory of a StarFT step with micro batches: ``python -m benchmarks.micro [--batch-size 256]``.

Prints one JSON line a row, each measured in a process of its own: the batch that fits, whole, and the batch that is
wanted, in micro batches of that size. Random weights, drawn images; the optimizer's moments are there before the
measured step, whose peak is that of the process.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import torch

from starft.captions.sampler import CaptionSampler
from starft.losses import SpuriosityAlignment
from starft.losses.context import Progress
from starft.losses.objectives import Contrastive
from starft.training.module import FinetuneModule


def step(module: FinetuneModule, optimizer: torch.optim.Optimizer, size: int, classes: int) -> None:
    """Make one optimizer step on drawn images."""
    labels = torch.arange(size) % classes
    module._host_labels = labels.tolist()
    side = module.preprocessing.size
    batch: Any = {"image": torch.randn(size, 3, *side), "label": labels, "index": torch.arange(size)}
    progress = Progress(0, 10, 0, 2)
    ctx = module._context(batch, progress)
    loss = torch.stack([term(ctx) for _, term in module._active_terms()]).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def measure(model: str, classes: int, size: int, micro: int | None, fits: int) -> dict[str, Any]:
    """Return seconds of one step and the peak memory of this process."""
    alignment = SpuriosityAlignment(0.5, "constant")
    module = FinetuneModule(
        Contrastive(), model, None, regularizers=[alignment], pool="backgrounds", micro_batch_size=micro
    )
    module.describe(tuple(f"class {label}" for label in range(classes)), ("a photo of a {}.",))
    module.captions = CaptionSampler(module.class_names, module.templates, module.pool, 0)
    optimizer = torch.optim.AdamW(parameter for parameter in module.parameters() if parameter.requires_grad)
    step(module, optimizer, fits, classes)
    start = time.perf_counter()
    step(module, optimizer, size, classes)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "batch_size": size,
        "micro_batch_size": micro,
        "seconds": round(seconds, 1),
        "peak_gb": round(peak / 1e9, 2),
    }


def main() -> None:
    """Run the two rows one after the other."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--fits", type=int, default=16, help="Batch that fits, and size of the micro batches.")
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument("--row", choices=("whole", "micro"), help="Measure this row here; left out, both in turn.")
    given = parser.parse_args()
    if given.row is None:
        for row in ("whole", "micro"):
            subprocess.run([sys.executable, "-m", "benchmarks.micro", *sys.argv[1:], "--row", row], check=True)
        return
    size, micro = (given.fits, None) if given.row == "whole" else (given.batch_size, given.fits)
    row = {
        "model": given.model,
        "classes": given.classes,
        **measure(given.model, given.classes, size, micro, given.fits),
    }
    print(json.dumps(row | {"threads": torch.get_num_threads()}), flush=True)


if __name__ == "__main__":
    main()
