"""What a term may read at one training step; features are computed once, when first asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from starft.clip import ClipEncoder, Twin, zero_shot_head
from starft.types import Batch


@dataclass(frozen=True)
class Progress:
    """How far the run is.

    Args:
        step: Optimizer steps done.
        total_steps: Optimizer steps of the whole run.
        epoch: Epochs done.
        total_epochs: Epochs of the whole run; null for a run that is bounded by steps alone.
    """

    step: int
    total_steps: int
    epoch: int
    total_epochs: int | None


@dataclass
class StepContext:
    """One batch and its features, all L2-normalised, one row an image.

    Shapes: features (B, D); ``logits`` (B, C) over the C training classes.

    Args:
        batch: What the DataModule yielded.
        captions: One clean caption a row.
        spurious_captions: One spurious caption a row; empty where the run has no pool.
        clip: The student.
        twin: The frozen teacher.
        linear_head: Trained head (C, D), or null where the head is re-made from the text tower.
        class_names: The C training classes, in label order.
        templates: Caption templates of the text head.
        progress: How far the run is.
    """

    batch: Batch
    captions: Sequence[str]
    spurious_captions: Sequence[str]
    clip: ClipEncoder
    twin: Twin
    linear_head: Tensor | None
    class_names: Sequence[str]
    templates: Sequence[str]
    progress: Progress

    @property
    def labels(self) -> Tensor:
        """Class labels, int64 (B,)."""
        return self.batch["label"]

    @cached_property
    def image_features(self) -> Tensor:
        """The student's image features."""
        return self.clip.encode_image(self.batch["image"])

    @cached_property
    def text_features(self) -> Tensor:
        """The student's features of the clean captions."""
        return self.clip.encode_text(self.captions)

    @cached_property
    def spurious_features(self) -> Tensor:
        """The student's features of the spurious captions."""
        return self.clip.encode_text(self.spurious_captions)

    @cached_property
    def twin_image_features(self) -> Tensor:
        """The twin's image features, without a graph."""
        return self.twin.encode_image(self.batch["image"])

    @cached_property
    def twin_spurious_features(self) -> Tensor:
        """The twin's features of the spurious captions, without a graph."""
        return self.twin.encode_text(self.spurious_captions)

    @cached_property
    def logits(self) -> Tensor:
        """Class logits of the head in use: the trained one, or the text tower's as it is at this step."""
        if self.linear_head is not None:
            return self.image_features @ self.linear_head.T
        head = zero_shot_head(self.clip, self.class_names, self.templates)
        return self.clip.logit_scale * self.image_features @ head.T
