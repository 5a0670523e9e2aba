"""Checkpoints that a run goes on from exactly: what Lightning's loops would skip after a stop is put right in them.

Lightning 2.6 counts an epoch as done that ended before its last batch (``max_steps``, ``should_stop``), and takes a
validation for done that was due at the step after which a checkpoint was written. A run that goes on from there would
skip the rest of the epoch, or the validation.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import EarlyStopping

EPOCH = "epoch_progress"
BATCH = "epoch_loop.batch_progress"
VALIDATION = "epoch_loop.val_loop.batch_progress"
LOOP = "epoch_loop.state_dict"
"""Where Lightning keeps its counters in ``checkpoint["loops"]["fit_loop"]``."""
COUNTS = ("total", "current")


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
    return {one.state_key: deepcopy(one.state_dict()) for one in callbacks if isinstance(one, EarlyStopping)}


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
