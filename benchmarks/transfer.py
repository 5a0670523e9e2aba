"""What it costs to bring images to the device, as 8-bit levels and as floats: ``python -m benchmarks.transfer``.

One JSON line: medians of seconds a batch, copied from pinned memory where there is a GPU. ``uint8`` is what ``decode:
fast`` hands over, normalised on the device; ``float32`` is what ``exact`` hands over.
"""

import argparse
import json
import statistics

import torch
from benchmarks.stand import Stand, options, parsed, where

from starft.data.transforms import normalized


def main() -> None:
    """Print the row."""
    parser = argparse.ArgumentParser(description="Time images on their way to the device.")
    options(parser)
    given = parsed(parser)
    stand = Stand(given)
    wanted, device = stand.module.preprocessing, stand.device
    levels = torch.zeros(given.batch_size, 3, *wanted.size, dtype=torch.uint8)
    kinds = {"uint8": levels, "float32": normalized(levels, wanted)}
    if device.type == "cuda":
        kinds = {name: images.pin_memory() for name, images in kinds.items()}
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(1 + given.rounds):
        for name, images in kinds.items():
            stand.wait()
            start = stand.clock()
            normalized(images.to(device, non_blocking=True), wanted)
            stand.wait()
            seconds[name].append(stand.clock() - start)
    medians = {name: statistics.median(spent[1:]) for name, spent in seconds.items()}
    row = {"row": "transfer", "batch_size": given.batch_size, "size": wanted.size}
    row |= {f"{name}_seconds": round(median, 6) for name, median in medians.items()}
    print(json.dumps(row | {"float32_over_uint8": round(medians["float32"] / medians["uint8"], 2)} | where(given)))


if __name__ == "__main__":
    main()
