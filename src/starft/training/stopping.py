"""Ctrl-C, SIGTERM and the end of ``max_time``: the step is finished, all is saved, and the run can go on."""

import math
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, EarlyStopping, Timer

from starft.distributed import highest
from starft.errors import ConfigError, Stopped
from starft.runs.layout import CHECKPOINTS, LAST
from starft.wording import did_you_mean

OUT_OF_TIME = 1000
"""Stands for the end of ``max_time`` where signals are numbers."""
TIMED_OUT = 124
"""Exit status of a run that ``max_time`` ended before its plan did, as that of timeout(1)."""


class StopSafely(Callback):
    """On Ctrl-C, SIGTERM or the end of ``max_time``, finish the step, write ``last.ckpt`` and stop.

    A second Ctrl-C stops at once; a second SIGTERM changes nothing: schedulers and launchers send it twice to the same
    process. Where gradients of several batches are added up, the step is finished with all of them.

    Where the step ends an epoch, its validation and checkpoints come first, so that ``best.ckpt`` misses none. Several
    processes stop at the same step, whichever of them heard the signal, or has run out of time.

    A run that goes on has ``max_time`` anew: it bounds a process, as a scheduler's limit does.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.received: int | None = None
        self._saved = False
        self._step = 0
        self._limit = self._deadline = math.inf
        self._before: dict[int, Any] = {}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let no timer go on from the time of an earlier process, and early stopping have the patience it is given."""
        states = checkpoint.get("callbacks", {})
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Timer):
                states.pop(callback.state_key, None)
            elif isinstance(callback, EarlyStopping) and callback.state_key in states:
                states[callback.state_key]["patience"] = callback.patience

    def on_sanity_check_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look for the metric that early stopping waits for among those of the trial validation."""
        known = sorted(trainer.callback_metrics)
        for one in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(one, EarlyStopping) and one.monitor.startswith("val/") and one.monitor not in known:
                raise ConfigError(
                    f"EarlyStopping in trainer.callbacks monitors {one.monitor!r}, but validation logs "
                    f"{', '.join(known)}; give one of these.{did_you_mean(one.monitor, known)}"
                )

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over the clock: Lightning's would end the epoch as if it were whole."""
        for timer in _timers(trainer):
            if timer._interval == "step" and timer._duration is not None:
                self._limit = min(self._limit, timer._duration)
                timer._duration = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listen, and start the clock."""
        self._deadline = time.monotonic() + self._limit
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = self.received or number
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save here, where the state is whole; the step's numbers are logged after this."""
        if trainer.global_step == self._step:
            return  # gradients wait for more batches, and no checkpoint holds them
        heard = self.received or (OUT_OF_TIME if time.monotonic() >= self._deadline else 0)
        self.received = highest(heard) or None
        if self.received is not None:
            trainer.save_checkpoint(self._last)
            self._saved = True

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Stop before the next step."""
        if self._saved:
            raise self._stopped(trainer)
        self._step = trainer.global_step

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop between two epochs: the first one has been validated, and its checkpoints are written."""
        if self._saved:
            raise self._stopped(trainer)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tell of a signal that came in the last epoch, too late to stop it."""
        if self.received not in (None, OUT_OF_TIME):
            raise self._stopped(trainer)

    @property
    def _last(self) -> Path:
        return self.folder / CHECKPOINTS / LAST

    def _stopped(self, trainer: L.Trainer) -> Stopped:
        late = self.received == OUT_OF_TIME
        why = f" of {trainer.estimated_stepping_batches}, as trainer.max_time is over" if late else ""
        return Stopped(
            f"Stopped after step {trainer.global_step}{why}; continue with the same command and "
            f"--ckpt_path {self._last}.",
            TIMED_OUT if late else 128 + (self.received or 0),
            trainer.is_global_zero,
        )

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop listening."""
        self._restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Stop listening."""
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()


def _timers(trainer: L.Trainer) -> list[Timer]:
    return [one for one in trainer.callbacks if isinstance(one, Timer)]  # type: ignore[attr-defined]
