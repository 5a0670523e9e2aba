"""JTT: train, find the training errors, train again from the start with the errors upsampled.

Paper: Liu et al., Just Train Twice: Improving Group Robustness without Training Group Information, ICML 2021,
arXiv 2107.09044, algorithm 1. Deviations: both trainings are parts of one run, each with its own warm-up and cosine;
an epoch of the second keeps the length of the data, as the head of a shuffle in which each error counts ``factor``
times, so that the run's steps are known from the start; early stopping is ``best.ckpt``, by a worst validation group.
"""

import sys
from functools import partial
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_info

from starft.clip.finite import check_features
from starft.errors import ConfigError, DataError, check_between
from starft.evaluation.evaluator import Evaluator
from starft.losses.base import Term
from starft.runs.kept_checkpoints import BestCheckpoint
from starft.safe_text import say
from starft.training.module import FinetuneModule
from starft.types import EvalSet, UpsamplingData
from starft.wording import count_of

MOST = 100_000
"""Epochs, and copies of an error."""


class JTT(Callback):
    """Just train twice: after some epochs, start anew with the training images that the model has wrong upsampled.

    ``trainer.max_epochs`` counts both trainings. Groups are needed for validation only.

    Args:
        epochs: Epochs of the first training, at least 1 and fewer than ``trainer.max_epochs``.
        factor: How often each error counts in the second training, at least 1.
    """

    needs_whole_weights = True
    """FSDP has weights in parts, and refuses to train with it."""

    def __init__(self, epochs: int, factor: int) -> None:
        for name, value in (("epochs", epochs), ("factor", factor)):
            check_between(f"{name} of JTT", value, 1, MOST)
        self.epochs, self.factor = epochs, factor
        self.errors: list[int] | None = None
        """Positions of the training errors; null before they are known."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Let the learning rate start anew where the second training begins."""
        if stage == "fit":
            _module(pl_module).restart_epoch = self.epochs

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse, before training, what can't be trained twice."""
        module = _module(pl_module)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        if trainer.max_steps != -1 or trainer.max_epochs is None or not self.epochs < trainer.max_epochs:
            raise ConfigError(
                f"epochs of JTT must be fewer than trainer.max_epochs, which counts both trainings and alone must "
                f"bound the run; got {self.epochs} and {trainer.max_epochs}."
            )
        if not any(val_set.group_names and val_set.class_names == module.class_names for val_set in data.val_sets):
            raise DataError(
                "JTT is chosen by the worst group of a validation set with the training classes, and none has groups; "
                "give data with an attribute or a group."
            )
        if not isinstance(data, UpsamplingData):
            raise ConfigError(f"JTT can't upsample images of {type(data).__name__}; give a DataModule of starft.data.")
        if self.errors is None:
            data.upsample([], 1)  # refuses data that are sampled in another way
        for name, term in module.terms.items():
            assert isinstance(term, Term)
            if term.teacher is not None or term.schedule != "constant" or any(True for _ in term.buffers()):
                raise ConfigError(
                    f"JTT starts the run anew in its middle, and {name} would go on from the first training; "
                    "leave it out, or give it teacher frozen and schedule constant."
                )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on where a checkpoint was written, be it between the two trainings: then no epoch start is told."""
        if self.errors is not None:
            trainer.datamodule.upsample(self.errors, self.factor)  # type: ignore[attr-defined]
        self._begin_again(trainer, _module(pl_module))

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin the second training where the first is over."""
        self._begin_again(trainer, _module(pl_module))

    def _begin_again(self, trainer: L.Trainer, module: FinetuneModule) -> None:
        if self.errors is not None or trainer.current_epoch < self.epochs:
            return
        module.check_finite()
        self.errors = self._mistakes(trainer, module)
        rank_zero_info(f"JTT: {len(self.errors)} training errors count {self.factor} times from here on.")
        if not self.errors and trainer.is_global_zero:
            say(
                f"Note: After {count_of(self.epochs, 'epoch')} JTT finds no training error, so the second training "
                "is a plain one; a lower epochs finds more.",
                file=sys.stderr,
            )
        module.restart()
        for optimizer in trainer.optimizers:
            optimizer.state.clear()
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, BestCheckpoint):
                callback.forget()
        trainer.datamodule.upsample(self.errors, self.factor)  # type: ignore[attr-defined]

    @torch.no_grad()
    def _mistakes(self, trainer: L.Trainer, module: FinetuneModule) -> list[int]:
        """Return the positions of the training images that the model has wrong, seen as in evaluation."""
        scorer = Evaluator([EvalSet("train", module.class_names, module.templates)])
        module.clip.eval()
        scorer.prepare(module.clip, module.class_names, module.linear_head)
        encode, wrong = partial(module.features, module.clip), list[int]()
        for batch in trainer.datamodule.plain_train_dataloader():  # type: ignore[attr-defined]
            features = encode(batch)
            check_features(features)
            right = scorer.logits(0, features).argmax(dim=-1).cpu() == batch["label"]
            wrong += batch["index"][~right].tolist()
        module.clip.train()
        return sorted(wrong)

    def state_dict(self) -> dict[str, Any]:
        """Return the errors, for a checkpoint."""
        return {"epochs": self.epochs, "factor": self.factor, "errors": self.errors}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the errors of a checkpoint.

        Raises:
            ConfigError: Its run had other settings.
        """
        theirs, ours = ((item["epochs"], item["factor"]) for item in (state_dict, self.state_dict()))
        if theirs != ours:
            raise ConfigError(
                f"The checkpoint's JTT has epochs {theirs[0]} and factor {theirs[1]}, the config {ours[0]} and "
                f"{ours[1]}; continue it with its own config."
            )
        self.errors = state_dict["errors"]


def _module(pl_module: L.LightningModule) -> FinetuneModule:
    assert isinstance(pl_module, FinetuneModule)
    return pl_module
