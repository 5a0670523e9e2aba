"""DFR: a linear head refitted on group-balanced validation images.

Paper: Kirichenko et al., Last Layer Re-Training is Sufficient for Robustness to Spurious Correlations, ICLR 2023,
arXiv 2204.02937 (DFR on validation data). Deviations: features are L2-normalised before they are standardised, as they
are everywhere here; they are standardised by the validation images; the halves are drawn within each group.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from starft.errors import DataError
from starft.probe import Rows

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
