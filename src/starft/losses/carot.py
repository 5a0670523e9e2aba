"""CaRot: distil the model's own moving average, and keep the projections near orthogonal.

Paper: Oh et al., Towards Calibrated Robust Fine-Tuning of Vision-Language Models, NeurIPS 2024, arXiv 2311.01723.
Deviations from the released code, whose numbers the distillation reproduces: none known. The objective that these terms
are added to is the contrastive one.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from starft.clip.encoder import text_tower_of
from starft.errors import ConfigError
from starft.losses.base import Term, check_factors
from starft.losses.context import StepContext
from starft.losses.functional import pair_logits
from starft.losses.teachers import TeacherName, TeacherRule, teacher_rule


class Carot(Term):
    """``cross * ||W_v W_t'|| + orthogonality * ||W_v' W_v - I|| + distillation * self-distillation``.

    W_v and W_t are the projections (width, D) of image and text tower, ' is the transpose, norms are Frobenius'. The
    self-distillation is the cross-entropy from the teacher's to the student's distributions over the pairs of the
    batch, image to text plus text to image, each model with its own logit scale. It starts at step 1: at step 0 the two
    models are one.

    Args:
        weight: Factor in the total loss, at least 0.
        distillation: Factor of the self-distillation, at least 0; at 0 no teacher is made.
        orthogonality: Factor of the image projection's distance from orthogonal, at least 0.
        cross: Factor of the two projections' product, at least 0.
        teacher: ``ema`` is the paper's, with its defaults for 25,000 steps; ``frozen``, ``weighted`` or a class of
            ``starft.losses.teachers`` are others.
    """

    reads = frozenset({"text_tower", "logit_scale"})

    def __init__(
        self,
        weight: float = 1.0,
        distillation: float = 1.5,
        orthogonality: float = 0.2,
        cross: float = 0.05,
        teacher: TeacherRule | TeacherName = "ema",
    ) -> None:
        super().__init__(weight)
        check_factors("Carot", distillation=distillation, orthogonality=orthogonality, cross=cross)
        self.distillation, self.orthogonality, self.cross = distillation, orthogonality, cross
        self.teacher = teacher_rule(teacher) if distillation > 0 else None
        self.learns_from_one_row = distillation == 0

    def forward(self, ctx: StepContext) -> Tensor:
        """Return the weighted sum of the three parts."""
        total = torch.zeros((), device=ctx.labels.device)
        if self.distillation > 0:
            teacher = ctx.teacher(self.teacher)
            own = pair_logits(ctx.image_features, ctx.text_features, ctx.clip.logit_scale)
            theirs = pair_logits(teacher.image_features, teacher.text_features, teacher.logit_scale)
            # 0 times at step 0, not left out: DDP waits for the gradient of whatever only this term reads
            total = total + (self.distillation if ctx.progress.step > 0 else 0.0) * self_distillation(own, theirs)
        if self.orthogonality > 0 or self.cross > 0:
            total = total + projection_penalty(*projections(ctx.clip.model), self.orthogonality, self.cross)
        return total


def self_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the cross-entropy from the teacher's to the student's distributions, of rows plus of columns.

    Args:
        student: Pair logits (N, N) of the model in training.
        teacher: Those of its teacher; a constant, no gradient flows into them.

    Example:
        >>> self_distillation(torch.zeros(2, 2), torch.eye(2))  # 2 log 2
        tensor(1.3863)
    """
    teacher = teacher.detach()
    return F.cross_entropy(student, teacher.softmax(dim=1)) + F.cross_entropy(student.T, teacher.T.softmax(dim=1))


def projection_penalty(image: Tensor, text: Tensor, orthogonality: float, cross: float) -> Tensor:
    """Return ``cross * ||V T'|| + orthogonality * ||V' V - I||`` of projections V (width, D) and T (width, D).

    Args:
        image: The image tower's.
        text: The text tower's.
        orthogonality: Factor of the second norm.
        cross: Factor of the first norm.
    """
    with torch.autocast(device_type=image.device.type, enabled=False):
        image, text = image.float(), text.float()
        identity = torch.eye(image.shape[1], device=image.device)
        apart = torch.linalg.matrix_norm(image.T @ image - identity)
        penalty: Tensor = cross * torch.linalg.matrix_norm(image @ text.T) + orthogonality * apart
        return penalty


def projections(model: Any) -> tuple[Tensor, Tensor]:
    """Return the last projection (width, D) of the image and the text tower; gradients flow into them.

    Args:
        model: An open_clip model.

    Raises:
        ConfigError: A tower ends in no single matrix.
    """
    visual = model.visual
    image = visual.attnpool.c_proj if hasattr(visual, "attnpool") else getattr(visual, "proj", None)
    text = getattr(text_tower_of(model), "text_projection", None)
    matrices: list[Tensor] = []
    for tower, matrix in (("image", image), ("text", text)):
        if not isinstance(matrix, nn.Linear | Tensor):
            raise ConfigError(
                f"The {tower} tower of this model ends in no projection matrix, which Carot's penalties are about; "
                "set orthogonality and cross to 0, or give a model_name such as ViT-B-16."
            )
        matrices.append(matrix.weight.T if isinstance(matrix, nn.Linear) else matrix)
    return matrices[0], matrices[1]
