"""Exponential moving average of the weights that are trained, as a callback: what is validated, tested and kept.

Lightning's own `WeightAveraging` copies the whole module before the linear head is made, and puts the frozen twin into
every checkpoint; this one averages what is trained, and nothing else.
"""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from starft.callbacks.dfr import DFR
from starft.callbacks.two_trainings import TwoTrainings
from starft.errors import ConfigError
from starft.runs.checkpoints import RAW


class WeightEMA(Callback):
    """Validate, test and keep an exponential moving average of the trained weights.

    After each optimizer step ``average <- decay * average + (1 - decay) * weights``, starting from the weights before
    the first one. Checkpoints hold the average where any reader looks for weights, and the trained weights beside it,
    with which a run is continued. One more copy of what is trained is held in memory.

    Args:
        decay: Share of the old average in the new one, in [0, 1); about 1 / (1 - decay) steps are averaged.
    """

    needs_whole_weights = True
    """FSDP has weights in parts, and refuses to train with it."""

    def __init__(self, decay: float = 0.99) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"decay of WeightEMA must lie in [0, 1); got {decay}.")
        self.decay = decay
        self._average: dict[str, Tensor] = {}
        self._raw: dict[str, Tensor] = {}
        self._step = 0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse, before training, adapters, and callbacks that put other weights in the place of the averaged ones.

        Raises:
            ConfigError: There is one.
        """
        if getattr(pl_module, "adapter", None) is not None:
            raise ConfigError(
                "WeightEMA averages weights, and the average of updates of low rank is none of low rank; leave it out, "
                "and average checkpoints with `starft soup`, or set model.adapter to null."
            )
        for other in trainer.callbacks if stage == "fit" else ():  # type: ignore[attr-defined]
            if isinstance(other, TwoTrainings | DFR):
                does = (
                    "starts the run anew in its middle"
                    if isinstance(other, TwoTrainings)
                    else "refits the head at its end"
                )
                raise ConfigError(
                    f"WeightEMA averages the weights of a whole run, and {type(other).__name__} {does}; "
                    "leave one of the two out of trainer.callbacks."
                )

    @torch.no_grad()
    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start from the weights as they are; those of a checkpoint are its average, and training has its own."""
        self._step = trainer.global_step
        self._average = {name: weight.detach().clone() for name, weight in _trained(pl_module).items()}
        for name, weight in _trained(pl_module).items():
            if name in self._raw:
                weight.copy_(self._raw[name])
        self._raw = {}

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the average, if there was a step."""
        if trainer.global_step > self._step:
            self._step = trainer.global_step
            weights = _trained(pl_module)
            torch._foreach_lerp_(list(self._average.values()), [weights[k] for k in self._average], 1 - self.decay)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the average in the place of the weights."""
        self._swap(pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the weights back."""
        self._swap(pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the average in the module."""
        self._swap(pl_module)
        self._average = {}

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write the average as the weights, and the weights beside it."""
        if self._average:
            state = checkpoint["state_dict"]
            checkpoint[RAW] = {name: state[name] for name in self._average}
            state.update(self._average)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note the weights to go on with; they are put in place once the average has been taken."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._raw = checkpoint.get(RAW, {})

    @torch.no_grad()
    def _swap(self, module: L.LightningModule) -> None:
        """Exchange average and weights; before training there is no average."""
        weights = _trained(module)
        for name, average in self._average.items():
            kept = weights[name].detach().clone()
            weights[name].copy_(average)
            average.copy_(kept)


def _trained(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
