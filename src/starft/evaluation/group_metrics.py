"""Accuracies by group: the worst group's, the mean over groups, and weighted as the training set is.

Papers: worst-group and adjusted accuracy as in group DRO (Sagawa et al., ICLR 2020, arXiv 1911.08731) and WILDS (Koh et
al., ICML 2021, arXiv 2012.07421). Deviations: none known.

All of them hold the same two integer states, correct and total per group, summed over processes. In a
``torchmetrics.MetricCollection`` those with one ``num_groups`` form a compute group: a batch is counted once for all.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from starft.errors import ConfigError


class GroupCounts(Metric):
    """Correct and total predictions per group, the base of the accuracies below.

    Every ``update`` takes ``preds``, ``target`` and ``group``, integer tensors (n,) with ``n >= 0``, group ids in
    ``[0, num_groups)``. ``compute`` gives int64 (2, num_groups): row 0 the correct ones, row 1 all.

    Args:
        num_groups: How many groups there are, whether or not a batch holds them all.
        **kwargs: Options of ``torchmetrics.Metric``.

    Raises:
        ConfigError: If ``num_groups`` is below 1.

    Example:
        >>> metric = GroupCounts(num_groups=3)
        >>> metric.update(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 0]), torch.tensor([0, 0, 2, 2]))
        >>> correct, total = metric.compute()
        >>> correct, total
        (tensor([2, 0, 1]), tensor([2, 0, 2]))
    """

    is_differentiable = False
    higher_is_better: bool | None = None
    full_state_update = False

    # The states' names are long so that a compute group can't take in a foreign metric whose states look alike:
    # torchmetrics has metrics with `correct` and `total`.
    group_correct: Tensor
    group_total: Tensor

    def __init__(self, num_groups: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_groups < 1:
            raise ConfigError(f"num_groups must be at least 1, got {num_groups}.")
        self.num_groups = num_groups
        self.add_state("group_correct", torch.zeros(num_groups, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("group_total", torch.zeros(num_groups, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor, group: Tensor) -> None:
        """Count one batch.

        Args:
            preds: Predicted classes (n,), not logits.
            target: True classes (n,).
            group: Group ids (n,).

        Raises:
            ValueError: If one isn't an integer tensor (n,), their lengths differ, or a group id is out of range. On a
                GPU ids aren't looked at, which would wait for it; one out of range fails there, as any index does.
        """
        _check_batch(preds, target, group, self.num_groups)
        # Both counts in one pass, integers and so exact in any order: of each group the misses, then the hits.
        # The states are replaced, never written in place: members of a compute group share them, and a tensor made
        # under inference_mode couldn't be written to outside of it.
        cells = 2 * group.long() + (preds == target).long()
        counts = cells.new_zeros(2 * self.num_groups).index_add(0, cells, torch.ones_like(cells))  # bincount would wait
        counts = counts.view(self.num_groups, 2)
        self.group_correct = self.group_correct + counts[:, 1]
        self.group_total = self.group_total + counts.sum(dim=1)

    def compute(self) -> Tensor:
        """Return the counts (2, num_groups), correct over total."""
        return torch.stack([self.group_correct, self.group_total])


class GroupAccuracy(GroupCounts):
    """Accuracy of each group, float (num_groups,), NaN for a group not seen.

    Inputs and arguments are those of `GroupCounts`. With a single group torchmetrics squeezes the result to a scalar.

    Example:
        >>> metric = GroupAccuracy(num_groups=3)
        >>> metric.update(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 0]), torch.tensor([0, 0, 2, 2]))
        >>> metric.compute()
        tensor([1.0000,    nan, 0.5000])
    """

    higher_is_better = True

    def compute(self) -> Tensor:
        """Return the accuracy of each group."""
        return self.group_correct / self.group_total  # 0 / 0 is NaN


class WorstGroupAccuracy(GroupCounts):
    """The lowest accuracy among the groups seen, a float scalar; NaN if nothing was seen.

    Inputs are those of `GroupCounts`.

    Args:
        num_groups: How many groups there are, whether or not a batch holds them all.
        leave_out: Ids of groups that don't count, such as FMoW's region "Other".
        **kwargs: Options of ``torchmetrics.Metric``.

    Example:
        >>> metric = WorstGroupAccuracy(num_groups=3)
        >>> metric.update(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 0]), torch.tensor([0, 0, 2, 2]))
        >>> metric.compute()
        tensor(0.5000)
    """

    higher_is_better = True

    def __init__(self, num_groups: int, leave_out: Sequence[int] = (), **kwargs: Any) -> None:
        super().__init__(num_groups, **kwargs)
        self.leave_out = tuple(leave_out)

    def compute(self) -> Tensor:
        """Return the worst group's accuracy."""
        seen = self.group_total > 0
        seen[list(self.leave_out)] = False
        worst = (self.group_correct / self.group_total).masked_fill(~seen, math.inf).min()
        return worst.masked_fill(~seen.any(), math.nan)


class SomeGroupsAccuracy(GroupCounts):
    """Accuracy of all images of some groups taken together, a float scalar; NaN if none of them was seen.

    Where the worst of many small groups is one image, this still says something: the images without their label's
    usual attribute, all labels together, are many more than those of any one group. Inputs are those of `GroupCounts`.

    Args:
        num_groups: How many groups there are, whether or not a batch holds them all.
        keep: Ids of the groups that count.
        **kwargs: Options of ``torchmetrics.Metric``.

    Example:
        >>> metric = SomeGroupsAccuracy(num_groups=3, keep=[1, 2])
        >>> metric.update(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 0]), torch.tensor([0, 0, 2, 2]))
        >>> metric.compute()
        tensor(0.5000)
    """

    higher_is_better = True

    def __init__(self, num_groups: int, keep: Sequence[int], **kwargs: Any) -> None:
        super().__init__(num_groups, **kwargs)
        self.keep = list(keep)

    def compute(self) -> Tensor:
        """Return the share of correct predictions in these groups."""
        return self.group_correct[self.keep].sum() / self.group_total[self.keep].sum()


class GroupMeanAccuracy(GroupCounts):
    """Unweighted mean of the accuracies of the groups seen, a float scalar; NaN if nothing was seen.

    Inputs and arguments are those of `GroupCounts`.

    Example:
        >>> metric = GroupMeanAccuracy(num_groups=3)
        >>> metric.update(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 0]), torch.tensor([0, 0, 2, 2]))
        >>> metric.compute()
        tensor(0.7500)
    """

    higher_is_better = True

    def compute(self) -> Tensor:
        """Return the mean over the groups seen."""
        return (self.group_correct / self.group_total).nanmean()


class AdjustedAccuracy(GroupCounts):
    """Accuracies of the groups, weighted by the groups' shares in the training set; a float scalar.

    It tells what the accuracy would be if the test groups were as frequent as the training groups. The weights are
    divided by their sum over the groups *seen*, so counts serve as well as shares, and a group not seen is left out
    instead of counting as wrong. NaN if nothing was seen, or only groups of weight 0.
    Inputs are those of `GroupCounts`.

    Args:
        group_weights: Share or number of training samples of each group, in the order of group ids.
        num_groups: How many weights there must be; None takes their number.
        **kwargs: Options of ``torchmetrics.Metric``.

    Raises:
        ConfigError: If a weight is negative or not finite, all are 0, or there aren't ``num_groups`` of them.

    Example:
        >>> metric = AdjustedAccuracy(group_weights=[0.6, 0.2, 0.2])
        >>> metric.update(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 0]), torch.tensor([0, 0, 2, 2]))
        >>> metric.compute()  # (0.6 * 1 + 0.2 * 0.5) / (0.6 + 0.2)
        tensor(0.8750)
    """

    higher_is_better = True

    def __init__(self, group_weights: Sequence[float], num_groups: int | None = None, **kwargs: Any) -> None:
        weights = tuple(float(weight) for weight in group_weights)
        if num_groups is not None and len(weights) != num_groups:
            raise ConfigError(
                f"group_weights must hold one weight for each of {num_groups} groups, got {len(weights)}."
            )
        if not all(math.isfinite(weight) and weight >= 0 for weight in weights):
            raise ConfigError(f"group_weights must be finite and at least 0, got {list(weights)}.")
        whole = math.fsum(weights)
        if whole == 0:
            raise ConfigError(f"group_weights must hold a weight above 0, got {list(weights)}.")
        super().__init__(num_groups=len(weights), **kwargs)
        # Divided here, in double precision, as counts of a large training set lose digits in float32. Plain numbers and
        # not a buffer, which half-precision training would round.
        self.group_weights = tuple(weight / whole for weight in weights)

    def compute(self) -> Tensor:
        """Return the accuracy at the training set's group proportions."""
        seen = self.group_total > 0
        accuracy = (self.group_correct / self.group_total).masked_fill(~seen, 0.0)
        weights = torch.tensor(self.group_weights, dtype=accuracy.dtype, device=accuracy.device) * seen
        return (weights * accuracy).sum() / weights.sum()


class AverageAccuracy(GroupCounts):
    """Correct over all, whatever the group; a float scalar, NaN if nothing was seen.

    It takes groups so that it shares its counts with the others; inputs and arguments are those of `GroupCounts`.

    Example:
        >>> metric = AverageAccuracy(num_groups=3)
        >>> metric.update(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 0, 0]), torch.tensor([0, 0, 2, 2]))
        >>> metric.compute()
        tensor(0.7500)
    """

    higher_is_better = True

    def compute(self) -> Tensor:
        """Return the share of correct predictions."""
        return self.group_correct.sum() / self.group_total.sum()


def _check_batch(preds: Tensor, target: Tensor, group: Tensor, num_groups: int) -> None:
    """Refuse what can't be counted; the message names the tensor, its value and the limit."""
    for name, tensor in (("preds", preds), ("target", target), ("group", group)):
        if tensor.ndim != 1:
            hint = " Take the argmax of logits first." if name == "preds" and tensor.ndim == 2 else ""
            raise ValueError(f"{name} must have the shape (n,), got {tuple(tensor.shape)}.{hint}")
        if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
            raise ValueError(f"{name} must hold integers, got {tensor.dtype}.")
    if not len(preds) == len(target) == len(group):
        raise ValueError(
            f"preds, target and group must have one length, got {len(preds)}, {len(target)} and {len(group)}."
        )
    if group.device.type != "cpu":
        return
    wrong = group[(group < 0) | (group >= num_groups)]
    if len(wrong):
        shown = sorted(set(wrong.tolist()))[:5]
        raise ValueError(f"group ids must lie in [0, {num_groups}), got {shown}. Give num_groups as the data has it.")
