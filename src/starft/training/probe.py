"""Linear probe: a head fitted by logistic regression on frozen image features.

Paper: LP-FT (Kumar et al., Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution, ICLR 2022,
arXiv 2202.10054), which starts full fine-tuning from such a head. Deviations: no intercept, as the head has none; the
features are L2-normalised, as they are everywhere here.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from starft.clip.finite import check_features
from starft.errors import ConfigError, DataError
from starft.types import Batch, FinetuneData, PlainTrainingData

STRENGTHS = tuple(float(strength) for strength in np.logspace(-7, 2, 100))
"""Values of C that LP-FT tries."""

ITERATIONS = 10_000
"""Most steps of the solver for one C; it ends far earlier."""


@dataclass(frozen=True)
class Rows:
    """Images as a probe takes them.

    Args:
        features: Float64 (N, D), unit rows.
        labels: Int64 (N,).
        groups: Int64 (N,); None where the images have no groups.
    """

    features: NDArray[np.float64]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Probe:
    """A fitted probe.

    Args:
        head: Float32 (C, D); logits are features times its rows.
        strength: The C that was chosen.
        accuracy: On the validation rows, in 0..1.
    """

    head: Tensor
    strength: float
    accuracy: float


def check_strengths(strengths: Sequence[float], what: str = "probe_strengths") -> None:
    """Refuse values of C that can't be used.

    Args:
        strengths: Inverse strengths of a penalty.
        what: What messages call them.

    Raises:
        ConfigError: There is none, or one isn't a finite number above 0.
    """
    bad = [strength for strength in strengths if not (math.isfinite(strength) and strength > 0)]
    if bad or not strengths:
        raise ConfigError(f"{what} must be finite numbers above 0, at least one; got {list(strengths)}.")


@torch.no_grad()
def rows_of(batches: Iterable[Batch], encode: Callable[[Batch], Tensor]) -> Rows:
    """Return features, labels and, where there are any, groups of all images.

    Args:
        batches: What a loader yields.
        encode: Returns the unit features (B, D) of a batch.
    """
    features, labels, groups = [], [], []
    for batch in batches:
        features.append(encode(batch).double().cpu())
        check_features(features[-1])
        labels.append(batch["label"].cpu())
        if "group" in batch:
            groups.append(batch["group"].cpu())
    return Rows(torch.cat(features).numpy(), torch.cat(labels).numpy(), torch.cat(groups).numpy() if groups else None)


def probe_of(
    data: FinetuneData, class_names: tuple[str, ...], encode: Callable[[Batch], Tensor], strengths: Sequence[float]
) -> Probe:
    """Return the probe of a DataModule's training images.

    Args:
        data: Its first validation set that has the training classes and isn't OOD chooses C.
        class_names: The training classes, in label order.
        encode: Returns the unit features (B, D) of a batch.
        strengths: Values of C.

    Raises:
        ConfigError: There is no such validation set.
        DataError: A class has no training image.
    """
    chosen_on = [
        at for at, val_set in enumerate(data.val_sets) if val_set.class_names == class_names and not val_set.ood
    ]
    if not isinstance(data, PlainTrainingData) or not chosen_on:
        raise ConfigError(
            f"head_start probe chooses its C on a validation set with the training classes that isn't OOD, and "
            f"{type(data).__name__} has none; set head_start to zero_shot, or give it one."
        )
    train = rows_of(data.plain_train_dataloader(), encode)
    return fit_probe(train, rows_of(data.val_dataloader()[chosen_on[0]], encode), class_names, strengths)


def fit_probe(train: Rows, val: Rows, class_names: Sequence[str], strengths: Sequence[float] = STRENGTHS) -> Probe:
    """Return the logistic regression whose C is best on the validation rows; of equals, the smallest C.

    Args:
        train: What it is fitted on.
        val: What C is chosen on.
        class_names: One name a class, in label order.
        strengths: Values of C, inverse strengths of the L2 penalty.

    Raises:
        DataError: A class has no training image.
    """
    missing = sorted(set(range(len(class_names))) - set(train.labels.tolist()))
    if missing:
        raise DataError(
            f"A linear probe needs training images of every class, and {len(missing)} of {len(class_names)} have none, "
            f"{class_names[missing[0]]!r} first; add images, or set model.head_start to zero_shot."
        )
    best: Probe | None = None
    model = LogisticRegression(fit_intercept=False, max_iter=ITERATIONS, warm_start=True)
    for strength in sorted(strengths):
        model.set_params(C=strength).fit(train.features, train.labels)
        accuracy = float((model.predict(val.features) == val.labels).mean())
        if best is None or accuracy > best.accuracy:
            weights = model.coef_ if len(class_names) > 2 else np.concatenate([-model.coef_ / 2, model.coef_ / 2])
            best = Probe(torch.from_numpy(weights.astype(np.float32)), strength, accuracy)
    assert best is not None, "check_strengths comes first"
    return best
