"""Accuracy on sets of neighbouring video frames: of the anchors, and of whole sets.

Paper: ImageNet-Vid-Robust (Shankar et al., ICCV 2021, arXiv 1906.02168): pm-0 and pm-10. Deviations: none known.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from starft.evaluation.group_metrics import GroupCounts


def num_frames(frame_sets: Sequence[Sequence[int]]) -> int:
    """Return one more than the highest position.

    Args:
        frame_sets: Positions of the frames of each set.
    """
    return 1 + max(max(rows) for rows in frame_sets)


class AnchorAccuracy(GroupCounts):
    """Share of the sets whose anchor is right (pm0), a float scalar; NaN if no anchor was seen.

    Inputs are those of `GroupCounts`, where a frame's group is its position in the data set.

    Args:
        frame_sets: Positions of the frames of each set, the anchor first.
        **kwargs: Options of ``torchmetrics.Metric``.

    Example:
        >>> metric = AnchorAccuracy([[0, 1], [2, 3]])
        >>> metric.update(torch.tensor([0, 0, 1, 0]), torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 2, 3]))
        >>> metric.compute()  # only frame 3 is wrong, a neighbour
        tensor(1.)
    """

    higher_is_better = True

    def __init__(self, frame_sets: Sequence[Sequence[int]], **kwargs: Any) -> None:
        super().__init__(num_frames(frame_sets), **kwargs)
        self.frame_sets = tuple(tuple(rows) for rows in frame_sets)

    def compute(self) -> Tensor:
        """Return the accuracy of the anchors."""
        anchors = [rows[0] for rows in self.frame_sets]
        seen = self.group_total[anchors] > 0
        right = self.group_correct[anchors] == self.group_total[anchors]
        return (right & seen).sum() / seen.sum()


class FrameSetAccuracy(AnchorAccuracy):
    """Share of the sets in which anchor and neighbours are all right (pm10), a float scalar; NaN without an anchor.

    Inputs and arguments are those of `AnchorAccuracy`. Sets whose anchor wasn't seen don't count.

    Example:
        >>> metric = FrameSetAccuracy([[0, 1], [2, 3]])
        >>> metric.update(torch.tensor([0, 0, 1, 0]), torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 2, 3]))
        >>> metric.compute()  # frame 3 is wrong, and with it the second set
        tensor(0.5000)
    """

    def compute(self) -> Tensor:
        """Return the share of sets without a mistake."""
        wrong = self.group_correct < self.group_total
        whole = torch.stack([~wrong[list(rows)].any() for rows in self.frame_sets])
        seen = self.group_total[[rows[0] for rows in self.frame_sets]] > 0
        return (whole & seen).sum() / seen.sum()
