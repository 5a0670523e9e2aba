"""Terms of the training loss: the call shape they share.

A term reads a `StepContext` and returns a scalar. The module adds up ``weight * term`` over its objective and its
regularizers; nothing else about a loss lives anywhere else.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeVar, get_args

from torch import Tensor, nn

from starft.errors import ConfigError
from starft.losses.context import Progress, StepContext
from starft.losses.teachers import TeacherRule

Schedule = Literal["constant", "epoch", "step"]
Part = Literal["text_tower", "logit_scale", "logits"]
"""What a term may read of the student beside its images; ``logits`` are those of the head in use."""

Named = TypeVar("Named")


class Term(nn.Module):
    """A scalar loss computed from one step.

    Args:
        weight: Factor in the total loss, at least 0.
        schedule: How the factor changes. ``constant`` keeps it; ``epoch`` multiplies it by ``1 - (e + 1) / E`` in epoch
            e of E, so that the last epoch runs without the term (StarFT's recipe); ``step`` multiplies it by
            ``1 - s / S`` at step s of S.
    """

    teacher: TeacherRule | None = None
    """The rule of the teacher that the term reads; None where it reads the frozen twin, or none."""

    reads: frozenset[Part] = frozenset(get_args(Part))
    """What of the student gets a gradient from the term; weights that no term of a run reads are frozen."""

    across_batch: bool = True
    """Whether the loss compares the rows of a batch with each other, so that it isn't the mean of its parts' losses."""
    learns_from_one_row: bool = True
    """Whether a batch of one row teaches anything; not where the loss is about a row among the others."""
    draws_from_pool = False
    """Whether the term can't do without a pool of spurious templates."""

    needs_whole_weights = False
    """Whether the term reads weights themselves, which FSDP has in parts."""

    reads_classes = False
    """Whether the term reads class names; one that reads ``logits`` does anyway."""

    reads_spurious = False
    """Whether the term reads the student's spurious captions: told, they go through the tower with the clean ones."""

    def __init__(self, weight: float = 1.0, schedule: Schedule = "constant") -> None:
        super().__init__()
        check_factors(type(self).__name__, weight=weight)
        if schedule not in get_args(Schedule):
            raise ConfigError(f"schedule must be one of {', '.join(get_args(Schedule))}; got {schedule!r}.")
        self.weight = weight
        self.schedule = schedule

    def start(self, group_counts: Mapping[str, int]) -> None:
        """Hear of the training data, before the first step of a run and before a checkpoint is loaded.

        Args:
            group_counts: Training images of each group, by name, in the order of group ids; empty where they have none.
        """

    def count_classes(self, counts: Sequence[int]) -> None:
        """Hear how many training images each class has, where `start` hears of the groups.

        Args:
            counts: In label order; empty where nobody counted.
        """

    def check_classes(self, class_names: Sequence[str]) -> None:
        """Refuse training classes that the term can't work with, before training.

        Args:
            class_names: In label order.
        """

    def advice(self, class_names: Sequence[str]) -> str:
        """Return a note on using the term with these classes, without its period; empty for none.

        Args:
            class_names: In label order.
        """
        return ""

    def weight_at(self, progress: Progress) -> float:
        """Return the factor of this term at one point of the run.

        Raises:
            ConfigError: The schedule counts epochs and the run isn't bounded by epochs.
        """
        if self.schedule == "constant":
            return self.weight
        if self.schedule == "step":
            return self.weight * (1 - progress.step / progress.total_steps)
        if progress.total_epochs is None:
            raise ConfigError(
                f"{type(self).__name__} has schedule 'epoch', but the run has no max_epochs; "
                "set trainer.max_epochs, or schedule 'step'."
            )
        return self.weight * (1 - (progress.epoch + 1) / progress.total_epochs)

    def forward(self, ctx: StepContext) -> Tensor:
        """Return the unweighted loss, a scalar."""
        raise NotImplementedError


def check_factors(owner: str, /, **factors: float) -> None:
    """Refuse factors of a loss that aren't finite numbers of at least 0.

    Args:
        owner: The class that they are given to.
        **factors: By the names of its arguments.

    Raises:
        ConfigError: The first of them.
    """
    for name, value in factors.items():
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"{name} of {owner} must be a finite number, at least 0; got {value}.")


def notes_on_epochs(terms: Iterable[Term], total_epochs: int | None) -> list[str]:
    """Return a note on each term that never takes part, as a run of one epoch ends where its weight is 0.

    Args:
        terms: Of the run.
        total_epochs: Of the whole run; None where steps alone end it.
    """
    return [
        f"{type(term).__name__} takes no part: with schedule 'epoch' its weight is 0 in the last epoch, and this run "
        "has one; train for more epochs, or take schedule 'step'"
        for term in terms
        if term.schedule == "epoch" and term.weight > 0 and total_epochs == 1
    ]


def by_name(things: Iterable[Named]) -> dict[str, Named]:
    """Name each thing for its class in snake case (``L2SP`` is ``l2_sp``), numbered where two are of one class.

    Args:
        things: Terms, or what is to have a name in logs and checkpoints.
    """
    named: dict[str, Named] = {}
    for thing in things:
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", type(thing).__name__).lower()
        copies = sum(other == name or other.startswith(f"{name}_") for other in named)
        named[f"{name}_{copies + 1}" if copies else name] = thing
    return named


def check_forward_is_defined(terms: Iterable[Term]) -> None:
    """Refuse terms without a loss: the base class, or one that forgot its ``forward``.

    Args:
        terms: Of a run.

    Raises:
        ConfigError: The first of them.
    """
    for term in terms:
        if type(term).forward is Term.forward:
            raise ConfigError(
                f"{type(term).__name__} has no loss of its own; give a class below starft.losses.Term that defines "
                "forward, such as starft.losses.CrossEntropy, as class_path."
            )
