"""Feature distillation: keep the image features near the teacher's.

Source: the squared distance of FitNets (Romero et al., ICLR 2015, arXiv 1412.6550, equation 3) on CLIP's unit image
features. Deviations: no regressor between the two, which have one width, and no factor of one half; the weight is ours.
"""

from torch import Tensor

from starft.losses.base import Part, Term
from starft.losses.context import StepContext
from starft.losses.teachers import TeacherName, TeacherRule, teacher_rule


class FeatureDistillation(Term):
    """Squared distance between the student's and the teacher's unit image features, averaged over the batch.

    Args:
        weight: Factor in the total loss, at least 0; the default is our choice.
        teacher: ``frozen``, or ``ema``, ``weighted`` or a class of ``starft.losses`` that follows the student.
    """

    reads = frozenset[Part]()
    across_batch = False

    def __init__(self, weight: float = 1.0, teacher: TeacherRule | TeacherName = "frozen") -> None:
        super().__init__(weight)
        self.teacher = teacher_rule(teacher)

    def forward(self, ctx: StepContext) -> Tensor:
        """Return the mean squared distance."""
        apart = ctx.image_features.float() - ctx.teacher(self.teacher).image_features.float()
        return apart.square().sum(dim=1).mean()
