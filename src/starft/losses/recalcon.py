"""ReCalCon: class positives whose probabilities count more where their class stands out already.

Paper: ReCalCon, BMVC 2026, arXiv 2609.06967, its loss; the numbers are those of the released code. Deviations: where an
image has no negative in the batch, psi is 1 (there it divides by 0). The paper's captions that name an image's
augmentation aren't here: captions are drawn without sight of the images, and the images' workers tell of no text.
"""

import torch
from torch import Tensor

from starft.losses.base import Term
from starft.losses.context import StepContext
from starft.losses.functional import pair_logits

EPSILON = 1e-5


class ReCalCon(Term):
    """Contrastive loss with class positives, recalibrated: ``-log(softmax_ij psi_i + 1e-5)``, averaged over positives.

    psi_i is the sum over a row's positives by the sum over its negatives. The loss is negative where classes are well
    apart, as ``softmax_ij psi_i`` isn't bounded by 1. An objective, in the place of ``Contrastive``.

    Args:
        weight: Factor in the total loss, at least 0.
    """

    reads = frozenset({"text_tower", "logit_scale"})
    learns_from_one_row = False

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__(weight)

    def forward(self, ctx: StepContext) -> Tensor:
        """Return the loss, the mean of image to text and text to image."""
        return recalibrated_loss(ctx.image_features, ctx.text_features, ctx.clip.logit_scale, ctx.labels)


def recalibrated_loss(
    image_features: Tensor, text_features: Tensor, logit_scale: Tensor | float, labels: Tensor
) -> Tensor:
    """Return the mean over rows, and over both directions, of the recalibrated loss.

    With P_i the columns of row i's class, ``e_ij = exp(L_ij - max_j L_ij) + 1e-5``::

        psi_i = sum_{j in P_i} e_ij / sum_{j not in P_i} e_ij
        loss_i = -1/|P_i| sum_{j in P_i} log(softmax_ij psi_i + 1e-5)

    Shapes: features (N, D), L2-normalised; ``labels`` (N,); the result is a scalar of float32, or float64.

    Args:
        image_features: Features of the images.
        text_features: Features of their captions, in the same order.
        logit_scale: Factor on the cosines, already exponentiated; gradients flow into it.
        labels: Class of each row.

    Source: ReCalCon, arXiv 2609.06967.
    """
    logits = pair_logits(image_features, text_features, logit_scale)
    same = (labels[:, None] == labels[None, :]).to(logits.dtype)
    return (_row_loss(logits, same) + _row_loss(logits.T, same)) / 2


def _row_loss(logits: Tensor, same: Tensor) -> Tensor:
    raised = (logits - logits.max(dim=1, keepdim=True).values).exp() + EPSILON
    positives = (raised * same).sum(dim=1, keepdim=True)
    negatives = (raised * (1 - same)).sum(dim=1, keepdim=True)
    psi = positives / torch.where(negatives > 0, negatives, positives)
    logs = (logits.softmax(dim=1) * psi + EPSILON).log()
    return -((logs * same).sum(dim=1) / same.sum(dim=1)).mean()
