"""Models as points in weight space: the line between two of them, and their mean.

Papers: WiSE-FT (Wortsman et al., CVPR 2022, arXiv 2109.01903) for the line, ``theta = (1 - a) theta0 + a theta1``;
model soups (Wortsman et al., ICML 2022, arXiv 2203.05482) for the mean. Deviations: none known.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

State = Mapping[str, Tensor]


def interpolate(start: State, end: State, alpha: float) -> dict[str, Tensor]:
    """Return ``(1 - alpha) * start + alpha * end``, key by key.

    With alpha 0 or 1, and where both ends hold the same numbers, the result is the end point to the last bit. What
    isn't a floating-point number is taken from the end. Half-precision numbers are mixed in float32.

    Args:
        start: Weights of one model.
        end: Weights of another one with the same keys and shapes.
        alpha: Place on the line; outside of [0, 1] it is beyond an end.
    """
    if alpha == 0:
        return {key: value.clone() for key, value in start.items()}
    mixed = {}
    for key, one in end.items():
        other = start[key]
        if alpha == 1 or not one.is_floating_point() or torch.equal(one, other):
            mixed[key] = one.clone()
        else:
            wide = torch.promote_types(one.dtype, torch.float32)
            mixed[key] = ((1 - alpha) * other.to(wide) + alpha * one.to(wide)).to(one.dtype)
    return mixed


def add_to_mean(mean: State, count: int, more: State) -> dict[str, Tensor]:
    """Return the mean of ``count + 1`` models from the mean of ``count`` and one more: no others are held.

    Args:
        mean: Mean so far.
        count: How many models are in it, at least 1.
        more: Weights of the next one, with the same keys and shapes.
    """
    return interpolate(mean, more, 1 / (count + 1))
