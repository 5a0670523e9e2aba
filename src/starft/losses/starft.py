"""StarFT: keep the tuned model's distribution over spurious captions where the frozen model had it.

Paper: Robust Fine-tuning of Zero-shot Models via Spuriosity Alignment, IJCAI 2025, arXiv 2505.13232. Deviations: none
known; values and gradients agree with numbers of the authors' code (``tests/golden``).
"""

from collections.abc import Sequence

from torch import Tensor

from starft.losses.base import Schedule, Term
from starft.losses.context import StepContext
from starft.losses.functional import spuriosity_alignment
from starft.losses.teachers import TeacherName, TeacherRule, teacher_rule

FEW = 3
"""Up to so many classes a run is told of `KindAlignment` (docs/mini.md has what either gains with two)."""


class SpuriosityAlignment(Term):
    """KL from the teacher's to the tuned model's distribution over the batch's spurious captions.

    Needs a pool of spurious templates (``pool``). Both sets of logits take the teacher's scale.

    Args:
        weight: Factor in the total loss, at least 0; the paper uses 0.5 on ImageNet.
        schedule: ``epoch`` is the paper's: the factor falls linearly and is 0 in the last epoch. ``step`` falls with
            every step, ``constant`` doesn't fall.
        masked: Leave pairs of one class out of both distributions, as the paper does; of images that are paired with
            texts and have no classes, those of equal captions.
        teacher: ``frozen`` is the paper's; ``ema``, ``weighted`` or a class of ``starft.losses`` follows the student.
    """

    reads = frozenset({"text_tower"})
    learns_from_one_row = False
    draws_from_pool = reads_spurious = True

    def __init__(
        self,
        weight: float = 0.5,
        schedule: Schedule = "epoch",
        masked: bool = True,
        teacher: TeacherRule | TeacherName = "frozen",
    ) -> None:
        super().__init__(weight, schedule)
        self.masked, self.teacher = masked, teacher_rule(teacher)

    def advice(self, class_names: Sequence[str]) -> str:
        """Return a note where most pairs are of one class, so that the mask leaves little."""
        if not self.masked or not class_names or len(class_names) > FEW:
            return ""
        return (
            f"With {len(class_names)} classes SpuriosityAlignment has little to hold on to, as it leaves pairs of one "
            "class out; KindAlignment is made for few classes, as in the config csv/starft_kinds"
        )

    def forward(self, ctx: StepContext) -> Tensor:
        """Return the alignment loss, averaged over the rows of the batch."""
        teacher = ctx.teacher(self.teacher)
        return spuriosity_alignment(
            ctx.image_features,
            ctx.spurious_features,
            teacher.image_features,
            teacher.spurious_features,
            teacher.logit_scale,
            ctx.labels if self.masked else None,
        )
