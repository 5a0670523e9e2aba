"""What every rule is: a number that it watches, and whether accuracy may be lost for it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from starft.errors import ConfigError
from starft.runs.validation import Columns
from starft.wording import did_you_mean

FEWEST_OF_GROUP = 10
"""Images of a group that counts by itself: the accuracy of fewer is chance."""


@dataclass(frozen=True)
class Candidate:
    """A model that may be chosen.

    Args:
        title: What messages call it.
        metrics: ``{eval set}/{metric}`` on validation.
        samples: Validation set -> its predictions.
        pull: How strongly it is drawn to the frozen model, such as a term's weight; None where nothing says so.
    """

    title: str
    metrics: Mapping[str, float]
    samples: Mapping[str, Columns] = field(default_factory=dict)
    pull: float | None = None


@dataclass(frozen=True)
class Setting:
    """What a rule may use.

    Args:
        id_set: The validation set whose accuracy counts.
        group_sets: The validation sets with groups.
        tolerance: Accuracy that may be lost, in [0, 1], beside a standard error.
        pulls: Whether candidates have a pull.
        attributes: Inferred attribute of each image of ``id_set``, a number (n,) that is negative where it isn't known.
    """

    id_set: str
    group_sets: tuple[str, ...] = ()
    tolerance: float = 0.01
    pulls: bool = False
    attributes: NDArray[np.int64] | None = None


class Rule(ABC):
    """Chooses by `value`: among all models, or among those whose ID accuracy is near the best.

    Args:
        setting: What it may use.

    Raises:
        ConfigError: The rule needs more.
    """

    watches: ClassVar[str]
    """What `value` is, as a plot names it."""
    near_the_best: ClassVar[bool] = False
    """Whether a model must lie within the tolerance of the best ID accuracy."""
    reads_frozen: ClassVar[bool] = False
    """Whether it needs the frozen model's predictions, `frozen`, on ``id_set``."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.frozen: Columns = {}

    @abstractmethod
    def value(self, candidate: Candidate) -> float:
        """Return what is to be high.

        Args:
            candidate: A model.
        """

    def id_accuracy(self, candidate: Candidate) -> float:
        """Return the accuracy on the ID validation set.

        Args:
            candidate: A model.
        """
        return metric_of(candidate, f"{self.setting.id_set}/acc")

    def least_accuracy(self, candidates: Sequence[Candidate]) -> float:
        """Return the ID accuracy that a model must have where it must be near the best.

        It lies the tolerance and one standard error below the best: what a validation set can't tell apart counts as
        equal (the rule of one standard error of Breiman et al., Classification and Regression Trees, 1984).

        Args:
            candidates: One at least.
        """
        best = max(candidates, key=self.id_accuracy)
        accuracy, images = self.id_accuracy(best), len(best.samples[self.setting.id_set]["label"])
        share = (accuracy * images + 1) / (images + 2)  # so that all right in a few images isn't certain
        # accuracies are float32: a tolerance of one point must not fail at the eighth digit
        return accuracy - self.setting.tolerance - math.sqrt(share * (1 - share) / images) - 1e-6

    def ranked(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return models, the chosen one first; equal ones by their ID accuracy.

        Args:
            candidates: One at least.
        """
        least = self.least_accuracy(candidates) if self.near_the_best else -np.inf

        def order(candidate: Candidate) -> tuple[bool, float, float]:
            accuracy = self.id_accuracy(candidate)
            near = bool(accuracy >= least)
            return near, self.value(candidate) if near else accuracy, accuracy

        return sorted(candidates, key=order, reverse=True)


def metric_of(candidate: Candidate, name: str) -> float:
    """Return a metric of a model.

    Args:
        candidate: The model.
        name: ``{eval set}/{metric}``.

    Raises:
        ConfigError: It has none of this name.
    """
    if name not in candidate.metrics:
        known = ", ".join(candidate.metrics)
        raise ConfigError(f"Validation has no {name}, but {known}.{did_you_mean(name, candidate.metrics)}")
    return candidate.metrics[name]


def worst_of_groups(group: NDArray[np.int64], right: NDArray[np.bool_]) -> float | None:
    """Return the accuracy of the worst group of `FEWEST_OF_GROUP` images or more; None where there is none.

    Smaller groups count together, as one: what is rare in each of many classes may be enough in all of them.

    Args:
        group: Of each image, at least 0 (n,).
        right: Whether its prediction is right (n,).
    """
    sizes = np.bincount(group)
    pooled = np.where(sizes >= FEWEST_OF_GROUP, np.arange(len(sizes)), len(sizes))[group]
    totals = np.bincount(pooled)
    counted = totals >= FEWEST_OF_GROUP
    accuracies = np.bincount(pooled, weights=right.astype(float))[counted] / totals[counted]
    return float(accuracies.min()) if len(accuracies) else None
