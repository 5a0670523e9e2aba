"""The checkpoints that a training keeps: its last, and the one that a validation metric likes best."""

import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from starft.errors import ConfigError
from starft.runs.layout import BEST, CHECKPOINTS, LAST
from starft.safe_text import say
from starft.wording import count_of, did_you_mean


def check_monitor(monitor: str | None, validated: Sequence[str]) -> None:
    """Refuse a metric of a set that isn't validated.

    Args:
        monitor: Such as ``val/id/acc``, or None.
        validated: Names of the validation sets, the training data's own first.

    Raises:
        ConfigError: It isn't one of them.
    """
    named = re.fullmatch(r"val/([^/]+)/(\w+)", monitor or "")
    if named is None or named[1] in validated:
        return
    if not validated:
        raise ConfigError(f"checkpoint.monitor is {monitor!r}, but nothing is validated; give null.")
    are = "sets are" if len(validated) > 1 else "set is"
    raise ConfigError(
        f"checkpoint.monitor is {monitor!r}, but the validation {are} called {', '.join(validated)}; "
        f"give --checkpoint.monitor val/{validated[0]}/{named[2]}, or null."
    )


class BestCheckpoint(ModelCheckpoint):
    """Keeps the checkpoint that a validation metric likes best; a metric that isn't there is told before training."""

    not_finite = False
    """Whether the metric was not a number at some validation."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best so far, also where the run folder was moved or copied: Lightning forgets it then."""
        here = Path(str(self.dirpath)) / f"{self.filename}.ckpt"
        if state_dict["dirpath"] != self.dirpath and state_dict["best_model_path"] and here.is_file():
            value = dict.fromkeys(("best_model_path", "kth_best_model_path"), str(here))
            best = {"best_k_models": {str(here): state_dict["best_model_score"]}}
            state_dict = {**state_dict, **value, **best, "dirpath": self.dirpath}
        super().load_state_dict(state_dict)

    def forget(self) -> None:
        """Let the next validation be the best so far: what came before it is no longer this run's result."""
        self.best_model_score, self.best_k_models = None, {}
        self.best_model_path = self.kth_best_model_path = ""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Look for the eval set that the metric names, as soon as the data are known."""
        if stage == "fit":
            data = trainer.datamodule  # type: ignore[attr-defined]
            check_monitor(self.monitor, [val_set.name for val_set in data.val_sets])
        super().setup(trainer, pl_module, stage)

    def on_sanity_check_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look for the metric among those of the trial validation."""
        if self.monitor is not None and self.monitor not in trainer.callback_metrics:
            known = sorted(trainer.callback_metrics)
            if not known:
                raise ConfigError(
                    f"checkpoint.monitor is {self.monitor!r}, but the data hold nothing to validate on; "
                    "give them a val split or a val_fraction, or set checkpoint.monitor to null."
                )
            raise ConfigError(
                f"checkpoint.monitor is {self.monitor!r}, but validation logs {', '.join(known)}; "
                f"give one of these, or null.{did_you_mean(self.monitor, known)}"
            )

    def check_monitor_top_k(self, trainer: L.Trainer, current: Tensor | None = None) -> bool:
        """Return whether a value is the best so far; one that isn't a finite number chooses nothing."""
        if current is None or math.isfinite(float(current)):
            return bool(super().check_monitor_top_k(trainer, current))
        self.not_finite = True
        if trainer.is_global_zero:
            say(
                f"Note: {self.monitor} is {float(current)} after step {trainer.global_step}: no checkpoint is chosen.",
                file=sys.stderr,
            )
        return False

    def why_none(self, trainer: L.Trainer) -> str:
        """Return a sentence on a run that ended without ``best.ckpt``: why, and what to set.

        Args:
            trainer: After the run.
        """
        if self.not_finite:
            return (
                f"There is no best.ckpt: {self.monitor} was never a number, as no validation image counts in it; "
                "set checkpoint.monitor to another metric, or validate on more images."
            )
        every, batches = trainer.check_val_every_n_epoch, trainer.fit_loop.epoch_loop.total_batch_idx + 1
        epochs = int(batches // trainer.num_training_batches)
        ended = "There is no best.ckpt: the run ended before its first validation"
        if trainer.limit_val_batches == 0:
            return (
                "There is no best.ckpt: nothing is validated where trainer.limit_val_batches is 0; "
                "leave it out, or set checkpoint.monitor to null."
            )
        if every is not None and every > epochs > 0:
            return (
                f"{ended}, as trainer.check_val_every_n_epoch is {every} and it had {count_of(epochs, 'whole epoch')}; "
                f"set it to at most {epochs}, or train longer."
            )
        first = "" if every in (None, 1) else "trainer.check_val_every_n_epoch to 1 and "
        return (
            f"{ended}, after {batches} {'batch' if batches == 1 else 'batches'}; "
            f"set {first}trainer.val_check_interval to at most {batches}, or train longer."
        )


class LastCheckpoint(ModelCheckpoint):
    """Keeps the latest checkpoint; of its own class, so that a config may have checkpoints of Lightning's beside it."""


def checkpoint_callbacks(
    folder: Path, monitor: str | None, mode: str, every_n_train_steps: int | None
) -> list[ModelCheckpoint]:
    """Return the callbacks that keep ``last.ckpt`` and, where something is monitored, ``best.ckpt``.

    Args:
        folder: The run folder.
        monitor: A validation metric, or None.
        mode: ``max`` or ``min``.
        every_n_train_steps: Write ``last.ckpt`` this often too, and not only after each epoch.
    """
    where: dict[str, Any] = {"dirpath": folder / CHECKPOINTS, "enable_version_counter": False}
    callbacks: list[ModelCheckpoint] = []
    if monitor is not None:  # first: last.ckpt must know which one is the best by now
        callbacks.append(BestCheckpoint(filename=Path(BEST).stem, monitor=monitor, mode=mode, **where))
    callbacks.append(LastCheckpoint(filename=Path(LAST).stem, every_n_epochs=1, save_on_train_epoch_end=True, **where))
    if every_n_train_steps is not None:
        callbacks.append(LastCheckpoint(filename=Path(LAST).stem, every_n_train_steps=every_n_train_steps, **where))
    return callbacks
