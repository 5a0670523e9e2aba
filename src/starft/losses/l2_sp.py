"""L2-SP: keep the weights near their starting point.

Paper: Li, Grandvalet, Davoine, Explicit Inductive Bias for Transfer Learning with Convolutional Networks, ICML 2018,
arXiv 1802.01483, equation 2. Deviations: no factor of one half, and nothing is added for the new layer (the linear
head), whose weights have no starting point in the pre-trained model.
"""

import torch
from torch import Tensor

from starft.clip.lora import named_updates
from starft.losses.base import Part, Term
from starft.losses.context import StepContext


class L2SP(Term):
    """Squared distance of CLIP's trained weights from the pre-trained ones, summed over all of them; no head.

    Args:
        weight: Factor in the total loss, at least 0.
    """

    reads = frozenset[Part]()
    across_batch = False
    needs_whole_weights = True

    def __init__(self, weight: float = 0.01) -> None:
        super().__init__(weight)

    def forward(self, ctx: StepContext) -> Tensor:
        """Return the squared distance."""
        start = dict(ctx.twin.model.named_parameters())
        own = [(name, weight) for name, weight in ctx.clip.model.named_parameters() if weight.requires_grad]
        moved = [(weight.float() - start[name]).square().sum() for name, weight in own if name in start]
        moved += [update.squared_norm() for _, update in named_updates(ctx.clip.model) if update.up.requires_grad]
        return torch.stack(moved).sum() if moved else torch.zeros((), device=ctx.clip.device)
