"""Model Stock: how far to go from the pre-trained weights towards the mean of a few tuned ones, layer by layer.

Paper: Jang et al., Model Stock: All We Need Is Just a Few Fine-Tuned Models, ECCV 2024, arXiv 2403.19522, equation 7.
Deviations: a layer is one tensor of the checkpoint; of more than two models the mean of the pairs' cosines is taken;
a cosine below 0, where the formula would go beyond the pre-trained weights, counts as 0.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from starft.training.averaging import Member, State, check_keys, interpolate, pretrained_weights, read_weights


def model_stock(members: Sequence[Member]) -> tuple[State, dict[str, float]]:
    """Return ``(1 - t) pre-trained + t mean``, and each layer's t; weights of checkpoints stay on the disk until used.

    With k models and cos the angle between two models' differences from the pre-trained weights::

        t = k cos / (1 + (k - 1) cos)

    Args:
        members: Checkpoints of one model, two at least, tuned from one pre-trained model.

    Raises:
        WeightsError: Their weights don't fit, or the pre-trained ones can't be had.
    """
    start: State = pretrained_weights(members[0])
    states = [read_weights(member, copy=False) for member in members]
    for member, state in zip(members, states, strict=True):
        check_keys(member, start, state)
    mixed: dict[str, Tensor] = {}
    ratios: dict[str, float] = {}
    for key, origin in start.items():
        layers = [state[key] for state in states]
        if not origin.is_floating_point():
            mixed[key] = layers[0].clone()
            continue
        ratios[key] = stock_ratio(origin, layers)
        mean = torch.stack([layer.to(torch.promote_types(layer.dtype, torch.float32)) for layer in layers]).mean(dim=0)
        mixed[key] = interpolate({key: origin}, {key: mean.to(origin.dtype)}, ratios[key])[key]
    return mixed, ratios


def stock_ratio(origin: Tensor, layers: Sequence[Tensor]) -> float:
    """Return t of one layer, in [0, 1]; 0 where a model hasn't moved from the pre-trained one.

    Args:
        origin: Pre-trained weights.
        layers: The weights of each of k models.
    """
    moved = torch.stack([(layer.double() - origin.double()).flatten() for layer in layers])
    lengths = moved.norm(dim=1)
    if not bool(lengths.all()):
        return 0.0
    k = len(layers)
    # The squared length of the sum of k unit vectors is k plus twice the cosines of all pairs.
    cosine = (float((moved / lengths[:, None]).sum(dim=0).square().sum()) - k) / (k * (k - 1))
    cosine = min(max(cosine, 0.0), 1.0)
    return k * cosine / (1 + (k - 1) * cosine)
