"""Marks in a run folder that say how its training ended, so that a part of it isn't taken for the whole."""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Callback, EarlyStopping

from starft.files.atomic import replace_file
from starft.files.digests import run_folder
from starft.runs.resuming import epoch_is_partial
from starft.safe_text import say

UNFINISHED = "unfinished.json"
EARLY = "early_stopping.json"
"""Where early stopping ended the training: ``step``, ``steps`` and a ``message``."""
SAMPLES = ("samples.npz", "samples.parquet", "samples")
OUTDATED = ("results.json", "predictions.csv", *SAMPLES)
"""What ``starft test`` and ``starft predict`` write of a checkpoint."""


class MarkUnfinished(Callback):
    """Writes ``unfinished.json`` when training starts and removes it when training has come to its planned end.

    It holds ``steps``, those of the whole run (null without an end), and ``step``, after which it was stopped (null
    while it runs, and where it was killed). Early stopping is an end that was planned; ``early_stopping.json`` tells of
    it. Whatever else stops a run before its last step leaves the mark.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path, self.early = folder / UNFINISHED, folder / EARLY
        self.started: int | None = None
        """Step that training began after; null where it didn't begin."""
        self.message = ""
        """How the training ended if not with its last step, a sentence."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Set the mark; what earlier checkpoints of a run that goes on were found to reach gets out of its way."""
        self.started = trainer.global_step
        self._write(trainer, None)
        if trainer.is_global_zero:
            self.early.unlink(missing_ok=True)
            aside = set_aside(self.path.parent)
            if aside:
                say(f"Note: The run goes on, so what was found of it before is kept apart: {aside}.", file=sys.stderr)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Note how far it came, if it had begun."""
        if self.started is not None and self.path.is_file():
            self._write(trainer, trainer.global_step)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the mark away if the run has ended as it was planned."""
        step, steps = trainer.global_step, trainer.estimated_stepping_batches
        if not trainer.is_global_zero:
            return
        if step < steps:
            reason = early_stopping_reason(trainer)
            at = f"after step {step} of {steps}" if math.isfinite(steps) else f"after step {step}"
            if not reason:
                self.message = f"The training stopped {at}, as a callback asked it to, and hasn't ended."
                self._write(trainer, step)
                return
            self.message = f"Early stopping ended the training {at}: {reason}"
            held = {"step": step, "steps": int(steps) if math.isfinite(steps) else None, "message": self.message}
            replace_file(self.early, (json.dumps(held) + "\n").encode())
        elif (trainer.max_epochs or 0) > 0 and epoch_is_partial(trainer):
            self.message = (
                f"trainer.max_steps ended the training after step {step}, in epoch {trainer.current_epoch} of "
                f"{trainer.max_epochs}."
            )
        self.path.unlink(missing_ok=True)

    def _write(self, trainer: L.Trainer, step: int | None) -> None:
        if trainer.is_global_zero:
            planned = trainer.estimated_stepping_batches
            steps = int(planned) if math.isfinite(planned) else None
            replace_file(self.path, (json.dumps({"step": step, "steps": steps}) + "\n").encode())


def early_stopping_reason(trainer: L.Trainer) -> str:
    """Return why early stopping ended a training, a sentence; empty where something else did.

    Args:
        trainer: When its training has ended.
    """
    for one in trainer.callbacks if trainer.should_stop else ():  # type: ignore[attr-defined]
        if isinstance(one, EarlyStopping) and trainer.current_epoch - one.stopped_epoch <= 1:
            reason = getattr(one, "stopping_reason_message", None)
            if reason is not None:
                return str(reason).removesuffix(" Signaling Trainer to stop.")
            if one.wait_count >= one.patience:
                return f"{one.monitor} didn't improve {one.wait_count} times."
    return ""


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
    folder = run_folder(checkpoint)
    if not (folder / UNFINISHED).is_file():
        return ""
    return f"The training in {folder} hasn't ended ({UNFINISHED}): {checkpoint.name} is of a part of it."


def read_early_stopping(checkpoint: Path) -> tuple[int, str]:
    """Return the step and the message of the early stopping that ended a checkpoint's run; -1 and "" for none.

    Args:
        checkpoint: Of the run.
    """
    try:
        held = json.loads((run_folder(checkpoint) / EARLY).read_text(encoding="utf-8"))
        return int(held["step"]), str(held["message"])
    except (OSError, ValueError, TypeError, KeyError):
        return -1, ""
