"""A run that is two trainings: the first tells something of the training images, the second starts anew with it."""

from abc import abstractmethod
from collections.abc import Iterator
from functools import partial
from typing import Any, ClassVar, NamedTuple

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from starft.clip.finite import check_features
from starft.errors import ConfigError, check_between
from starft.evaluation.evaluator import Evaluator
from starft.losses.base import Term
from starft.runs.kept_checkpoints import BestCheckpoint
from starft.training.module import FinetuneModule
from starft.types import Batch, EvalSet, WeighingData

MOST = 100_000
"""Epochs, and whatever else is counted."""


class Scored(NamedTuple):
    """Some training images as the model sees them in evaluation.

    Args:
        batch: As the loader yields it.
        features: Unit rows (B, D).
        logits: Of the training classes (B, C).
    """

    batch: Batch
    features: Tensor
    logits: Tensor


class TwoTrainings(Callback):
    """What such methods share; ``trainer.max_epochs`` counts both trainings, each with its own warm-up and cosine.

    A subclass says what the first training tells (`look`) and what the second does with it (`use`).

    Args:
        epochs: Epochs of the first training, at least 1 and fewer than ``trainer.max_epochs``.
        settings: The other arguments, by name; a run goes on with the same.
    """

    needs_whole_weights = True
    """FSDP has weights in parts, and refuses to train with it."""
    result_name: ClassVar[str]
    """What a checkpoint calls the result."""

    def __init__(self, epochs: int, settings: dict[str, Any]) -> None:
        check_between(f"epochs of {self.name}", epochs, 1, MOST)
        self.epochs, self.settings = epochs, {"epochs": epochs} | settings
        self.result: Any = None
        """What the first training told, plain values; null before it is over."""

    @property
    def name(self) -> str:
        """What messages call it."""
        return type(self).__name__

    @abstractmethod
    def look(self, trainer: L.Trainer, module: FinetuneModule) -> Any:
        """Return what the model tells of the training images at the end of the first training."""

    @abstractmethod
    def use(self, trainer: L.Trainer, module: FinetuneModule, anew: bool) -> None:
        """Let the second training go by the result.

        Args:
            trainer: Of the run.
            module: The model.
            anew: Whether it begins now; else a run goes on within it.
        """

    def goes_on(self, term: Term) -> bool:
        """Return whether a term has a memory that would outlive the first training."""
        return term.teacher is not None or term.schedule != "constant" or any(True for _ in term.buffers())

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
                f"epochs of {self.name} must be fewer than trainer.max_epochs, which counts both trainings and alone "
                f"must bound the run; got {self.epochs} and {trainer.max_epochs}."
            )
        if not isinstance(data, WeighingData):
            raise ConfigError(
                f"{self.name} can't weigh images of {type(data).__name__}; give a DataModule of starft.data."
            )
        if self.result is None:
            data.upsample([], 1)  # refuses data that are sampled in another way
        for name, term in module.terms.items():
            assert isinstance(term, Term)
            if self.goes_on(term):
                raise ConfigError(
                    f"{self.name} starts the run anew in its middle, and {name} would go on from the first training; "
                    "leave it out, or give it teacher frozen and schedule constant."
                )

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on where a checkpoint was written, be it between the two trainings: then no epoch start is told."""
        if self.result is not None:
            self.use(trainer, _module(pl_module), anew=False)
        self._begin_again(trainer, _module(pl_module))

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin the second training where the first is over."""
        self._begin_again(trainer, _module(pl_module))

    def _begin_again(self, trainer: L.Trainer, module: FinetuneModule) -> None:
        if self.result is not None or trainer.current_epoch < self.epochs:
            return
        module.check_finite()
        self.result = trainer.strategy.broadcast(self.look(trainer, module))
        module.restart()
        for optimizer in trainer.optimizers:
            optimizer.state.clear()
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, BestCheckpoint):
                callback.forget()
        self.use(trainer, module, anew=True)

    @torch.no_grad()
    def scored(self, trainer: L.Trainer, module: FinetuneModule) -> Iterator[Scored]:
        """Yield all training images in their order, seen as in evaluation; those that can't be read are left out.

        Args:
            trainer: Of the run.
            module: The model.
        """
        scorer = Evaluator([EvalSet("train", module.class_names, module.templates)])
        module.clip.eval()
        scorer.prepare(module.clip, module.class_names, module.linear_head)
        encode = partial(module.features, module.clip)
        for batch in trainer.datamodule.plain_train_dataloader():  # type: ignore[attr-defined]
            features = encode(batch)
            check_features(features)
            yield Scored(batch, features, scorer.logits(0, features))
        module.clip.train()

    def state_dict(self) -> dict[str, Any]:
        """Return settings and result, for a checkpoint."""
        return self.settings | {self.result_name: self.result}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the result of a checkpoint.

        Raises:
            ConfigError: Its run had other settings.
        """
        theirs = {name: state_dict.get(name) for name in self.settings}
        if theirs != self.settings:
            had, has = (
                ", ".join(f"{name} {value}" for name, value in item.items()) for item in (theirs, self.settings)
            )
            raise ConfigError(
                f"The checkpoint's {self.name} has {had}, the config {has}; continue it with its own config."
            )
        self.result = state_dict[self.result_name]


def _module(pl_module: L.LightningModule) -> FinetuneModule:
    assert isinstance(pl_module, FinetuneModule)
    return pl_module
