"""The two objectives: cross-entropy with a trained head, and the contrastive loss of images and their captions."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from starft.errors import ConfigError, DataError
from starft.losses.base import Term, check_factors
from starft.losses.class_balance import balanced_weights, log_priors, named_weights
from starft.losses.context import StepContext
from starft.losses.functional import contrastive_loss

Positives = Literal["diagonal", "class"]


class CrossEntropy(Term):
    """Cross-entropy of the class logits: plain fine-tuning (FT).

    With the linear head, the head and the image tower are trained. With the text head, the logits come from the text
    tower as it is at this step, and both towers are trained.

    Args:
        weight: Factor in the total loss, at least 0.
        label_smoothing: Share of the target spread over all classes, in [0, 1).
        logit_adjustment: Factor tau of the log class priors that are added to the logits in training, for long tails;
            the paper's is 1. 0 adds none.
        class_weights: Weights of the classes by name, 1 for others, or ``balanced``: N / (C n) of a class with n of the
            N training images. The loss is the weighted mean over the batch, as torch has it. Null weighs all alike.
    """

    reads = frozenset({"logits"})
    across_batch = False

    def __init__(
        self,
        weight: float = 1.0,
        label_smoothing: float = 0.0,
        logit_adjustment: float = 0.0,
        class_weights: dict[str, float] | Literal["balanced"] | None = None,
    ) -> None:
        super().__init__(weight)
        check_factors(type(self).__name__, logit_adjustment=logit_adjustment)
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing must lie in [0, 1); got {label_smoothing}.")
        self.label_smoothing, self.logit_adjustment = label_smoothing, logit_adjustment
        self.class_weights = class_weights
        if class_weights is not None:
            self.across_batch = True  # the weights of a batch's rows are its divisor
        self._weights: Tensor | None = None
        self._log_priors: Tensor | None = None

    def check_classes(self, class_names: Sequence[str]) -> None:
        """Refuse weights of classes that aren't trained on.

        Args:
            class_names: In label order.

        Raises:
            ConfigError: A weight is of another class, or can't be used.
        """
        if isinstance(self.class_weights, dict):
            self._weights = named_weights(self.class_weights, class_names)

    def count_classes(self, counts: Sequence[int]) -> None:
        """Make weights and priors of the training images of each class.

        Args:
            counts: In label order; empty where nobody counted.

        Raises:
            DataError: They are needed and weren't counted.
        """
        counted = self.class_weights == "balanced" or self.logit_adjustment > 0
        if counted and not counts:
            raise DataError(
                f"{type(self).__name__} counts the training images of each class, and these data don't tell them; set "
                "logit_adjustment to 0 and give class_weights by name, or take a DataModule of starft.data."
            )
        if self.class_weights == "balanced":
            self._weights = balanced_weights(counts)
        self._log_priors = log_priors(counts) if self.logit_adjustment > 0 else None

    def forward(self, ctx: StepContext) -> Tensor:
        """Return the mean cross-entropy over the batch."""
        logits = ctx.logits.to(torch.promote_types(ctx.logits.dtype, torch.float32))
        # not as buffers, which half-precision modules round; on the device from the first step on
        if self._log_priors is not None:
            self._log_priors = self._log_priors.to(logits)
            logits = logits + self.logit_adjustment * self._log_priors
        if self._weights is None:
            return F.cross_entropy(logits, ctx.labels, label_smoothing=self.label_smoothing)
        self._weights = self._weights.to(logits)
        summed = F.cross_entropy(
            logits, ctx.labels, self._weights, reduction="sum", label_smoothing=self.label_smoothing
        )
        total = self._weights[ctx.labels].sum()
        return summed / total.masked_fill(total == 0, math.inf)  # a batch that weighs nothing teaches nothing


class Contrastive(Term):
    """Symmetric InfoNCE between images and their captions: FLYP's objective (Goyal et al., CVPR 2023).

    Args:
        weight: Factor in the total loss, at least 0.
        positives: ``diagonal``: two images of one class stay negatives of each other, as in the paper. ``class``: all
            pairs of one class are positives (UniCL).
    """

    reads = frozenset({"text_tower", "logit_scale"})
    learns_from_one_row = False

    def __init__(self, weight: float = 1.0, positives: Positives = "diagonal") -> None:
        super().__init__(weight)
        if positives not in get_args(Positives):
            raise ConfigError(f"positives must be one of {', '.join(get_args(Positives))}; got {positives!r}.")
        self.positives = positives

    def forward(self, ctx: StepContext) -> Tensor:
        """Return the loss over the B x B pairs of the batch."""
        labels = ctx.labels if self.positives == "class" else None
        return contrastive_loss(ctx.image_features, ctx.text_features, ctx.clip.logit_scale, labels)
