"""Which model a term compares the student with: the frozen twin, or an average of the student's own weights.

A term names its teacher; the module makes one for each rule that a term asks for, however many ask, and none otherwise.

Papers: CaRot (Oh et al., NeurIPS 2024, arXiv 2311.01723) for the exponential average; TRACER (ICML 2026,
arXiv 2605.29380) for the weighted one. Deviations from the released code of either: none known. As there, an average is
one of parameters: buffers, such as a ResNet's running statistics, stay those of the pre-trained model.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Literal, get_args

import torch
from torch import Tensor

from starft.clip import ClipEncoder, Twin, zero_shot_head
from starft.clip.encoder import BegunTexts
from starft.clip.lora import named_updates
from starft.distributed import local_part
from starft.errors import ConfigError

TeacherName = Literal["frozen", "ema", "weighted"]

MOST_REMEMBERED = 65_536
"""How many captions' features a frozen teacher keeps at most: 134 MB at a width of 512 in float32."""

CHUNK = 128
"""How many captions it encodes at a time for that."""


class TeacherRule:
    """How a teacher follows the student. Two rules with equal values are one: their terms share a teacher."""

    def share(self, step: int, total_steps: int) -> float:
        """Return the share of the student's weights in the teacher's new ones; 0 leaves the teacher as it is.

        Args:
            step: Optimizer steps done, the one just made included; at least 1.
            total_steps: Optimizer steps of the whole run.
        """
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        """Return whether the other rule is of the same class and values."""
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        """Return a hash of class and values."""
        return hash((type(self), tuple(sorted(vars(self).items()))))


class ExponentialAverage(TeacherRule):
    """``teacher <- m * teacher + (1 - m) * student`` every few steps, with a momentum m that rises linearly.

    The first update comes after the very first step, so that the teacher then holds 95 % of the student. The defaults
    are CaRot's for 25,000 steps on ImageNet.

    Args:
        update_every: Optimizer steps between two updates.
        momentum_start: Momentum at the start of the run, in [0, 1].
        momentum_end: Momentum after the rise, in [0, 1].
        rise: Share of the run that the rise takes, in [0, 1].
    """

    def __init__(
        self, update_every: int = 500, momentum_start: float = 0.05, momentum_end: float = 0.9, rise: float = 0.2
    ) -> None:
        if update_every < 1:
            raise ConfigError(f"update_every of a teacher must be at least 1; got {update_every}.")
        for name, value in (("momentum_start", momentum_start), ("momentum_end", momentum_end), ("rise", rise)):
            if not 0 <= value <= 1:
                raise ConfigError(f"{name} of a teacher must lie in [0, 1]; got {value}.")
        self.update_every, self.rise = update_every, rise
        self.momentum_start, self.momentum_end = momentum_start, momentum_end

    def share(self, step: int, total_steps: int) -> float:
        """Return ``1 - m`` after the first step and every ``update_every``-th one from there, 0 between."""
        index = step - 1  # the authors count steps from 0
        if index % self.update_every:
            return 0.0
        risen = min(1.0, index / (self.rise * total_steps)) if self.rise > 0 else 1.0
        return 1 - (self.momentum_start + (self.momentum_end - self.momentum_start) * risen)


class WeightedAverage(TeacherRule):
    """Average of the student's weights at every step so far, the pre-trained ones included, weighted by time.

    Step t of T weighs as the density of Beta(alpha, beta) at ``(t + 0.5) / (T + 1)``. TRACER's Beta(0.5, 0.5) is high
    at both ends, so the teacher starts near the pre-trained model and keeps its distance from the student to the end,
    where an exponential average would fall onto it.

    Args:
        alpha: First parameter of the Beta density, above 0.
        beta: Second parameter, above 0.
    """

    def __init__(self, alpha: float = 0.5, beta: float = 0.5) -> None:
        for name, value in (("alpha", alpha), ("beta", beta)):
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} of a weighted teacher must be a finite number above 0; got {value}.")
        self.alpha, self.beta = alpha, beta

    def share(self, step: int, total_steps: int) -> float:
        """Return the weight of this step over the sum of all weights up to it."""
        return _beta_shares(self.alpha, self.beta, total_steps)[step]


@lru_cache(maxsize=8)
def _beta_shares(alpha: float, beta: float, total_steps: int) -> list[float]:
    """Return ``w(t) / (w(0) + ... + w(t))`` for t from 0 to the last step; the density's constant cancels."""
    times = [(step + 0.5) / (total_steps + 1) for step in range(total_steps + 1)]
    weights = [time ** (alpha - 1) * (1 - time) ** (beta - 1) for time in times]
    return [weight / total for weight, total in zip(weights, accumulate(weights), strict=True)]


def teacher_rule(teacher: TeacherRule | TeacherName) -> TeacherRule | None:
    """Return the rule that a term's ``teacher`` argument means; None for the frozen twin.

    Args:
        teacher: ``frozen``, a rule, or the name of one with its defaults: ``ema`` (`ExponentialAverage`), ``weighted``
            (`WeightedAverage`).

    Raises:
        ConfigError: There is no such teacher.
    """
    if isinstance(teacher, TeacherRule):
        if type(teacher).share is TeacherRule.share:
            raise ConfigError(
                f"{type(teacher).__name__} has no rule of its own; give a class below starft.losses.TeacherRule that "
                "defines share, such as starft.losses.ExponentialAverage, as class_path."
            )
        return teacher
    if teacher not in get_args(TeacherName):
        known = ", ".join(get_args(TeacherName))
        raise ConfigError(f"teacher must be one of {known}, or a class of starft.losses.teachers; got {teacher!r}.")
    return {"frozen": None, "ema": ExponentialAverage(), "weighted": WeightedAverage()}[teacher]


class Teacher(Twin):
    """A teacher of a run: no gradients, always in eval mode, outside the optimizer.

    Args:
        clip: The model to start from, as it is now.
        rule: How it follows the student; None stays frozen.
        shares: As for `Twin`.
    """

    linear_head: Tensor | None

    def __init__(self, clip: ClipEncoder, rule: TeacherRule | None = None, shares: bool = False) -> None:
        super().__init__(clip, shares)
        self.rule = rule
        self.register_buffer("linear_head", None)
        self._remembered: dict[Hashable, Tensor] = {}
        self.remember(())

    def remember(self, captions: Sequence[str]) -> None:
        """Encode each of these captions once at most, as long as the weights stay: lazily, in chunks.

        A caption is encoded with the others of its chunk when one of them is first asked for. So its feature depends on
        this list alone, and not on what else was asked for before or beside it: a caption's last digits depend on its
        company, and a run that is continued must see the same ones. Nothing of it is in a checkpoint.

        Args:
            captions: All that may be asked for in this run, at most `MOST_REMEMBERED`; none, and nothing is remembered.
                A request that holds another caption is encoded as it comes.
        """
        self._texts = list(dict.fromkeys(captions))
        self._rows = {caption: row for row, caption in enumerate(self._texts)}
        self._encoded: set[int] = set()
        self._features: Tensor | None = None

    @torch.no_grad()
    def encode_text(self, captions: Sequence[str], begun: BegunTexts | None = None) -> Tensor:
        """Return unit features (N, D) of N captions, without a graph; those of `remember` are encoded once."""
        if not captions or not self._rows.keys() >= set(captions):
            return super().encode_text(captions, begun)
        rows = [self._rows[caption] for caption in captions]
        for chunk in sorted({row // CHUNK for row in rows} - self._encoded):
            start = CHUNK * chunk
            features = super().encode_text(self._texts[start : start + CHUNK])
            if self._features is None:
                self._features = features.new_empty(len(self._texts), features.shape[1])
            self._features[start : start + CHUNK] = features
            self._encoded.add(chunk)
        assert self._features is not None, "there is a caption, so there is a chunk"
        self._features = self._features.to(self.device)
        return self._features[torch.tensor(rows).to(self.device, non_blocking=True)]

    @torch.no_grad()
    def follow(self, student: ClipEncoder, linear_head: Tensor | None, step: int, total_steps: int) -> None:
        """Move towards the student by the share that the rule gives; nothing waits for the device.

        Args:
            student: The model in training, after the optimizer's step.
            linear_head: Its trained head (C, D), or None.
            step: Optimizer steps done, this one included.
            total_steps: Optimizer steps of the whole run.
        """
        share = self.rule.share(step, total_steps) if self.rule is not None else 0.0
        if share == 0:
            return
        self._remembered.clear()
        self.remember(())
        weights, updates = dict(student.model.named_parameters()), dict(named_updates(student.model))
        pairs = [(value, weights[name]) for name, value in self.model.named_parameters() if name not in updates]
        if self.linear_head is not None and linear_head is not None:
            pairs.append((self.linear_head, linear_head))
        own = [local_part(value) for value, _ in pairs]
        torch._foreach_lerp_(own, [local_part(value.to(ours.dtype)) for ours, value in pairs], share)
        for name, update in updates.items():  # of the sums, not of the factors, whose average is another update
            self.model.get_parameter(name).lerp_(weights[name] + update.whole(), share)

    def class_head(self, class_names: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Return the head (C, D) that class logits come from: image features times its rows, no further scale.

        That is the average of the student's trained heads where the teacher follows one; the zero-shot head times
        exp(logit_scale) otherwise, made once for as long as the weights stay.

        Args:
            class_names: C names, in label order.
            templates: Captions with ``{}`` for the name.
        """
        if self.linear_head is not None:
            return self.linear_head
        key = ("head", tuple(class_names), tuple(templates))
        return self.once(key, lambda: self.logit_scale * zero_shot_head(self, class_names, templates))

    @torch.no_grad()
    def once(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """Return what ``make`` returns, called once for as long as the weights stay; it goes along between devices.

        Args:
            key: Says what it is and what it depends on besides the weights.
            make: Computes it.
        """
        if key not in self._remembered:
            self._remembered[key] = make()
        self._remembered[key] = self._remembered[key].to(self.device)
        return self._remembered[key]
