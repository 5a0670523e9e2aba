"""Exponential moving average of the weights that are trained, as a callback: what is validated, tested and kept.

Lightning's own `WeightAveraging` copies the whole module before the linear head is made, and puts the frozen twin into
every checkpoint; this one averages what is trained, and nothing else.

Of an adapter it averages the merged weights. Their frozen parts don't move, so that is to average the updates
``up @ down``; a mean of products of low rank is of any rank, and is held whole. In the place of an update it stands as
a product with an identity, so whatever reads updates reads it.
"""

from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from starft.callbacks.dfr import DFR
from starft.callbacks.two_trainings import TwoTrainings
from starft.clip.lora import MARK
from starft.clip.low_rank import LowRank
from starft.errors import ConfigError
from starft.runs.checkpoints import RAW


class WeightEMA(Callback):
    """Validate, test and keep an exponential moving average of the trained weights.

    After each optimizer step ``average <- decay * average + (1 - decay) * weights``, starting from the weights before
    the first one. Checkpoints hold the average where any reader looks for weights, and the trained weights beside it,
    with which a run is continued. One more copy of what is trained is held in memory; of an adapter, one of each weight
    that has an update.

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
        self._loaded: dict[str, Tensor] = {}
        self._step = 0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse, before training, callbacks that put other weights in the place of the averaged ones.

        Raises:
            ConfigError: There is one.
        """
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
        """Start from the weights as they are, or from the average that a checkpoint held."""
        self._step = trainer.global_step
        weights, loaded = _trained(pl_module), self._loaded
        self._average = {
            name: loaded.get(name, weight).detach().to(weight, copy=True)
            for name, weight in weights.items()
            if MARK not in name
        }
        identities: dict[int, Tensor] = {}  # one for all of a size, here and in checkpoints
        for up, down, update in _trained_updates(pl_module):
            product = _whole(loaded[up], loaded[down]) if up in loaded else update.up @ update.down
            size = min(product.shape)
            one = identities.setdefault(size, torch.eye(size).to(update.up))
            pair = (product.to(one), one) if len(product) == max(product.shape) else (one, product.to(one))
            self._average |= zip((up, down), pair, strict=True)
        self._loaded = {}

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the average, if there was a step."""
        if trainer.global_step > self._step:
            self._step = trainer.global_step
            weights, plain = _trained(pl_module), [name for name in self._average if MARK not in name]
            if plain:
                torch._foreach_lerp_([self._average[k] for k in plain], [weights[k] for k in plain], 1 - self.decay)
            for up, down, update in _trained_updates(pl_module):
                average = _whole(self._average[up], self._average[down])
                average.addmm_(update.up, update.down, beta=self.decay, alpha=1 - self.decay)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the average in the place of the weights."""
        self._swap(pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the weights back."""
        self._swap(pl_module)

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the average in the module, each weight with numbers of its own."""
        self._swap(pl_module)
        for weight in _trained(pl_module).values():
            weight.data = weight.data.clone()
        self._average = {}

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Write the average as the weights, and the weights beside it."""
        if self._average:
            state = checkpoint["state_dict"]
            checkpoint[RAW] = {name: state[name] for name in self._average}
            state.update(self._average)

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the average, which is in the module by now, and put the weights back that training goes on with."""
        if trainer.state.fn == TrainerFn.FITTING and RAW in checkpoint:
            self._loaded = {name: checkpoint["state_dict"][name] for name in checkpoint[RAW]}
            for name, weight in _trained(pl_module).items():
                if name in checkpoint[RAW]:
                    weight.data = checkpoint[RAW][name].to(weight, copy=True)

    def _swap(self, module: L.LightningModule) -> None:
        """Exchange average and weights; before training there is no average."""
        weights = _trained(module)
        for name, average in self._average.items():
            self._average[name], weights[name].data = weights[name].data, average


def _trained(module: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in module.named_parameters() if weight.requires_grad}


def _trained_updates(module: nn.Module) -> Iterator[tuple[str, str, LowRank]]:
    """Yield the updates that are trained, with the names of their factors."""
    for path, part in module.named_modules():
        if isinstance(part, LowRank) and part.up.requires_grad:
            yield f"{path}.up", f"{path}.down", part


def _whole(up: Tensor, down: Tensor) -> Tensor:
    """Return the averaged update (O, I), which is one of its factors; the other one is an identity."""
    return up if len(up) >= down.shape[1] else down
