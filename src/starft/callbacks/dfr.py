"""DFR: a linear head refitted on group-balanced validation images.

Paper: Kirichenko et al., Last Layer Re-Training is Sufficient for Robustness to Spurious Correlations, ICLR 2023,
arXiv 2204.02937 (DFR on validation data). Deviations: features are L2-normalised before they are standardised, as they
are everywhere here; they are standardised by the validation images; the halves are drawn within each group.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from starft.errors import ConfigError, DataError, check_between
from starft.training.module import FinetuneModule
from starft.training.probe import Rows, check_strengths, rows_of
from starft.types import GroupedData

STRENGTHS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
"""Values of C that DFR tries."""


@dataclass(frozen=True)
class Refit:
    """A refitted head.

    Args:
        head: Float32 (C, D); logits are features times its rows, plus the bias.
        bias: Float32 (C,).
        strength: The C that was chosen.
        worst: The worst group's accuracy on the half that chose it, in 0..1.
    """

    head: Tensor
    bias: Tensor
    strength: float
    worst: float


def check_group_sizes(counts: Mapping[str, int], least: int, name: str) -> None:
    """Refuse validation groups that are too small to fit and choose on.

    Args:
        counts: Images of each group, by its name.
        least: How many each must have.
        name: Of the validation set.

    Raises:
        DataError: A group has fewer; the sentence names all of them.
    """
    small = [f"{group} ({count})" for group, count in counts.items() if count < least]
    if small:
        raise DataError(
            f"DFR needs at least {least} validation images of each group, and in {name} these are too small: "
            f"{', '.join(small)}; give more images of them, another val_set, or a lower min_group_size of at least 2."
        )


def fit_dfr(rows: Rows, classes: int, strengths: Sequence[float], draws: int, seed: int) -> Refit:
    """Return the head that is refitted on validation images.

    C is chosen on one half of each group by the worst group's accuracy of a fit on the other; of equals, the first.
    Each fit takes as many images of each group as the smallest has; the head is the mean of ``draws`` fits on all.

    Args:
        rows: The validation images, at least two of each group that is there.
        classes: How many classes there are; each has images.
        strengths: Values of C, inverse strengths of the L1 penalty.
        draws: How many fits the head is the mean of.
        seed: Of the halves and the draws.
    """
    assert rows.groups is not None, "DFR goes by groups"
    rng = np.random.default_rng(seed)
    first, second = halves(rows.groups, rng)
    scaler = StandardScaler().fit(rows.features[first])
    drawn = first[balanced(rows.groups[first], rng)]
    held_out = scaler.transform(rows.features[second])
    best, worst = strengths[0], -1.0
    for strength in strengths:
        model = _fit(scaler.transform(rows.features[drawn]), rows.labels[drawn], strength)
        accuracy = _worst(model.predict(held_out) == rows.labels[second], rows.groups[second])
        if accuracy > worst:
            best, worst = strength, accuracy
    scaler = StandardScaler().fit(rows.features)
    weights, biases = np.zeros((classes, rows.features.shape[1])), np.zeros(classes)
    for _ in range(draws):
        drawn = balanced(rows.groups, rng)
        model = _fit(scaler.transform(rows.features[drawn]), rows.labels[drawn], best)
        pair = classes == 2  # one row there, for the second class against the first
        weights += (np.concatenate([-model.coef_, model.coef_]) / 2 if pair else model.coef_) / draws
        biases += (np.concatenate([-model.intercept_, model.intercept_]) / 2 if pair else model.intercept_) / draws
    head = weights / scaler.scale_
    bias = biases - head @ scaler.mean_
    return Refit(torch.from_numpy(head).float(), torch.from_numpy(bias).float(), best, worst)


def halves(groups: NDArray[np.int64], rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the positions of two halves, drawn within each group; the second has the odd one.

    Args:
        groups: Group of each image.
        rng: Draws.
    """
    mixed = [rng.permutation(np.flatnonzero(groups == group)) for group in np.unique(groups)]
    return (
        np.concatenate([part[: len(part) // 2] for part in mixed]),
        np.concatenate([part[len(part) // 2 :] for part in mixed]),
    )


def balanced(groups: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return positions of as many images of each group as the smallest has.

    Args:
        groups: Group of each image.
        rng: Draws.
    """
    kinds, counts = np.unique(groups, return_counts=True)
    return np.concatenate([rng.permutation(np.flatnonzero(groups == kind))[: counts.min()] for kind in kinds])


def _fit(features: NDArray[np.float64], labels: NDArray[np.int64], strength: float) -> LogisticRegression:
    pair = len(np.unique(labels)) == 2
    solver = {"solver": "liblinear"} if pair else {"solver": "saga", "max_iter": 1000, "tol": 1e-3}
    return LogisticRegression(l1_ratio=1.0, C=strength, random_state=0, **solver).fit(features, labels)


def _worst(right: NDArray[np.bool_], groups: NDArray[np.int64]) -> float:
    return min(float(right[groups == group].mean()) for group in np.unique(groups))


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

    needs_whole_weights = True
    """FSDP has weights in parts, and refuses to train with it."""

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
            item.name: at
            for at, (item, its) in enumerate(zip(data.val_sets, counts, strict=False))
            if item.class_names == module.class_names and its
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
