"""Ctrl-C, SIGTERM and the end of ``max_time``: the step is finished, all is saved, and the run can go on."""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, EarlyStopping, Timer
from lightning.pytorch.trainer.states import TrainerFn

from starft.distributed import max_over_processes
from starft.errors import ConfigError, Stopped
from starft.runs.layout import CHECKPOINTS, LAST, PREDICTIONS
from starft.signals import STOPS
from starft.wording import did_you_mean

OUT_OF_TIME = 1000
"""Stands for the end of ``max_time`` where signals are numbers."""
TIMED_OUT = 124
"""Exit status of a run that ``max_time`` ended before its plan did, as that of timeout(1)."""


class StopBetweenBatches(Callback):
    """On Ctrl-C or SIGTERM, stop before the next batch is looked at.

    Once the trainer is set up, signals are noted and nothing else: an error out of nowhere could be lost where data
    workers start or end, and after Lightning's own handler the command would end with status 0.

    A second Ctrl-C stops at once; a second SIGTERM changes nothing: schedulers and launchers send it twice to the same
    process. A trainer that has this runs inside of `heard`.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._before: dict[int, Any] = {}
        self._process = 0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Listen: the workers are started next."""
        self._listen()

    def _listen(self) -> None:
        if threading.current_thread() is threading.main_thread():  # only there are signals heard
            self._process = os.getpid()
            for number in STOPS:
                self._before.setdefault(number, signal.signal(number, self._note))

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker of somebody's own, forked a moment ago: it would wait for ever
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.received = self.received or number
        signal.signal(signal.SIGINT, signal.default_int_handler)

    @contextmanager
    def heard(self, trainer: L.Trainer) -> Iterator[None]:
        """Take signals as before when a trainer has ended, and tell of one, whatever became of it.

        Lightning makes an exit of Ctrl-C. Workers that hear signals, as those of somebody's own DataModule, end at
        them, and torch raises an error wherever the run is, which what runs there may turn into another. A signal may
        come too late to stop anything.

        Args:
            trainer: That has this callback.

        Raises:
            KeyboardInterrupt: Ctrl-C came before the trainer was set up, or twice.
            Stopped: A signal has come.
        """
        lost_error = sys.unraisablehook
        sys.unraisablehook = lambda lost: None if self._of_a_stop(lost.exc_value) else lost_error(lost)
        try:
            yield
        except Stopped:
            raise
        except (SystemExit, Exception) as error:
            of_a_stop = isinstance(error, SystemExit) or _lost_a_worker(error)
            if of_a_stop and (cause := self._cause_of(error, trainer)) is not None:
                raise cause from None
            raise
        finally:
            sys.unraisablehook = lost_error
            for number, handler in self._before.items():
                signal.signal(number, handler)
            self._before.clear()
        if self.received not in (None, OUT_OF_TIME):
            raise self._stopped(trainer)

    def on_validation_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        """Stop a validation of its own, or the trial validation before a training."""
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING:
            self.stop_if_asked(trainer)

    def on_test_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        """Stop a test."""
        self.stop_if_asked(trainer)

    def on_predict_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        """Stop a prediction, each process by itself: they may have different numbers of batches."""
        self.stop_if_asked(trainer, together=False)

    def stop_if_asked(self, trainer: L.Trainer, together: bool = True) -> None:
        """Stop if a signal has come.

        Args:
            trainer: That is stopped.
            together: Stop where any process heard it; all of them ask.

        Raises:
            Stopped: One has.
        """
        output = self.received or 0
        self.received = (max_over_processes(output) if together else output) or None
        if self.received is not None:
            raise self._stopped(trainer)

    def _of_a_stop(self, error: BaseException | None) -> bool:
        """Return whether Python tells, between two processes or threads that start, of workers that a stop ended.

        The error that torch raises for a worker meets a thread that starts as well, which then isn't known any more.
        """
        of_a_thread = isinstance(error, KeyError) and any(isinstance(key, threading.Thread) for key in error.args)
        return self.received is not None and (of_a_thread or _lost_a_worker(error))

    def _cause_of(self, error: BaseException, trainer: L.Trainer) -> BaseException | None:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, KeyboardInterrupt):
            cause = cause.__context__
        if cause is None and self.received is not None and not isinstance(error, SystemExit):
            return self._cut_off(trainer)
        return cause

    def _stopped(self, trainer: L.Trainer) -> Stopped:
        if trainer.state.finished:
            return self._because("at the end: all is written.", trainer)
        rows = Path(trainer.default_root_dir) / PREDICTIONS
        away = f"move {rows} away, which holds whole rows, and " if trainer.predicting and rows.is_file() else ""
        return self._because(f"before the end; {away}give the same command again.", trainer)

    def _cut_off(self, trainer: L.Trainer) -> Stopped:
        return self._stopped(trainer)

    def _because(self, told: str, trainer: L.Trainer) -> Stopped:
        return Stopped(f"Stopped {told}", 128 + (self.received or 0), trainer.is_global_zero)


class StopSafely(StopBetweenBatches):
    """On Ctrl-C, SIGTERM or the end of ``max_time``, finish the step, write ``last.ckpt`` and stop.

    Where gradients of several batches are added up, the step is finished with all of them.

    Where the step ends an epoch, its validation and checkpoints come first, so that ``best.ckpt`` misses none. Several
    processes stop at the same step, whichever of them heard the signal, or has run out of time.

    A run that goes on has ``max_time`` anew: it bounds a process, as a scheduler's limit does.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._began = self._saved = False
        self._step = 0
        self._limit = self._deadline = math.inf

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
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if (
                isinstance(callback, EarlyStopping)
                and callback.monitor.startswith("val/")
                and callback.monitor not in known
            ):
                raise ConfigError(
                    f"EarlyStopping in trainer.callbacks monitors {callback.monitor!r}, but validation logs "
                    f"{', '.join(known)}; give one of these.{did_you_mean(callback.monitor, known)}"
                )

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over the clock: Lightning's would end the epoch as if it were whole."""
        for timer in _timers(trainer):
            if timer._interval == "step" and timer._duration is not None:
                self._limit = min(self._limit, timer._duration)
                timer._duration = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop if a signal has come; else start the clock, and take SIGTERM back from Lightning's handler."""
        self.stop_if_asked(trainer)
        self._listen()
        self._began = True
        self._deadline = time.monotonic() + self._limit

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save here, where the state is whole; the step's numbers are logged after this."""
        if trainer.global_step == self._step:
            return  # gradients wait for more batches, and no checkpoint holds them
        output = self.received or (OUT_OF_TIME if time.monotonic() >= self._deadline else 0)
        self.received = max_over_processes(output) or None
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
        if not self._began:
            return self._because("before the first step; give the same command again.", trainer)
        late = self.received == OUT_OF_TIME
        why = f" of {trainer.estimated_stepping_batches}, as trainer.max_time is over" if late else ""
        return Stopped(
            f"Stopped after step {trainer.global_step}{why}; continue with the same command and "
            f"--ckpt_path {self._last}.",
            TIMED_OUT if late else 128 + (self.received or 0),
            trainer.is_global_zero,
        )

    def _cut_off(self, trainer: L.Trainer) -> Stopped:
        if not self._began:
            return self._stopped(trainer)
        again = "give the same command again"
        if self._last.is_file():
            again = f"continue with the same command and --ckpt_path {self._last}"
        return self._because(f"in step {trainer.global_step + 1}, with its data workers; {again}.", trainer)


def _timers(trainer: L.Trainer) -> list[Timer]:
    return [callback for callback in trainer.callbacks if isinstance(callback, Timer)]  # type: ignore[attr-defined]


def _lost_a_worker(error: BaseException | None) -> bool:
    """Return whether a data worker ended; Lightning may fail anew while it cleans up after that error."""
    while error is not None:
        if "DataLoader worker (pid" in str(error):
            return True
        error = error.__context__
    return False
