"""The two objectives: cross-entropy with a trained head, and the contrastive loss of images and their captions."""

import torch
from torch import Tensor
from torch.nn import functional as F

from starft.errors import ConfigError
from starft.losses.base import Term
from starft.losses.context import StepContext
from starft.losses.functional import contrastive_loss


class CrossEntropy(Term):
    """Cross-entropy of the class logits: plain fine-tuning (FT).

    With the linear head, the head and the image tower are trained. With the text head, the logits come from the text
    tower as it is at this step, and both towers are trained.

    Args:
        weight: Factor in the total loss, at least 0.
        label_smoothing: Share of the target spread over all classes, in [0, 1).
    """

    reads = frozenset({"logits"})
    across_batch = False

    def __init__(self, weight: float = 1.0, label_smoothing: float = 0.0) -> None:
        super().__init__(weight)
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing must lie in [0, 1); got {label_smoothing}.")
        self.label_smoothing = label_smoothing

    def forward(self, ctx: StepContext) -> Tensor:
        """Return the mean cross-entropy over the batch."""
        logits = ctx.logits.to(torch.promote_types(ctx.logits.dtype, torch.float32))
        return F.cross_entropy(logits, ctx.labels, label_smoothing=self.label_smoothing)


class Contrastive(Term):
    """Symmetric InfoNCE between images and their captions: FLYP's objective (Goyal et al., CVPR 2023).

    Diagonal targets: two images of one class stay negatives of each other, as in the paper.

    Args:
        weight: Factor in the total loss, at least 0.
    """

    reads = frozenset({"text_tower", "logit_scale"})
    learns_from_one_row = False

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__(weight)

    def forward(self, ctx: StepContext) -> Tensor:
        """Return the loss over the B x B pairs of the batch."""
        return contrastive_loss(ctx.image_features, ctx.text_features, ctx.clip.logit_scale)
