"""TRACER: distil a weighted moving average of the student, which keeps its distance to the end.

Paper: TRACER, ICML 2026, arXiv 2605.29380; its core, that is the distillation and its teacher. Deviations: the paper's
weight could not be read, ours is our choice; the two directions are averaged, as in the contrastive loss, which is our
reading. The objective that this is added to is the contrastive one.
"""

from torch import Tensor
from torch.nn import functional as F

from starft.losses.base import Term
from starft.losses.context import Progress, StepContext
from starft.losses.functional import pair_logits
from starft.losses.teachers import TeacherName, TeacherRule, teacher_rule


class Tracer(Term):
    """Cross-entropy between the teacher's and the student's distributions over the pairs of the batch.

    The mean of image to text and text to image, each model with its own logit scale, no temperature. It starts at step
    1: at step 0 the two models are one.

    Args:
        weight: Factor in the total loss, at least 0; the default is our choice.
        teacher: ``weighted`` is the paper's; ``frozen``, ``ema`` or a class of ``starft.losses`` are others.
    """

    reads = frozenset({"text_tower", "logit_scale"})
    learns_from_one_row = False

    def __init__(self, weight: float = 1.0, teacher: TeacherRule | TeacherName = "weighted") -> None:
        super().__init__(weight)
        self.teacher = teacher_rule(teacher)

    def weight_at(self, progress: Progress) -> float:
        """Return the factor; 0 at step 0."""
        return super().weight_at(progress) if progress.step > 0 else 0.0

    def forward(self, ctx: StepContext) -> Tensor:
        """Return the cross-entropy, averaged over rows and directions."""
        teacher = ctx.teacher(self.teacher)
        own = pair_logits(ctx.image_features, ctx.text_features, ctx.clip.logit_scale)
        theirs = pair_logits(teacher.image_features, teacher.text_features, teacher.logit_scale).detach()
        of_images = F.cross_entropy(own, theirs.softmax(dim=1))
        of_texts = F.cross_entropy(own.T, theirs.T.softmax(dim=1))
        return (of_images + of_texts) / 2
