"""What a term may read at one training step; features are computed once, when first asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from starft.captions.pools import Pool
from starft.clip import ClipEncoder, zero_shot_head
from starft.clip.encoder import BegunTexts
from starft.distributed import gather
from starft.losses.functional import class_logits
from starft.losses.teachers import Teacher, TeacherRule
from starft.types import Batch


@dataclass(frozen=True)
class Progress:
    """How far the run is.

    Args:
        step: Optimizer steps done.
        total_steps: Optimizer steps of the whole run.
        epoch: Epochs done.
        total_epochs: Epochs of the whole run; None for a run that is bounded by steps alone.
    """

    step: int
    total_steps: int
    epoch: int
    total_epochs: int | None


@dataclass
class StepContext:
    """One batch and its features, all L2-normalised, one row an image.

    With several processes, each encodes its own images and captions, and what a term reads is of all of them: labels,
    groups and features are those of the joined batch, so that every loss is the one of a process alone, and so are its
    gradients. ``batch`` and the captions are this process's own.

    Shapes: features (B, D); ``logits`` (B, C) over the C training classes; B counts the rows of all processes.

    Args:
        batch: What the DataModule yielded.
        captions: One clean caption a row.
        spurious_captions: One spurious caption a row; empty where the run has no pool.
        clip: The student.
        twin: The frozen teacher.
        linear_head: Trained head (C, D), or None where the head is re-made from the text tower.
        class_names: The C training classes, in label order.
        templates: Caption templates of the text head.
        progress: How far the run is.
        teachers: The teachers that follow the student, by their rules.
        pool: Where spurious templates come from; None where the run has none.
        sizes: Rows of each process, by rank; empty for a process alone.
        together: Encode spurious captions with the clean ones, as some term is going to read them: one call of the
            text tower costs less than two, and each caption that is in both is encoded once.
        begun: Returns ``begun_images`` where a run keeps them; None computes them.
    """

    batch: Batch
    captions: Sequence[str]
    spurious_captions: Sequence[str]
    clip: ClipEncoder
    twin: Teacher
    linear_head: Tensor | None
    class_names: Sequence[str]
    templates: Sequence[str]
    progress: Progress
    teachers: Mapping[TeacherRule, Teacher] = field(default_factory=dict)
    pool: Pool | None = None
    sizes: Sequence[int] = ()
    together: bool = False
    begun: Callable[[], Tensor | None] | None = None
    begun_texts: BegunTexts | None = field(default=None, init=False, repr=False)
    """Captions that the student encoded last, behind the beginning that student and teachers share."""
    _views: dict[TeacherRule | None, "TeacherView"] = field(default_factory=dict, init=False, repr=False)

    def gathered(self, rows: Tensor) -> Tensor:
        """Return this process's rows (n, ...) with those of the others: (B, ...).

        Args:
            rows: One for each image of ``batch``.
        """
        return gather(rows, self.sizes)

    @cached_property
    def labels(self) -> Tensor:
        """Class labels, int64 (B,)."""
        return self.gathered(self.batch["label"])

    @cached_property
    def groups(self) -> Tensor:
        """Group ids, int64 (B,); only where the training images have groups."""
        return self.gathered(self.batch["group"])

    @cached_property
    def image_features(self) -> Tensor:
        """The student's image features."""
        return self.gathered(self.clip.encode_image(self.batch["image"], self.begun_images))

    @cached_property
    def begun_images(self) -> Tensor | None:
        """This process's images behind the beginning that student and teachers share; None where they share none."""
        return self.clip.begin_images(self.batch["image"]) if self.begun is None else self.begun()

    @cached_property
    def text_features(self) -> Tensor:
        """The student's features of the clean captions."""
        return self.gathered(self._all_text_features[: len(self.captions)])

    @cached_property
    def spurious_features(self) -> Tensor:
        """The student's features of the spurious captions."""
        if self.together and "_all_text_features" in vars(self):  # somebody has asked for the clean ones
            return self.gathered(self._all_text_features[len(self.captions) :])
        return self.gathered(self._encode_texts(self.spurious_captions))

    @cached_property
    def _all_text_features(self) -> Tensor:
        return self._encode_texts([*self.captions, *self.spurious_captions] if self.together else self.captions)

    def _encode_texts(self, captions: Sequence[str]) -> Tensor:
        self.begun_texts = self.clip.begin_texts(captions)
        return self.clip.encode_text(captions, self.begun_texts)

    @cached_property
    def logits(self) -> Tensor:
        """Class logits of the head in use: the trained one, or the text tower's as it is at this step."""
        if self.linear_head is not None:
            return class_logits(self.image_features, self.linear_head)
        head = self.clip.logit_scale * zero_shot_head(self.clip, self.class_names, self.templates)
        return class_logits(self.image_features, head)

    def teacher(self, rule: TeacherRule | None = None) -> "TeacherView":
        """What a teacher makes of this batch; terms that name one teacher share its features.

        Args:
            rule: As the term's ``teacher`` has it; None for the frozen twin.
        """
        if rule not in self._views:
            self._views[rule] = TeacherView(self.twin if rule is None else self.teachers[rule], self)
        return self._views[rule]


class TeacherView:
    """One batch as a teacher sees it: the same features as `StepContext` has of the student, without a graph.

    Args:
        model: The teacher.
        ctx: The step, for its images, captions and classes.
    """

    def __init__(self, model: Teacher, ctx: StepContext) -> None:
        self.model, self._ctx = model, ctx

    @property
    def logit_scale(self) -> Tensor:
        """The teacher's own factor on cosines; a scalar."""
        return self.model.logit_scale

    @cached_property
    def image_features(self) -> Tensor:
        """Image features."""
        return self._ctx.gathered(self.model.encode_image(self._ctx.batch["image"], self._ctx.begun_images))

    @cached_property
    def text_features(self) -> Tensor:
        """Features of the clean captions."""
        return self._ctx.gathered(self.model.encode_text(self._ctx.captions, self._ctx.begun_texts))

    @cached_property
    def spurious_features(self) -> Tensor:
        """Features of the spurious captions."""
        return self._ctx.gathered(self.model.encode_text(self._ctx.spurious_captions, self._ctx.begun_texts))

    @cached_property
    def logits(self) -> Tensor:
        """Class logits of the teacher's head; the frozen twin's is the zero-shot head."""
        return class_logits(self.image_features, self.model.class_head(self._ctx.class_names, self._ctx.templates))
