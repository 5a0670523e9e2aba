"""GroupDRO: train on the groups that fare worst.

Paper: Sagawa et al., Distributionally Robust Neural Networks for Group Shifts, ICLR 2020, arXiv 1911.08731, algorithm 1
and the adjustment of section 3.3. Deviations: groups without training images have the weight 0 from the start.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from starft.errors import DataError
from starft.losses.base import check_factors
from starft.losses.context import StepContext
from starft.losses.objectives import CrossEntropy


class GroupDRO(CrossEntropy):
    """Sum over groups of ``q_g * loss_g``, where q follows the losses: ``q_g <- q_g exp(eta * loss_g)``, renormalised.

    ``loss_g`` is the mean cross-entropy of the group in the step plus ``adjustment / sqrt(n_g)``, with n_g the group's
    training images. A group that isn't in the step has the cross-entropy 0. q starts uniform and is in the checkpoint.
    With several processes, the step is the batch of all of them. Mostly used with ``sampling: group_balanced``.

    Args:
        weight: Factor in the total loss, at least 0.
        label_smoothing: Share of the target spread over all classes, in [0, 1).
        eta: How fast q follows, at least 0; 0 weighs all groups alike.
        adjustment: C of the generalisation adjustment, at least 0: more weight to small groups.
    """

    across_batch = True

    q: Tensor

    def __init__(
        self, weight: float = 1.0, label_smoothing: float = 0.0, eta: float = 0.01, adjustment: float = 0.0
    ) -> None:
        super().__init__(weight, label_smoothing)
        check_factors("GroupDRO", eta=eta, adjustment=adjustment)
        self.eta, self.adjustment = eta, adjustment
        self.register_buffer("q", torch.zeros(0))
        self.register_buffer("counts", torch.zeros(0, dtype=torch.long), persistent=False)
        self.found_counts: dict[str, int] | None = None
        """Training images of each group where groups are found in training, as `starft.callbacks.George` does."""

    def start(self, group_counts: Mapping[str, int]) -> None:
        """Hear the training images of each group; q is uniform over those that have any.

        Raises:
            DataError: There are no groups.
        """
        group_counts = group_counts if self.found_counts is None else self.found_counts
        if not group_counts:
            raise DataError(
                "GroupDRO needs groups, and the training images have none; give data with an attribute or a group, or "
                "another objective, such as starft.losses.CrossEntropy."
            )
        self.counts = torch.tensor(list(group_counts.values()), device=self.q.device)
        present = (self.counts > 0).float()
        self.q = present / present.sum()

    def forward(self, ctx: StepContext) -> Tensor:
        """Update q with the losses of this step, then return the weighted sum."""
        each = F.cross_entropy(ctx.logits.float(), ctx.labels, reduction="none", label_smoothing=self.label_smoothing)
        seen = torch.zeros_like(self.q).index_add(0, ctx.groups, torch.ones_like(each)).clamp(min=1)
        constants = self.adjustment / self.counts.clamp(min=1).float().sqrt()
        losses = torch.zeros_like(self.q).index_add(0, ctx.groups, each) / seen + constants
        result = losses.detach()
        raised = self.q * torch.exp(self.eta * (result - result.max()))  # less the highest: no overflow, same shares
        self.q = raised / raised.sum()
        return (self.q * losses).sum()

    def _apply(self, fn: Any, recurse: bool = True) -> "GroupDRO":
        """Move q between devices and keep its float32: the steps of eta are lost in bfloat16."""
        q = self.q
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.q = q.to(self.q.device)
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Take q of a checkpoint as it is where no training data have told the groups, as in a test."""
        value = state_dict.get(f"{prefix}q")
        if value is not None and len(self.q) and len(value) != len(self.q):
            raise DataError(
                f"The checkpoint's GroupDRO has {len(value)} groups, the training images have {len(self.q)}; "
                "continue it on its own data, or start a new run."
            )
        if value is not None and not len(self.q):
            self.q = value.to(self.q.device, copy=True)
        super()._load_from_state_dict(state_dict, prefix, *args)
