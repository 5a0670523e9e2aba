"""What a StarFT step costs with one set of weights: ``python -m benchmarks.adapters --model ViT-L-14 --batch-size 8``.

One JSON line a row: ``full`` trains all weights and holds a twin; ``lora`` trains updates of rank 16 in both towers,
and its twin is itself without them. ``time_over_full`` and ``memory_over_full`` compare medians of seconds, and peaks.

Each turn gives each row a process of its own: one step to warm up and make the optimizer's state, then the steps that
count. So peaks are of one row alone, and machines that could hold one row, and not two, can measure both. A step is
ordered as Lightning orders it: gradients of the step before are dropped behind the forward pass.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from benchmarks.stand import Stand, options, parsed, where

from starft.clip.lora import LoRA


def full(given: argparse.Namespace) -> Stand:
    """Return the stand of full fine-tuning."""
    return Stand(given)


def lora(given: argparse.Namespace) -> Stand:
    """Return the stand of low-rank updates."""
    return Stand(given, adapter=LoRA(rank=given.rank, base_precision=given.base_precision))


ROWS: dict[str, Callable[[argparse.Namespace], Stand]] = {"full": full, "lora": lora}
STEPS = 2
"""How many count in each process."""


def main() -> None:
    """Print all rows."""
    parser = argparse.ArgumentParser(description="Time StarFT steps with one set of weights and with two.")
    options(parser)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--base-precision", default="same", choices=["same", "bf16"], help="of lora's frozen weights")
    given = parsed(parser)
    seconds: dict[str, list[float]] = {row: [] for row in given.rows}
    peaks = dict.fromkeys(given.rows, 0)
    for turn in range(given.rounds):
        for row in given.rows if turn % 2 else reversed(given.rows):
            with ProcessPoolExecutor(1, mp_context=get_context("fork")) as process:
                spent, peak = process.submit(steps, given, row).result()
            seconds[row] += spent
            peaks[row] = max(peaks[row], peak)
    medians = {row: statistics.median(spent) for row, spent in seconds.items()}
    for row in given.rows:
        result = {"row": row, "model": given.model, "batch_size": given.batch_size, "rounds": given.rounds}
        result |= {"seconds": round(medians[row], 4), "peak_memory_bytes": peaks[row]}
        if "full" in medians:
            result["time_over_full"] = round(medians[row] / medians["full"], 3)
            result["memory_over_full"] = round(peaks[row] / peaks["full"], 3)
        print(json.dumps(result | {"rank": given.rank, "base_precision": given.base_precision} | where(given)))


def steps(given: argparse.Namespace, row: str) -> tuple[list[float], int]:
    """Return the seconds of a row's steps in this process, and its peak memory in bytes."""
    stand, spent = ROWS[row](given), []
    for turn in range(1 + STEPS):
        stand.turn(turn)
        stand.wait()
        start = stand.clock()
        loss = stand.loss("starft")
        stand.ours.zero_grad(set_to_none=True)
        loss.backward()
        stand.ours.step()
        stand.wait()
        spent.append(stand.clock() - start)
    return spent[1:], stand.peak_mib() * 2**20


if __name__ == "__main__":
    main()
