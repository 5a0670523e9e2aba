"""What a training step costs: the plain formulation, StarFT, and the fine-tuning that it is added to.

Run it: ``python -m benchmarks.step --model ViT-B-32 --batch-size 16 --classes 2``. One JSON line a row:

- ``plain``: StarFT on the contrastive objective as one would write it down: every caption of the batch encoded at full
  length by student and twin, in float32, torch's AdamW as it comes. ``plain_bf16``: the same under autocast.
- ``starft``, ``starft_ce``: ours, on the contrastive objective and on cross-entropy with a linear head.
- ``ce``, ``flyp``: our plain fine-tuning of both kinds. ``flyp_plain``: the latter, captions as in ``plain``.
- ``floor``: the images alone, forward and backward through the student and forward through the twin, no optimizer.
- ``ratios``: of median seconds. ``same_optimizer`` gives the plain step the time of our optimizer.

All take turns in one process, behind an uncounted one in which operations are counted. Peak memory is that of a
process of its own that makes two steps.
"""

import argparse
import json
import statistics
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from benchmarks.stand import OURS, Stand, options, parsed, where


def main() -> None:
    """Print all rows."""
    parser = argparse.ArgumentParser(description="Time training steps.")
    options(parser)
    known = ["plain", *OURS, "flyp_plain", "floor", "plain_bf16"]
    parser.add_argument("--rows", nargs="+", choices=known, help="all of this precision if left out")
    parser.add_argument("--no-memory", action="store_true", help="leave the processes out that measure memory")
    given = parsed(parser)
    rows = given.rows or known[: len(known) - (given.precision == "float32")]
    peaks = {} if given.no_memory else {row: peak_mib(given, row) for row in rows}
    seconds, gflops = timed(given, rows)
    medians = {row: statistics.median(total for total, _ in spent) for row, spent in seconds.items()}
    optimizers = {row: statistics.median(last for _, last in spent) for row, spent in seconds.items()}
    setting = {"model": given.model, "batch_size": given.batch_size, "classes": given.classes, "rounds": given.rounds}
    for row in rows:
        times = {"median_seconds": round(medians[row], 4), "optimizer_seconds": round(optimizers[row], 4)}
        print(
            json.dumps(
                {"row": row, **setting, **times, "peak_mib": peaks.get(row), "gflops": gflops[row], **where(given)}
            ),
            flush=True,
        )
    print(json.dumps({"row": "ratios", **setting, **ratios(medians, optimizers, peaks), **where(given)}))


def timed(given: argparse.Namespace, rows: list[str]) -> tuple[dict[str, list[tuple[float, float]]], dict[str, float]]:
    """Return the seconds of each row's steps, made in turns, and the operations of one, in billions."""
    stand = Stand(given)
    gflops = {row: round(stand.flops(row) / 1e9, 3) for row in rows}
    seconds: dict[str, list[tuple[float, float]]] = {row: [] for row in rows}
    for turn in range(1, given.rounds + 1):
        stand.turn(turn)
        for row in rows if turn % 2 else reversed(rows):
            seconds[row].append(stand.step(row))
    return seconds, gflops


def ratios(medians: dict[str, float], optimizers: dict[str, float], peaks: dict[str, int]) -> dict[str, float]:
    """Return how the rows compare."""
    compared = ["plain/starft", "starft/ce", "starft_ce/ce", "starft/flyp", "starft/flyp_plain", "starft/floor"]
    pairs = [pair.split("/") for pair in [*compared, "plain_bf16/starft"]]
    found = {f"{a}_over_{b}": medians[a] / medians[b] for a, b in pairs if a in medians and b in medians}
    if {"plain", "starft"} <= medians.keys():
        same = medians["plain"] - optimizers["plain"] + optimizers["starft"]
        found["plain_over_starft_same_optimizer"] = same / medians["starft"]
    if {"starft", "flyp"} <= peaks.keys():
        found["memory_starft_over_flyp"] = peaks["starft"] / peaks["flyp"]
    return {name: round(value, 3) for name, value in found.items()}


def peak_mib(given: argparse.Namespace, row: str) -> int:
    """Return a row's peak memory, from a process of its own; this one must have touched no model yet."""
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as process:
        return process.submit(two_steps, given, row).result()


def two_steps(given: argparse.Namespace, row: str) -> int:
    """Make two steps in this process, the second with optimizer state; return its peak memory."""
    stand = Stand(given)
    for turn in range(2):
        stand.turn(turn)
        stand.step(row)
    return stand.peak_mib()


if __name__ == "__main__":
    main()
