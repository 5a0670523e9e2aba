"""Which images an epoch holds and how often: all of them, or balanced over classes or groups.

Paper: Idrissi et al., Simple data balancing achieves competitive worst-group-accuracy, CLeaR 2022, arXiv 2110.14503
(RWG, SUBG and their forms by class). Deviations: none known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from starft.data.contents import Sampling, without_groups
from starft.errors import ConfigError


@dataclass(frozen=True)
class Draw:
    """What the order of each epoch is drawn from; a function of (seed, epoch).

    Args:
        positions: Images, int64 (M,), as often as they count.
        length: Images an epoch; at most M where there are no weights.
        weights: Chance of each position at every draw, up to a factor, float64 (M,): drawn with replacement. None takes
            the head of a shuffle.
    """

    positions: Tensor
    length: int
    weights: Tensor | None = None

    def order(self, seed: int, epoch: int) -> list[int]:
        """Return the images of an epoch, in their order.

        Args:
            seed: Of the run.
            epoch: Counted from 0.
        """
        generator = torch.Generator().manual_seed(seed + epoch)
        if self.weights is None:
            drawn = torch.randperm(len(self.positions), generator=generator)[: self.length]
        else:
            drawn = torch.multinomial(self.weights, self.length, replacement=True, generator=generator)
        order: list[int] = self.positions[drawn].tolist()
        return order


def everything(size: int) -> Draw:
    """Return the plain shuffle: each image once an epoch.

    Args:
        size: Number of images.
    """
    return Draw(torch.arange(size), size)


def upsampled(size: int, chosen: Sequence[int], factor: int) -> Draw:
    """Return a shuffle in which some images count several times; an epoch keeps the length of the data.

    Args:
        size: Number of images.
        chosen: Positions of those that count ``factor`` times.
        factor: At least 1.
    """
    again = torch.tensor(list(chosen), dtype=torch.long).repeat(factor - 1)
    return Draw(torch.cat([torch.arange(size), again]), size)


def draw_for(sampling: Sampling, labels: Sequence[int], groups: Sequence[int] | None, seed: int) -> Draw:
    """Return what a training set's epochs are drawn from.

    Balanced: each draw takes an image by its weight N / n of its class or group, so that all are equally frequent; an
    epoch is as long as the data. Subsampled: of each class or group as many images as the smallest has, drawn once.

    Args:
        sampling: How.
        labels: Class of each of N images.
        groups: Group of each; None where they have none.
        seed: Of the run; draws the subsample.

    Raises:
        ConfigError: ``sampling`` isn't known, or needs groups.
    """
    if sampling not in get_args(Sampling):
        raise ConfigError(f"sampling must be one of {', '.join(get_args(Sampling))}; got {sampling!r}.")
    if sampling == "shuffle":
        return everything(len(labels))
    by_group = sampling.startswith("group")
    if by_group and groups is None:
        raise ConfigError(without_groups(sampling))
    kinds = torch.tensor(list(groups if by_group and groups is not None else labels))
    counts = torch.bincount(kinds)
    if sampling.endswith("balanced"):
        return Draw(torch.arange(len(kinds)), len(kinds), (len(kinds) / counts.double())[kinds])
    smallest = int(counts[counts > 0].min())
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randperm(len(kinds), generator=generator)
    kept = torch.cat([mixed[kinds[mixed] == kind][:smallest] for kind in counts.nonzero().flatten()])
    return Draw(kept.sort().values, len(kept))
