"""CAR-FT: keep the image tower's view of contexts ("a sketch of ...") near the pre-trained one's.

Paper: Mao et al., Context-Aware Robust Fine-Tuning, 2022, arXiv 2211.16175. Deviations: the paper's weight could not be
read, ours is our choice. Contexts and logit scale are the pre-trained model's on both sides; the paper tunes neither
the text tower nor the scale, so that this is the same there.
"""

from collections.abc import Sequence

import torch
from open_clip import OPENAI_IMAGENET_TEMPLATES
from torch import Tensor
from torch.nn import functional as F

from starft.captions.templates import check_templates
from starft.clip import zero_shot_head
from starft.errors import ConfigError
from starft.losses.base import Part, Term
from starft.losses.context import StepContext
from starft.losses.functional import class_logits, distillation
from starft.losses.teachers import Teacher, TeacherName, TeacherRule, teacher_rule


class CarFT(Term):
    """KL from the teacher's to the student's distribution of an image over contexts.

    A context is a caption template; its text feature is the mean over all training classes.

    Args:
        weight: Factor in the total loss, at least 0; the default is our choice.
        contexts: At least two templates, each with ``{}`` once; null takes OpenAI's 80 for ImageNet.
        teacher: Whose image features are kept: ``frozen``, or ``ema``, ``weighted`` or a class of ``starft.losses``
            that follows the student.
    """

    reads = frozenset[Part]()
    reads_classes = True
    across_batch = False

    def __init__(
        self,
        weight: float = 1.0,
        contexts: list[str] | None = None,
        teacher: TeacherRule | TeacherName = "frozen",
    ) -> None:
        super().__init__(weight)
        if contexts is None:
            contexts = [template("{}") for template in OPENAI_IMAGENET_TEMPLATES]
        if len(contexts) < 2:
            raise ConfigError(f"contexts of CarFT must be at least 2 templates; got {len(contexts)}.")
        check_templates(contexts, "Each context of CarFT")
        self.contexts, self.teacher = tuple(contexts), teacher_rule(teacher)

    def forward(self, ctx: StepContext) -> Tensor:
        """Return the loss, averaged over the rows of the batch."""
        key = ("contexts", self.contexts, tuple(ctx.class_names))
        head = ctx.twin.once(key, lambda: context_head(ctx.twin, self.contexts, ctx.class_names))
        student, teacher = (class_logits(item.image_features, head) for item in (ctx, ctx.teacher(self.teacher)))
        return distillation(student, teacher)


def context_head(twin: Teacher, contexts: Sequence[str], class_names: Sequence[str]) -> Tensor:
    """Return exp(logit_scale) times the unit mean over classes of unit text features, one row a context: (T, D).

    Args:
        twin: Encodes the captions.
        contexts: T caption templates.
        class_names: Names of the classes.
    """
    rows = [zero_shot_head(twin, class_names, (context,)).mean(dim=0) for context in contexts]
    return twin.logit_scale * F.normalize(torch.stack(rows), dim=-1)
