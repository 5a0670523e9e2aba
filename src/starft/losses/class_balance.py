"""Cross-entropy for long tails: weights of classes, and the classes' log priors that logit adjustment adds.

Paper: Menon et al., Long-Tail Learning via Logit Adjustment, ICLR 2021, arXiv 2007.07314, equation 10. Deviations: a
class without training images counts as one of one image.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from starft.errors import ConfigError
from starft.losses.base import check_factors
from starft.wording import did_you_mean


def log_priors(counts: Sequence[int]) -> Tensor:
    """Return the log of each class's share of the training images, (C,).

    Args:
        counts: Training images of each class.

    Example:
        >>> log_priors([3, 1]).exp()
        tensor([0.7500, 0.2500])
    """
    images = torch.tensor(counts).clamp(min=1).double()
    return (images / images.sum()).log().float()


def balanced_weights(counts: Sequence[int]) -> Tensor:
    """Return ``N / (C n_c)`` for each of C classes with n_c of N training images, (C,); scikit-learn's ``balanced``.

    Args:
        counts: Training images of each class.

    Example:
        >>> balanced_weights([3, 1])
        tensor([0.6667, 2.0000])
    """
    images = torch.tensor(counts).clamp(min=1).double()
    return (images.sum() / (len(images) * images)).float()


def named_weights(weights: Mapping[str, float], class_names: Sequence[str]) -> Tensor:
    """Return the weights of the classes in label order, (C,); 1 for those that aren't named.

    Args:
        weights: By class name.
        class_names: In label order.

    Raises:
        ConfigError: A name is no training class, a weight no finite number of at least 0, or every weight 0.
    """
    check_factors("class_weights", **weights)
    for name in weights:
        if name not in class_names:
            near = did_you_mean(name, class_names)
            raise ConfigError(
                f"class_weights has a weight for {name!r}, which is none of the {len(class_names)} training classes; "
                f"name those, or set class_weights to balanced.{near}"
            )
    result = torch.tensor([float(weights.get(name, 1.0)) for name in class_names])
    if not result.any():
        raise ConfigError(
            f"class_weights are 0 for all {len(class_names)} training classes, so nothing would be learned; give one "
            "of them a weight above 0."
        )
    return result
