"""Accuracy on sets of neighbouring video frames: of the anchors, and of whole sets.

Paper: ImageNet-Vid-Robust (Shankar et al., ICCV 2021, arXiv 1906.02168): pm-0 and pm-10. Deviations: none known.

Group ids are 2 * set for the anchor and 2 * set + 1 for its neighbours, so that the counts are those of `GroupCounts`.
"""

import torch
from torch import Tensor

from starft.metrics.groups import GroupCounts


class AnchorAccuracy(GroupCounts):
    """Share of the sets whose anchor is right (pm0), a float scalar; NaN if no anchor was seen.

    Inputs and arguments are those of `GroupCounts`, with two groups a set.

    Example:
        >>> metric = AnchorAccuracy(num_groups=4)  # two sets; the second one's neighbour is wrong
        >>> metric.update(torch.tensor([0, 0, 1, 0]), torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 2, 3]))
        >>> metric.compute()
        tensor(1.)
    """

    higher_is_better = True

    def compute(self) -> Tensor:
        """Return the accuracy of the anchors."""
        return self.group_correct[::2].sum() / self.group_total[::2].sum()


class FrameSetAccuracy(GroupCounts):
    """Share of the sets in which anchor and neighbours are all right (pm10), a float scalar; NaN without an anchor.

    Inputs and arguments are those of `GroupCounts`, with two groups a set. Sets whose anchor wasn't seen don't count.

    Example:
        >>> metric = FrameSetAccuracy(num_groups=4)  # two sets; the second one's neighbour is wrong
        >>> metric.update(torch.tensor([0, 0, 1, 0]), torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 2, 3]))
        >>> metric.compute()
        tensor(0.5000)
    """

    higher_is_better = True

    def compute(self) -> Tensor:
        """Return the share of sets without a mistake."""
        whole = (self.group_correct == self.group_total).view(-1, 2).all(dim=1)
        seen = self.group_total[::2] > 0
        return torch.sum(whole & seen) / seen.sum()
