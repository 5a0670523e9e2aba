"""How fast ``starft test`` scores images, against a bare loop of the same forward passes.

Run it: ``python -m benchmarks.evaluate --model ViT-B-32 --batch-size 64``. One JSON line: the median seconds of both,
which take turns, images a second, and the ratio.
"""

import argparse
import json
import statistics
import time
import warnings

import lightning as L
import torch
from benchmarks.noise import NoiseData
from benchmarks.stand import options, parsed, where

from starft.training.module import FinetuneModule

BATCHES = 4


def main() -> None:
    """Print the row."""
    parser = argparse.ArgumentParser(description="Time evaluation.")
    options(parser)
    parser.add_argument("--batches", type=int, default=BATCHES)
    given = parsed(parser)
    warnings.filterwarnings("ignore", module="lightning")
    clock = time.perf_counter if given.clock == "wall" else time.process_time
    pretrained = "mini" if given.model == "starft-mini" else None
    module = FinetuneModule(model_name=given.model, pretrained=pretrained, compile=given.compile).to(given.device)
    data = NoiseData(module.preprocessing.size, given.batch_size, given.batches)
    quiet = {
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
    }
    precision = "bf16-mixed" if given.precision == "bfloat16" else "32-true"
    trainer = L.Trainer(accelerator="gpu" if given.device == "cuda" else "cpu", devices=1, precision=precision, **quiet)
    seconds: dict[str, list[float]] = {"starft": [], "bare": []}
    for turn in range(given.rounds + 1):
        for name in seconds if turn % 2 else reversed(seconds):
            start = clock()
            if name == "starft":
                trainer.test(module, data, verbose=False)
            else:
                bare(module.to(given.device), data, given)
            if turn > 0:
                seconds[name].append(clock() - start)
    medians = {name: statistics.median(spent) for name, spent in seconds.items()}
    images = len(data.noise)
    row = {
        "row": "evaluate",
        "model": given.model,
        "batch_size": given.batch_size,
        "images": images,
        "median_seconds": {name: round(median, 3) for name, median in medians.items()},
        "images_per_second": {name: round(images / median, 1) for name, median in medians.items()},
        "starft_over_bare": round(medians["bare"] / medians["starft"], 3),
        "at_least": 0.9,
    }
    print(json.dumps(row | where(given)))


@torch.inference_mode()
def bare(module: FinetuneModule, data: NoiseData, given: argparse.Namespace) -> int:
    """Score all images by hand; return how many were right."""
    clip = module.clip.eval()
    right = torch.zeros((), device=given.device)
    with torch.autocast(given.device, dtype=torch.bfloat16, enabled=given.precision == "bfloat16"):
        head = clip.encode_text(["a photo of a landbird.", "a photo of a waterbird."])
        for batch in data.test_dataloader():
            labels = batch["label"].to(given.device)
            right += ((clip.encode_image(batch["image"].to(given.device)) @ head.T).argmax(dim=1) == labels).sum()
    return int(right)


if __name__ == "__main__":
    main()
