"""DFR in a run: the head is refitted after the last step, before its validation and its checkpoint."""

import sys
from functools import partial
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_info

from starft.dfr import STRENGTHS, check_group_sizes, fit_dfr
from starft.errors import ConfigError, DataError, check_between
from starft.finetune import FinetuneModule
from starft.probe import check_strengths, rows_of
from starft.types import GroupedData

MOST_DRAWS = 10_000


class DFR(Callback):
    """Deep feature reweighting: when training is over, refit the linear head on group-balanced validation images.

    The numbers that are then logged on that validation set are of images the head was fitted on.

    Args:
        val_set: Name of the validation set; null takes the first with the training classes and groups.
        strengths: Values of C to choose from, inverse strengths of the L1 penalty; null takes the paper's 7 from 1 to
            0.01.
        draws: How many group-balanced subsets are fitted; the head is the mean.
        min_group_size: Smallest validation group to be content with, at least 2.
    """

    def __init__(
        self,
        val_set: str | None = None,
        strengths: list[float] | None = None,
        draws: int = 20,
        min_group_size: int = 10,
    ) -> None:
        check_between("draws of DFR", draws, 1, MOST_DRAWS)
        check_between("min_group_size of DFR", min_group_size, 2, sys.maxsize)
        self.val_set, self.draws, self.min_group_size = val_set, draws, min_group_size
        self.strengths = STRENGTHS if strengths is None else tuple(strengths)
        check_strengths(self.strengths, "strengths of DFR")

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse, before training, a head or data that DFR can't work with."""
        module = _module(pl_module)
        if module.head != "linear":
            raise ConfigError(f"DFR is for the linear head; the head is {module.head!r}, set model.head to linear.")
        self._where(trainer, module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Refit the head if this was the last step."""
        module = _module(pl_module)
        if trainer.global_step < trainer.estimated_stepping_batches or module.head_bias is not None:
            return
        which = self._where(trainer, module)
        module.check_finite()
        module.clip.eval()
        loader = trainer.datamodule.val_dataloader()[which]  # type: ignore[attr-defined]
        rows = rows_of(loader, partial(module.features, module.clip))
        module.clip.train()
        refit = fit_dfr(rows, len(module.class_names), self.strengths, self.draws, module.seed)
        rank_zero_info(f"DFR: C {refit.strength:.3g}, worst group on half of the validation images {refit.worst:.3f}.")
        module.set_head(refit.head, refit.bias)

    def _where(self, trainer: L.Trainer, module: FinetuneModule) -> int:
        """Return the position of the validation set."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        counts = data.val_group_counts if isinstance(data, GroupedData) else ()
        sets = {
            one.name: at
            for at, (one, its) in enumerate(zip(data.val_sets, counts, strict=False))
            if one.class_names == module.class_names and its
        }
        if not sets or self.val_set not in (None, *sets):
            told = "none has" if not sets else f"{self.val_set!r} is none of those: {', '.join(sets)}"
            raise DataError(
                f"DFR needs a validation set with the training classes and with groups, and {told}; "
                "give data with an attribute or a group, or another val_set."
            )
        where = sets[self.val_set] if self.val_set is not None else next(iter(sets.values()))
        check_group_sizes(counts[where], self.min_group_size, data.val_sets[where].name)
        return where


def _module(pl_module: L.LightningModule) -> FinetuneModule:
    assert isinstance(pl_module, FinetuneModule)
    return pl_module
