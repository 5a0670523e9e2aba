"""What Lightning's loop adds to a training step: hooks, logs, the schedule.

Run it: ``python -m benchmarks.loop --model ViT-B-32 --batch-size 64``. One JSON line. Before each step of a run the
same step is made by hand, on the same weights, batch and optimizer, so that a busy machine slows both alike.
"""

import argparse
import json
import statistics
import time
import warnings
from typing import Any

import lightning as L
from benchmarks.noise import NoiseData
from benchmarks.stand import options, parsed, where
from torch.optim import Optimizer

from starft.losses import SpuriosityAlignment
from starft.losses.context import Progress
from starft.losses.objectives import Contrastive
from starft.training.module import FinetuneModule
from starft.types import Batch


class ByHand(L.Callback):
    """Makes each step by hand first, and times both.

    Args:
        clock: ``wall`` or ``cpu``.
    """

    def __init__(self, clock: str) -> None:
        self.clock = time.perf_counter if clock == "wall" else time.process_time
        self.by_hand: list[float] = []
        self.by_loop: list[float] = []
        self._begun = 0.0

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        """End the last step of the loop, and make one by hand."""
        start = self.clock()
        if batch_idx > 0:
            self.by_loop.append(start - self._begun)
        assert isinstance(pl_module, FinetuneModule)
        step_by_hand(pl_module, batch, trainer.optimizers[0])
        self._begun = self.clock()
        if batch_idx > 0:
            self.by_hand.append(self._begun - start)


def step_by_hand(module: FinetuneModule, batch: Batch, optimizer: Optimizer) -> None:
    """Make a step as a loop of one's own would."""
    ctx = module._context(batch, Progress(0, 100, 0, 10))
    loss = Contrastive()(ctx) + 0.5 * SpuriosityAlignment()(ctx)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def main() -> None:
    """Print the row."""
    parser = argparse.ArgumentParser(description="Time Lightning's loop.")
    options(parser)
    given = parsed(parser)
    warnings.filterwarnings("ignore", module="lightning")
    pretrained = "mini" if given.model == "starft-mini" else None
    terms: list[Any] = [SpuriosityAlignment(schedule="constant")]
    module = FinetuneModule(
        Contrastive(), given.model, pretrained, regularizers=terms, pool="backgrounds", lr=0.0, compile=given.compile
    )
    callback = ByHand(given.clock)
    trainer = L.Trainer(
        accelerator="gpu" if given.device == "cuda" else "cpu",
        devices=1,
        precision="32-true",
        max_epochs=1,
        callbacks=[callback],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        limit_val_batches=0,
    )
    trainer.fit(module, NoiseData(module.preprocessing.size, given.batch_size, given.rounds + 2))
    hand, loop = callback.by_hand[: given.rounds], callback.by_loop[1 : given.rounds + 1]
    medians = {"by_hand": statistics.median(hand), "by_loop": statistics.median(loop)}
    row = {
        "row": "loop",
        "model": given.model,
        "batch_size": given.batch_size,
        "rounds": given.rounds,
        "median_seconds": {name: round(median, 4) for name, median in medians.items()},
        "overhead": round(medians["by_loop"] / medians["by_hand"] - 1, 4),
        "below": 0.03,
    }
    print(json.dumps(row | where(given)))


if __name__ == "__main__":
    main()
