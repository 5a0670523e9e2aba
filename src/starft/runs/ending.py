"""How a training ended: the marks in its folder, what is told of it, and checkpoints that it goes on from exactly.

The marks keep a part of a run from being taken for the whole. The checkpoints need care because Lightning 2.6 counts an
epoch as done that ended before its last batch (``max_steps``, ``should_stop``), and takes a validation for done that
was due at the step after which a checkpoint was written: a run that goes on from there would skip the rest of the
epoch, or the validation.
"""

import json
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, EarlyStopping

from starft.errors import ConfigError
from starft.files.atomic import replace_file
from starft.files.yaml_reader import read_yaml
from starft.runs.kept_checkpoints import BestCheckpoint
from starft.runs.layout import BEST, CHECKPOINTS, CONFIG, EARLY, KEPT, LAST, OUTDATED, UNFINISHED, run_folder
from starft.runs.limits import limits
from starft.safe_text import say

EPOCH = "epoch_progress"
BATCH = "epoch_loop.batch_progress"
VALIDATION = "epoch_loop.val_loop.batch_progress"
LOOP = "epoch_loop.state_dict"
"""Where Lightning keeps its counters in ``checkpoint["loops"]["fit_loop"]``."""
COUNTS = ("total", "current")


class MarkUnfinished(Callback):
    """Writes ``unfinished.json`` when training starts and removes it when training has come to its planned end.

    It holds ``steps``, those of the whole run (None without an end), and ``step``, after which it was stopped (None
    while it runs, and where it was killed). Early stopping is an end that was planned; ``early_stopping.json`` tells of
    it. Whatever else stops a run before its last step leaves the mark, and the activations that the run goes on with.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.path, self.early = folder / UNFINISHED, folder / EARLY
        self.started: int | None = None
        """Step that training began after; None where it didn't begin."""
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
            values = {"step": step, "steps": int(steps) if math.isfinite(steps) else None, "message": self.message}
            replace_file(self.early, (json.dumps(values) + "\n").encode())
        elif (trainer.max_epochs or 0) > 0 and epoch_is_partial(trainer):
            self.message = (
                f"trainer.max_steps ended the training after step {step}, in epoch {trainer.current_epoch} of "
                f"{trainer.max_epochs}."
            )
        for path in (self.path, *self.path.parent.glob(f"{KEPT}-*")):
            path.unlink(missing_ok=True)

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
    for item in trainer.callbacks if trainer.should_stop else ():  # type: ignore[attr-defined]
        if isinstance(item, EarlyStopping) and trainer.current_epoch - item.stopped_epoch <= 1:
            reason = getattr(item, "stopping_reason_message", None)
            if reason is not None:
                return str(reason).removesuffix(" Signaling Trainer to stop.")
            if item.wait_count >= item.patience:
                return f"{item.monitor} didn't improve {item.wait_count} times."
    return ""


def set_aside(folder: Path, names: Sequence[str] = OUTDATED) -> str:
    """Rename what tests and predictions of earlier checkpoints left in a run folder; return what is what now.

    Args:
        folder: The run folder.
        names: Of files and folders in it.
    """
    messages = []
    for name in names:
        path, number = folder / name, 1
        while (aside := path.with_stem(f"{path.stem}-{number}")).exists():
            number += 1
        if path.exists():
            path.rename(aside)
            messages.append(f"{name} is {aside.name}")
    return ", ".join(messages)


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
        value = json.loads((run_folder(checkpoint) / EARLY).read_text(encoding="utf-8"))
        return int(value["step"]), str(value["message"])
    except (OSError, ValueError, TypeError, KeyError):
        return -1, ""


def tell_end(trainer: L.Trainer, folder: Path, prefix: str = "") -> None:
    """Print how a training ended, the best validation value and its checkpoint, and how to test it.

    Args:
        trainer: After its training.
        folder: The run folder.
        prefix: What stands before the next command, so that it finds the config's own classes.

    Raises:
        ConfigError: No step was made.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, MarkUnfinished):
            step = trainer.global_step
            if callback.started is None or callback.started == step < trainer.estimated_stepping_batches:
                raise ConfigError(
                    "Nothing was trained: no batch was left, or a callback stopped the run before its first step; look "
                    "at trainer.limit_train_batches, max_time and callbacks, and at the size of the training data."
                )
            if callback.message:
                say(f"Note: {callback.message}", file=sys.stderr)
    checkpoint = folder / CHECKPOINTS / LAST
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, BestCheckpoint) and callback.best_model_score is not None:
            checkpoint = folder / CHECKPOINTS / BEST
            say(f"Best {callback.monitor}: {float(callback.best_model_score):.4f} ({checkpoint})")
        elif isinstance(callback, BestCheckpoint):
            say(f"Note: {callback.why_none(trainer)}", file=sys.stderr)
    if checkpoint.is_file():
        command = ["starft", "test", "--config", folder / CONFIG, "--ckpt_path", checkpoint]
        say(f"Next: {prefix}{shlex.join(map(str, command))}")
    else:
        say(f"Note: There is no {checkpoint}: nothing was saved that could be tested.", file=sys.stderr)


def notes_of_training(checkpoint: Path) -> list[str]:
    """Return what makes a checkpoint one of less than a run's whole plan and data, a sentence each.

    Args:
        checkpoint: That is scored.
    """
    try:
        config = read_yaml(run_folder(checkpoint) / CONFIG)
        trainer = dict(config["trainer"])
    except (OSError, ConfigError, KeyError, TypeError, ValueError):
        trainer = {}
    early, unfinished = read_early_stopping(checkpoint)[1], unfinished_note(checkpoint)
    return [note for note in (early, unfinished, *limits(trainer, "fit")) if note]


def epoch_is_partial(trainer: L.Trainer) -> bool:
    """Return whether the epoch has batches left that haven't been trained.

    Args:
        trainer: At the end of an epoch's loop, or after it.
    """
    progress = trainer.fit_loop.epoch_loop.batch_progress
    return 0 < progress.current.ready < trainer.num_training_batches and not progress.is_last_batch


def validation_is_due(trainer: L.Trainer) -> bool:
    """Return whether the plan of the run has a validation after the current batch, whatever asks to stop.

    Args:
        trainer: At the end of a batch. One that validates by the clock has no such plan.
    """
    loop, asked = trainer.fit_loop.epoch_loop, trainer.should_stop
    fetcher = trainer.fit_loop._data_fetcher
    if fetcher is None or getattr(trainer, "_val_check_time_interval", None) is not None:
        return False
    try:
        trainer.should_stop = False
        return loop._should_check_val_fx(fetcher)
    finally:
        trainer.should_stop = asked


def early_stopping_states(trainer: L.Trainer) -> dict[str, Any]:
    """Return the states of the callbacks that count epochs, as they are before the epoch's end is told.

    Args:
        trainer: With its callbacks.
    """
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return {
        callback.state_key: deepcopy(callback.state_dict())
        for callback in callbacks
        if isinstance(callback, EarlyStopping)
    }


def keep_what_is_due(checkpoint: dict[str, Any], trainer: L.Trainer, states: Mapping[str, Any]) -> None:
    """Let a run that goes on from a checkpoint train the rest of its epoch, and validate where that is due.

    Args:
        checkpoint: Lightning's, of a training; changed in place.
        trainer: That writes it.
        states: As `early_stopping_states` returned them at the end of a partial epoch.
    """
    loops = checkpoint["loops"]["fit_loop"]
    epoch, batch = loops[EPOCH], loops[BATCH]
    current = batch["current"]
    if epoch["current"]["processed"] == epoch["current"]["ready"] and epoch_is_partial(trainer):
        for count in COUNTS:  # the epoch goes on
            done = epoch[count]["ready"] - 1
            epoch[count].update(processed=done, completed=done)
        if validation_is_due(trainer):  # was done, and Lightning will count its batch again
            loops[LOOP]["_batches_that_stepped"] -= 1
        for key in checkpoint.get("callbacks", {}).keys() & states.keys():
            checkpoint["callbacks"][key] = states[key]
    elif current["processed"] == current["ready"] == current["completed"] + 1 and validation_is_due(trainer):
        for count in COUNTS:  # the batch is done, and its validation has begun
            batch[count]["completed"] += 1
            loops[VALIDATION][count].update(ready=1, started=1, processed=0, completed=0)
        loops[VALIDATION]["is_last_batch"] = False
