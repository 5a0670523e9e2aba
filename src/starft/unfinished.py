"""A mark in the folder of a run whose training hasn't ended: its numbers aren't those of a whole one."""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Callback

from starft.files import replace_file
from starft.safe_text import say

UNFINISHED = "unfinished.json"
SAMPLES = ("samples.npz", "samples.parquet", "samples")
OUTDATED = ("results.json", "predictions.csv", *SAMPLES)
"""What ``starft test`` and ``starft predict`` write of a checkpoint."""


class MarkUnfinished(Callback):
    """Writes ``unfinished.json`` when training starts and removes it when training ends by itself.

    It holds ``steps``, those of the whole run (null without an end), and ``step``, after which it was stopped (null
    while it runs, and where it was killed).

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / UNFINISHED

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Set the mark; what earlier checkpoints of a run that goes on were found to reach gets out of its way."""
        self._write(trainer, None)
        if trainer.is_global_zero:
            aside = set_aside(self.path.parent)
            if aside:
                say(f"Note: The run goes on, so what was found of it before is kept apart: {aside}.", file=sys.stderr)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Note how far it came, if it had begun."""
        if self.path.is_file():
            self._write(trainer, trainer.global_step)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the mark away."""
        if trainer.is_global_zero:
            self.path.unlink(missing_ok=True)

    def _write(self, trainer: L.Trainer, step: int | None) -> None:
        if trainer.is_global_zero:
            planned = trainer.estimated_stepping_batches
            steps = int(planned) if math.isfinite(planned) else None
            replace_file(self.path, (json.dumps({"step": step, "steps": steps}) + "\n").encode())


def set_aside(folder: Path, names: Sequence[str] = OUTDATED) -> str:
    """Rename what tests and predictions of earlier checkpoints left in a run folder; return what is what now.

    Args:
        folder: The run folder.
        names: Of files and folders in it.
    """
    told = []
    for name in names:
        path, number = folder / name, 1
        while (aside := path.with_stem(f"{path.stem}-{number}")).exists():
            number += 1
        if path.exists():
            path.rename(aside)
            told.append(f"{name} is {aside.name}")
    return ", ".join(told)


def unfinished_note(checkpoint: Path) -> str:
    """Return a sentence on a checkpoint whose run hasn't ended; else an empty string.

    Args:
        checkpoint: That is scored.
    """
    folder = checkpoint.parent.parent
    if not (folder / UNFINISHED).is_file():
        return ""
    return f"The training in {folder} hasn't ended ({UNFINISHED}): {checkpoint.name} is of a part of it."
