"""StarFT for a task of few classes: align over spurious captions of the *kinds* of each class.

Source: StarFT (IJCAI 2025, arXiv 2505.13232, section 3.2) with other columns; this variant is ours and in no paper.
With two classes the paper's mask leaves each image captions of the other class only, and all of them say one word. Here
the columns are captions of what a class consists of ("a photo of a duck on a lake" for the class waterbird), so that
the frozen model's finer view of an image is kept. Measured in docs/mini.md.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from starft.captions.pools import Pool, inject
from starft.captions.sampler import pick
from starft.captions.templates import caption
from starft.errors import ConfigError
from starft.losses.base import Schedule, Term
from starft.losses.context import StepContext
from starft.losses.functional import class_logits, distillation
from starft.losses.teachers import TeacherName, TeacherRule, teacher_rule
from starft.wording import did_you_mean


class KindAlignment(Term):
    """KL from the teacher's to the student's distribution of an image over spurious captions of kinds of the classes.

    Each kind of each class is a column, with a template of the pool drawn anew every step; nothing is masked. Needs a
    pool (``pool``). Both sets of logits take the teacher's scale. It holds best with the text tower frozen and the
    text head: a trained linear head can learn the shortcut from features that stay as they were.

    Args:
        kinds: For each class name at least one kind of it, such as ``waterbird: [duck, gull]``; two in all at least.
        weight: Factor in the total loss, at least 0; the default is what docs/mini.md chose.
        schedule: ``epoch`` falls linearly and is 0 in the last epoch, ``step`` falls with every step, ``constant``
            doesn't fall.
        teacher: ``frozen``, or ``ema``, ``weighted`` or a class of ``starft.losses`` that follows the student.
        seed: Start of the draws; they depend on it and the step alone.
    """

    reads = frozenset({"text_tower"})
    across_batch = False
    draws_from_pool = reads_classes = True

    def __init__(
        self,
        kinds: dict[str, list[str]],
        weight: float = 20.0,
        schedule: Schedule = "epoch",
        teacher: TeacherRule | TeacherName = "frozen",
        seed: int = 0,
    ) -> None:
        super().__init__(weight, schedule)
        for name, of_class in kinds.items():
            if not of_class or not all(kind.strip() for kind in of_class):
                raise ConfigError(f"kinds of KindAlignment must name at least one kind of {name!r}; got {of_class}.")
        if sum(map(len, kinds.values())) < 2:
            raise ConfigError("kinds of KindAlignment must hold at least 2 kinds, as one leaves nothing to tell apart.")
        if seed < 0:
            raise ConfigError(f"seed of KindAlignment must be at least 0; got {seed}.")
        self.kinds, self.teacher, self.seed = kinds, teacher_rule(teacher), seed

    def forward(self, ctx: StepContext) -> Tensor:
        """Return the alignment loss, averaged over the rows of the batch."""
        if ctx.pool is None:
            raise ConfigError("KindAlignment draws templates from a pool, and the run has none; set model.pool.")
        captions = self.draw(ctx.class_names, ctx.templates, ctx.pool, ctx.progress.step)
        teacher = ctx.teacher(self.teacher)
        student_head = teacher.logit_scale * ctx.clip.encode_text(captions)
        teacher_head = teacher.logit_scale * teacher.model.encode_text(captions)
        return distillation(
            class_logits(ctx.image_features, student_head), class_logits(teacher.image_features, teacher_head)
        )

    def check_classes(self, class_names: Sequence[str]) -> None:
        """Refuse other classes than those whose kinds are given.

        Raises:
            ConfigError: ``kinds`` names other classes than the training's.
        """
        for given, known in ((self.kinds, class_names), (class_names, self.kinds)):
            if unknown := next((name for name in given if name not in known), None):
                raise ConfigError(
                    f"kinds of KindAlignment must name the training classes, {', '.join(class_names)}; "
                    f"{unknown!r} is {'missing' if known is self.kinds else 'not one'}.{did_you_mean(unknown, known)}"
                )

    def draw(self, class_names: Sequence[str], templates: Sequence[str], pool: Pool, step: int) -> list[str]:
        """Return the captions of one step, class by class, kind by kind; the same in every process.

        Args:
            class_names: The training classes.
            templates: Caption templates; one is drawn for each kind.
            pool: Spurious templates; one is drawn for each kind, of its class's.
            step: Optimizer steps done.
        """
        rng = np.random.default_rng([self.seed, step])
        return [
            inject(caption(pick(rng, templates), kind), pick(rng, pool.templates_for(name)))
            for name in class_names
            for kind in self.kinds[name]
        ]
