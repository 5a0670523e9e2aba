"""Knowledge distillation: keep the class probabilities near the teacher's.

Paper: Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015, arXiv 1503.02531, section 2.
Deviations: none known; temperature and weight as a rival of robust fine-tuning are our choice.
"""

from torch import Tensor

from starft.errors import ConfigError
from starft.losses.base import Term
from starft.losses.context import StepContext
from starft.losses.functional import distillation
from starft.losses.teachers import TeacherName, TeacherRule, teacher_rule


class KD(Term):
    """KL from the teacher's to the student's class probabilities, times the temperature squared.

    The frozen twin's class logits are those of the zero-shot head.

    Args:
        weight: Factor in the total loss, at least 0; the default is our choice.
        temperature: Divides both sets of logits, above 0; the default is our choice.
        teacher: ``frozen``, or ``ema``, ``weighted`` or a class of ``starft.losses`` that follows the student.
    """

    reads = frozenset({"logits"})
    across_batch = False

    def __init__(
        self, weight: float = 1.0, temperature: float = 1.0, teacher: TeacherRule | TeacherName = "frozen"
    ) -> None:
        super().__init__(weight)
        if not 0 < temperature < float("inf"):
            raise ConfigError(f"temperature of KD must be a finite number above 0; got {temperature}.")
        self.temperature, self.teacher = temperature, teacher_rule(teacher)

    def forward(self, ctx: StepContext) -> Tensor:
        """Return the loss, averaged over the rows of the batch."""
        return distillation(ctx.logits, ctx.teacher(self.teacher).logits, self.temperature)
