"""Lipsum-FT: keep the energies of images with random texts where the pre-trained model had them.

Paper: Nam et al., Lipsum-FT: Robust Fine-Tuning of Zero-Shot Models Using Random Text Guidance, ICLR 2024,
arXiv 2404.00860. Deviations: none known. The paper trains with lr 1e-5, weight decay 0, batch 256, text tower frozen.
"""

import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor

from starft.clip import ClipEncoder
from starft.errors import ConfigError, check_between
from starft.losses.base import Part, Term
from starft.losses.context import StepContext
from starft.losses.functional import class_logits
from starft.losses.teachers import TeacherName, TeacherRule, teacher_rule

MOST = 100_000
"""Texts, and words of each."""


class LipsumFT(Term):
    """Half the mean squared change of an image's scaled cosines with texts of random tokens, drawn anew every step.

    The texts are encoded by the frozen twin, and its logit scale is used.

    Args:
        weight: Factor in the total loss, at least 0.
        texts: How many texts a step.
        length: Random tokens of each text, between start and end.
        teacher: Whose image features are kept: ``frozen``, or ``ema``, ``weighted`` or a class of ``starft.losses``
            that follows the student.
        seed: Start of the draws; they depend on it and the step alone.
    """

    reads = frozenset[Part]()
    across_batch = False

    def __init__(
        self,
        weight: float = 1.0,
        texts: int = 80,
        length: int = 8,
        teacher: TeacherRule | TeacherName = "frozen",
        seed: int = 0,
    ) -> None:
        super().__init__(weight)
        for name, value, least in (("texts", texts, 1), ("length", length, 1), ("seed", seed, 0)):
            check_between(f"{name} of LipsumFT", value, least, sys.maxsize if name == "seed" else MOST)
        self.texts, self.length, self.seed = texts, length, seed
        self.teacher = teacher_rule(teacher)

    def forward(self, ctx: StepContext) -> Tensor:
        """Return the loss, averaged over the rows of the batch."""
        tokens = self.draw(ctx.twin, ctx.progress.step)
        energies = ctx.twin.logit_scale * ctx.twin.encode_tokens(tokens)
        student = class_logits(ctx.image_features, energies)
        teacher = class_logits(ctx.teacher(self.teacher).image_features, energies)
        return (student - teacher).square().mean() / 2

    def draw(self, clip: ClipEncoder, step: int) -> Tensor:
        """Return the token ids of one step, int64 (texts, context length): start, random ids, end, padding.

        Args:
            clip: Its tokenizer must be CLIP's own.
            step: Optimizer steps done.

        Raises:
            ConfigError: The tokenizer is another, or the texts are too long for the model.
        """
        tokenizer: Any = clip.tokenize
        try:
            start, end, room = tokenizer.sot_token_id, tokenizer.eot_token_id, tokenizer.context_length
        except AttributeError as error:
            raise ConfigError(
                "LipsumFT draws token ids of CLIP's own tokenizer, and this model has another; "
                "give a model_name such as ViT-B-16, or another regularizer."
            ) from error
        if self.length + 2 > room:
            raise ConfigError(f"length of LipsumFT must be at most {room - 2} for this model; got {self.length}.")
        rng = np.random.default_rng([self.seed, step])
        rows = torch.zeros(self.texts, room, dtype=torch.int64)
        rows[:, 0], rows[:, self.length + 1] = start, end
        rows[:, 1 : self.length + 1] = torch.from_numpy(rng.integers(0, start, (self.texts, self.length)))
        return rows
