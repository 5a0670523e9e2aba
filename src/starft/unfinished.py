"""A mark in the folder of a run whose training hasn't ended: its numbers aren't those of a whole one."""

import json
import math
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Callback

from starft.files import replace_file

UNFINISHED = "unfinished.json"


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
        """Set the mark."""
        self._write(trainer, None)

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
