"""TRACER: distil a weighted moving average of the student in four ways; it keeps its distance to the end.

Paper: TRACER, ICML 2026, arXiv 2605.29380; the four parts are those of CLIP-KD (Yang et al., CVPR 2024, arXiv
2307.12732). Deviations from the released code, whose numbers this reproduces: none known. Its example script sets every
factor to 0; the defaults are those of its ablations. The objective that this is added to is the contrastive one.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from starft.losses.base import Term, check_factors
from starft.losses.carot import projection_penalty, projections
from starft.losses.context import StepContext
from starft.losses.functional import distillation, pair_logits
from starft.losses.teachers import TeacherName, TeacherRule, teacher_rule


class Tracer(Term):
    """``cross * ||W_v W_t'|| + distillation * (crd * CRD + fd * FD + icl * ICL + ckd * CKD)``.

    W_v and W_t are the projections (width, D) of image and text tower, ' is the transpose, the norm is Frobenius'. The
    other parts compare the student with its teacher from step 1 on: at step 0 the two models are one.

    Args:
        weight: Factor in the total loss, at least 0.
        distillation: Factor of the four parts together, at least 0; at 0 no teacher is made.
        crd: Factor of the contrastive relational distillation: KL from the teacher's to the student's distributions
            over the pairs of the batch.
        fd: Factor of the feature distillation: mean squared difference of the unit features, over all N x D.
        icl: Factor of the interactive contrastive learning: InfoNCE of the student's features with the teacher's of the
            other tower.
        ckd: Factor of the cross knowledge distillation: KL from the teacher's distributions to those of the student's
            features with the teacher's of the other tower.
        cross: Factor of the two projections' product, at least 0.
        teacher: ``weighted`` is the paper's; ``frozen``, ``ema`` or a class of ``starft.losses`` are others.
    """

    reads = frozenset({"text_tower", "logit_scale"})

    def __init__(
        self,
        weight: float = 1.0,
        distillation: float = 0.9,
        crd: float = 1.0,
        fd: float = 2000.0,
        icl: float = 1.0,
        ckd: float = 1.0,
        cross: float = 0.05,
        teacher: TeacherRule | TeacherName = "weighted",
    ) -> None:
        super().__init__(weight)
        self.factors = {"crd": crd, "fd": fd, "icl": icl, "ckd": ckd}
        check_factors("Tracer", distillation=distillation, **self.factors, cross=cross)
        self.distillation, self.cross = distillation, cross
        self.distils = distillation > 0 and any(self.factors.values())
        self.teacher = teacher_rule(teacher) if self.distils else None
        self.learns_from_one_row = not (self.distils and any((crd, icl, ckd)))

    def forward(self, ctx: StepContext) -> Tensor:
        """Return the weighted sum of the parts."""
        total = torch.zeros((), device=ctx.labels.device)
        if self.distils:
            teacher = ctx.teacher(self.teacher)
            parts = teacher_student_losses(
                *(ctx.image_features, ctx.text_features, ctx.clip.logit_scale),
                *(teacher.image_features, teacher.text_features, teacher.logit_scale),
            )
            whole = torch.stack([factor * parts[name] for name, factor in self.factors.items()]).sum()
            # 0 times at step 0, not left out: DDP waits for the gradient of whatever only this term reads
            total = total + (self.distillation if ctx.progress.step > 0 else 0.0) * whole
        if self.cross > 0:
            total = total + projection_penalty(*projections(ctx.clip.model), orthogonality=0.0, cross=self.cross)
        return total


def teacher_student_losses(
    student_image: Tensor,
    student_text: Tensor,
    student_scale: Tensor | float,
    teacher_image: Tensor,
    teacher_text: Tensor,
    teacher_scale: Tensor | float,
) -> dict[str, Tensor]:
    """Return ``crd``, ``fd``, ``icl`` and ``ckd``, unweighted scalars; each of several directions is a mean of two.

    With f and g the features of images and texts, s the scale, T the teacher's, and KL the mean over rows::

        crd = KL(softmax(s_T f_T g_T') || softmax(s f g'))             and for texts
        fd  = mean (f - f_T)^2 + mean (g - g_T)^2
        icl = cross-entropy of s f g_T' with the diagonal              and of s g f_T'
        ckd = KL(softmax(s_T f_T g_T') || softmax(s f g_T'))           and for texts

    Shapes: the four features (N, D), L2-normalised; a scale is one number, already exponentiated.

    Args:
        student_image: Image features of the model in training.
        student_text: Its text features.
        student_scale: Its factor on cosines; gradients flow into it.
        teacher_image: Image features of its teacher; a constant, as all of the teacher is.
        teacher_text: Its text features.
        teacher_scale: Its factor on cosines.
    """
    teacher_image, teacher_text = teacher_image.detach(), teacher_text.detach()
    own = pair_logits(student_image, student_text, student_scale)
    theirs = pair_logits(teacher_image, teacher_text, teacher_scale)
    # The authors normalise once more for all but crd. That changes no value, as rows are unit rows already, and no
    # weight's gradient, but the gradient with respect to the features: it has no part along them.
    wide = own.dtype
    image, text = F.normalize(student_image.to(wide), dim=1), F.normalize(student_text.to(wide), dim=1)
    image_to_teacher = pair_logits(image, teacher_text, student_scale)
    text_to_teacher = pair_logits(text, teacher_image, student_scale)
    matches = torch.arange(len(image), device=image.device)
    return {
        "crd": (distillation(own, theirs) + distillation(own.T, theirs.T)) / 2,
        "fd": F.mse_loss(image, teacher_image.to(wide)) + F.mse_loss(text, teacher_text.to(wide)),
        "icl": (F.cross_entropy(image_to_teacher, matches) + F.cross_entropy(text_to_teacher, matches)) / 2,
        "ckd": (distillation(image_to_teacher, theirs) + distillation(text_to_teacher, theirs.T)) / 2,
    }
