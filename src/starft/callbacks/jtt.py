"""JTT: train, find the training errors, train again from the start with the errors upsampled.

Paper: Liu et al., Just Train Twice: Improving Group Robustness without Training Group Information, ICML 2021,
arXiv 2107.09044, algorithm 1. Deviations: both trainings are parts of one run, each with its own warm-up and cosine;
an epoch of the second keeps the length of the data, as the head of a shuffle in which each error counts ``factor``
times, so that the run's steps are known from the start; early stopping is ``best.ckpt``, by a worst validation group.
"""

import sys
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_info

from starft.callbacks.two_trainings import MOST, TwoTrainings
from starft.errors import DataError, check_between
from starft.safe_text import say
from starft.training.module import FinetuneModule
from starft.wording import count_of


class JTT(TwoTrainings):
    """Just train twice: after some epochs, start anew with the training images that the model has wrong upsampled.

    ``trainer.max_epochs`` counts both trainings. Groups are needed for validation only.

    Args:
        epochs: Epochs of the first training, at least 1 and fewer than ``trainer.max_epochs``.
        factor: How often each error counts in the second training, at least 1.
    """

    result_name = "errors"

    def __init__(self, epochs: int, factor: int) -> None:
        super().__init__(epochs, {"factor": factor})
        check_between("factor of JTT", factor, 1, MOST)
        self.factor = factor

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse, before training, what can't be trained twice, and data that can't choose by groups."""
        super().on_fit_start(trainer, pl_module)
        module: Any = pl_module
        sets = trainer.datamodule.val_sets  # type: ignore[attr-defined]
        if not any(val_set.group_names and val_set.class_names == module.class_names for val_set in sets):
            raise DataError(
                "JTT is chosen by the worst group of a validation set with the training classes, and none has groups; "
                "give data with an attribute or a group."
            )

    def look(self, trainer: L.Trainer, module: FinetuneModule) -> list[int]:
        """Return the positions of the training images that the model has wrong."""
        wrong = list[int]()
        for batch, _, logits in self.scored(trainer, module):
            wrong += batch["index"][logits.argmax(dim=-1).cpu() != batch["label"]].tolist()
        rank_zero_info(f"JTT: {len(wrong)} training errors count {self.factor} times from here on.")
        if not wrong and trainer.is_global_zero:
            say(
                f"Note: After {count_of(self.epochs, 'epoch')} JTT finds no training error, so the second training "
                "is a plain one; a lower epochs finds more.",
                file=sys.stderr,
            )
        return sorted(wrong)

    def use(self, trainer: L.Trainer, module: FinetuneModule, anew: bool) -> None:
        """Upsample the errors."""
        trainer.datamodule.upsample(self.result, self.factor)  # type: ignore[attr-defined]
