"""What a StarFT step costs with one set of weights: ``python -m benchmarks.adapters --model ViT-L-14 --batch-size 8``.

One JSON line a row:

- ``full`` trains all weights and holds a twin; ``lora`` trains updates of rank 16 in both towers, and its twin is
  itself without them. ``time_over_full`` and ``memory_over_full`` compare medians of seconds, and peaks.
- ``frozen`` leaves the image tower's first 8 blocks alone, which student and twin compute and hold once; ``two_passes``
  does the same twice; ``frozen_kept`` reads back what they make, as all epochs but the first do.
  ``time_over_two_passes`` compares them. ``frozen_ce`` is cross-entropy with a linear head and the same freeze,
  ``frozen_starft_ce`` StarFT on it: ``starft_over_ce`` compares rows of StarFT with the former.

Each turn gives each row a process of its own: one step to warm up and make the optimizer's state, then the steps that
count. So peaks are of one row alone, and machines that could hold one row, and not two, can measure both. A step is
ordered as Lightning orders it: gradients of the step before are dropped behind the forward pass.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.stand import Stand, options, parsed, where

from starft.clip.kept_activations import KeptActivations
from starft.clip.lora import LoRA


def full(given: argparse.Namespace) -> Stand:
    """Return the stand of full fine-tuning."""
    return Stand(given)


def lora(given: argparse.Namespace) -> Stand:
    """Return the stand of low-rank updates."""
    return Stand(given, adapter=LoRA(rank=given.rank, base_precision=given.base_precision))


def frozen(given: argparse.Namespace, **module_options: Any) -> Stand:
    """Return the stand of a tower that is frozen up to a block."""
    return Stand(given, freeze_image_blocks=given.freeze_image_blocks, **module_options)


def kept(given: argparse.Namespace) -> Stand:
    """Return the same with the activations of one batch kept, which each step reads once they are there."""
    stand = frozen(given)
    begun = stand.module.clip.begin_images(stand.batch["image"])
    assert begun is not None, "the tower's beginning is known"
    stand.module.kept = KeptActivations("ram", len(begun), begun.shape[1:], Path())
    return stand


ROWS: dict[str, tuple[Callable[[argparse.Namespace], Stand], str]] = {
    "full": (full, "starft"),
    "lora": (lora, "starft"),
    "frozen": (frozen, "starft"),
    "frozen_kept": (kept, "starft"),
    "two_passes": (partial(frozen, share_frozen=False), "starft"),
    "frozen_ce": (frozen, "ce"),
    "frozen_starft_ce": (frozen, "starft_ce"),
}
"""Row -> what makes its stand, and the stand's row of steps."""
STEPS = 2
"""How many count in each process."""
COMPARED = {"time_over_full": "full", "time_over_two_passes": "two_passes", "starft_over_ce": "frozen_ce"}
"""A ratio of times -> the row below it; rows of frozen blocks have the last two."""


def main() -> None:
    """Print all rows."""
    parser = argparse.ArgumentParser(description="Time StarFT steps with one set of weights and with two.")
    options(parser)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--base-precision", default="same", choices=["same", "bf16"], help="of lora's frozen weights")
    parser.add_argument("--freeze-image-blocks", type=int, default=8, help="of the frozen rows")
    given = parsed(parser)
    seconds: dict[str, list[float]] = {row: [] for row in given.rows}
    peaks = dict.fromkeys(given.rows, 0)
    for turn in range(given.rounds):
        for row in given.rows if turn % 2 else reversed(given.rows):
            spent, peak = apart(given, row)
            seconds[row] += spent
            peaks[row] = max(peaks[row], peak)
    medians = {row: statistics.median(spent) for row, spent in seconds.items()}
    for row in given.rows:
        result = {"row": row, "model": given.model, "batch_size": given.batch_size, "rounds": given.rounds}
        result |= {"seconds": round(medians[row], 4), "peak_memory_bytes": peaks[row]}
        for name, other in COMPARED.items():
            if other in medians and (other == "full" or row not in ("full", "lora", other)):
                result[name] = round(medians[row] / medians[other], 3)
        if "full" in medians:
            result["memory_over_full"] = round(peaks[row] / peaks["full"], 3)
        print(json.dumps(result | {"rank": given.rank, "base_precision": given.base_precision} | where(given)))


def apart(given: argparse.Namespace, row: str) -> tuple[list[float], int]:
    """Return what `measured` returns, from a process of its own; this one must have touched no model yet."""
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as process:
        return process.submit(measured, given, row).result()


def measured(given: argparse.Namespace, row: str) -> tuple[list[float], int]:
    """Return the seconds of a row's steps in this process, and its peak memory in bytes."""
    make, kind = ROWS[row]
    stand, spent = make(given), []
    for turn in range(1 + STEPS):
        stand.turn(turn)
        stand.wait()
        start = stand.clock()
        loss = stand.loss(kind)
        stand.ours.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        stand.ours.step()
        stand.wait()
        spent.append(stand.clock() - start)
    return spent[1:], stand.peak_mib() * 2**20


if __name__ == "__main__":
    main()
