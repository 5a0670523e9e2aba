"""What guards a training from inside: numbers that aren't finite go no further, and checkpoints miss nothing."""

import math
from typing import Any, cast

import lightning as L
import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from starft.clip.finite import LossWatch, check_loss, check_weights, tensors_in
from starft.distributed import clip_norm, is_sharded, rank, world_size
from starft.errors import ConfigError
from starft.evaluation.scoring import ScoringModule
from starft.losses.context import Progress
from starft.runs.checkpoints import TWIN
from starft.runs.ending import early_stopping_states, epoch_is_partial, keep_what_is_due
from starft.runs.limits import NO_END
from starft.training.unsupported_callbacks import check_callbacks
from starft.types import Batch

MOST_STEPS = 50
"""How many steps' losses may wait to be looked at."""


class GuardedModule(ScoringModule):
    """Stops at the first loss that isn't finite; weights that aren't are neither scored nor saved.

    A run that goes on from one of its checkpoints skips neither the rest of an epoch nor a validation.

    A subclass notes its losses in each step, and has a learning rate ``lr`` and a ``seed``.
    """

    lr: float
    seed: int

    def __init__(self) -> None:
        super().__init__()
        self._losses = LossWatch()
        self._early_stopping: dict[str, Any] = {}

    def configure_callbacks(self) -> list[L.Callback]:
        """Add none; refuse those of the trainer that can't work, before they are set up."""
        if self._is_fitting():
            check_callbacks(self.trainer.callbacks)  # type: ignore[attr-defined]
        return []

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run.

        Raises:
            ConfigError: It has no end.
        """
        steps = self.trainer.estimated_stepping_batches
        if math.isinf(steps):
            raise ConfigError(NO_END)
        return int(steps)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip gradients, those that are in parts with the others."""
        if gradient_clip_val and is_sharded(self.clip):
            clip_norm(self.parameters(), gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def _progress(self) -> Progress:
        epochs = self.trainer.max_epochs
        return Progress(
            step=self.global_step,
            total_steps=self.total_steps,
            epoch=self.current_epoch,
            total_epochs=epochs if epochs is not None and epochs > 0 else None,
        )

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Let dropout depend on seed, step and process: a run that goes on draws as one that was never stopped."""
        drawn = np.random.SeedSequence([self.seed, self.global_step, batch_idx, rank()])
        seed = int(drawn.generate_state(1, np.uint64)[0])
        torch.default_generator.manual_seed(seed)  # torch.manual_seed writes the stack down where there is no GPU
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Look at the losses: on a CPU at each step, elsewhere at each logging, for the device is waited for."""
        alone = self.device.type == "cpu" and world_size() == 1
        every = 1 if alone else min(cast(Any, self.trainer).log_every_n_steps or MOST_STEPS, MOST_STEPS)
        if (batch_idx + 1) % every == 0:
            check_loss(self._losses, self._advice())

    def on_train_epoch_end(self) -> None:
        """Note what an epoch that goes on after a stop is to begin with; Lightning asks those who count epochs next."""
        self._early_stopping = early_stopping_states(self.trainer) if epoch_is_partial(self.trainer) else {}

    def on_validation_epoch_start(self) -> None:
        """Score finite weights alone."""
        self.check_finite()
        super().on_validation_epoch_start()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save finite numbers alone, and what the run has still to do."""
        self.check_finite(checkpoint.get("optimizer_states"))
        if self._is_fitting() and self.trainer.fit_loop._data_fetcher is not None:
            keep_what_is_due(checkpoint, self.trainer, self._early_stopping)

    def check_finite(self, optimizer_states: Any = None) -> None:
        """Refuse to go on with losses or weights that aren't finite.

        Args:
            optimizer_states: What else must be; None for nothing.

        Raises:
            NotFiniteError: There is a NaN or an infinity.
        """
        check_loss(self._losses, self._advice())
        step = self.global_step if self._trainer is not None else 0
        weights = ((name, value) for name, value in self.state_dict().items() if not name.startswith(TWIN))
        moments: list[tuple[str, Tensor]] = [*tensors_in(optimizer_states or {}, "the optimizer's state")]
        check_weights((*weights, *moments), f" after step {step}" if step else "", self._advice())

    def _is_fitting(self) -> bool:
        return self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING

    def _advice(self) -> str:
        """Return what to try, a sentence's end."""
        precision = str(self.trainer.precision) if self._trainer is not None else ""
        wider = f", set trainer.precision (it is {precision}) to bf16-mixed or 32-true" if "16" in precision else ""
        return f"lower model.lr (it is {self.lr:g}) or the weights of the terms{wider}, or check the data"
