"""How the cost of a StarFT step grows: with the batch, with the number of classes, with the pool.

Run it: ``python -m benchmarks.scale --model ViT-B-32``. One JSON line a row, each from a process of its own: median
seconds of a step, its peak memory, and both over those of the first row of its kind. ``seconds_per_image`` should stay
flat as the batch grows, ``median_seconds`` as the pool does, and as the classes do beyond the batch.
"""

import argparse
import json
import statistics
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from benchmarks.stand import Stand, options, parsed, where

GRID = {"batch_size": (16, 32, 64, 128, 256), "classes": (2, 10, 100, 1000), "pool": (10, 100, 1000)}


def main() -> None:
    """Print all rows."""
    parser = argparse.ArgumentParser(description="Time StarFT steps of many sizes.")
    options(parser)
    for name, values in GRID.items():
        parser.add_argument(f"--{name.replace('_', '-')}-grid", type=int, nargs="*", default=values)
    given = parsed(parser)
    for name in GRID:
        first: dict[str, Any] | None = None
        for value in getattr(given, f"{name}_grid"):
            row = apart(argparse.Namespace(**{**vars(given), name: value}))
            first = first or row
            over = {f"{key}_over_first": round(row[key] / first[key], 3) for key in ("median_seconds", "peak_mib")}
            print(json.dumps({"row": name, "value": value, **row, **over, **where(given)}), flush=True)


def apart(given: argparse.Namespace) -> dict[str, Any]:
    """Return what a setting costs, from a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as process:
        return process.submit(measured, given).result()


def measured(given: argparse.Namespace) -> dict[str, Any]:
    """Make steps of one setting in this process, the first of them uncounted."""
    stand = Stand(given)
    seconds = []
    for turn in range(given.rounds + 1):
        stand.turn(turn)
        seconds.append(stand.step("starft")[0])
    median = statistics.median(seconds[1:])
    return {
        **{name: getattr(given, name) for name in ("model", *GRID)},
        "median_seconds": round(median, 4),
        "seconds_per_image": round(median / given.batch_size, 5),
        "peak_mib": stand.peak_mib(),
    }


if __name__ == "__main__":
    main()
