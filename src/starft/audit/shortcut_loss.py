"""What a model loses by the strongest shortcut: its accuracy where the shortcut is missing, in the same classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from starft.audit.data_audit import DataAudit, in_words, listed, strongest
from starft.audit.features import FeatureSet
from starft.audit.inferred_groups import usual_values
from starft.audit.predictions import Predictions
from starft.reporting.table import percent, points
from starft.statistics import Difference, stratified_difference
from starft.wording import count_of


@dataclass(frozen=True)
class ShortcutLoss:
    """Accuracies with and without the strongest shortcut of the training images, on validation and test images.

    They are compared within each class of each set; images with another shortcut of their class count on neither side.
    Attributes are inferred; the interval doesn't know their errors.

    Args:
        name: Of the attribute.
        classes: That it goes with.
        images: How many show it, and how many don't.
        accuracies: Of the two.
        difference: With it less without it.
    """

    name: str
    classes: tuple[str, ...]
    images: tuple[int, int]
    accuracies: tuple[float, float]
    difference: Difference


def shortcut_loss(
    audit: DataAudit,
    sets: Mapping[str, FeatureSet],
    predictions: Mapping[str, Predictions],
    class_names: Sequence[str],
) -> ShortcutLoss | None:
    """Return what a model loses; None where there is no shortcut of single classes, or no image without it.

    Args:
        audit: Of the data.
        sets: Validation and test images by name.
        predictions: Of the model, by set.
        class_names: In label order.
    """
    first = strongest(audit)
    if first is None or not first.ranked.classes:
        return None
    own, usual = [class_names.index(name) for name in first.ranked.classes], usual_values(audit, class_names)
    right, total = [], []
    for name, item in sets.items():
        inferred, said = audit.inferred[name], predictions[name].labels
        shows = inferred.values == inferred.names.index(first.ranked.template)
        for label in own:
            there = (item.labels == label) & (said >= 0) & item.readable
            sides = np.stack([shows, ~np.isin(inferred.values, usual[label])]) & there
            total.append(sides.sum(axis=1))
            right.append((sides & (said == label)).sum(axis=1))
    compared = stratified_difference(np.array(right), np.array(total))
    if compared is None:
        return None
    with_it, without = np.sum(total, axis=0).tolist()
    return ShortcutLoss(first.ranked.template, first.ranked.classes, (with_it, without), *compared)


def headline(audit: DataAudit, loss: ShortcutLoss | None) -> str:
    """Return one sentence: the strongest shortcut, how many images support it, and what the model loses by it.

    Args:
        audit: Of the data.
        loss: Of the model.
    """
    first = strongest(audit)
    if loss is None or first is None:
        return in_words(audit)
    low, high = map(points, loss.difference.interval)
    change = points(loss.difference.value)
    does = {1: "loses accuracy", -1: "gains accuracy", 0: "loses nothing for certain"}[loss.difference.sign]
    with_it, without = map(percent, loss.accuracies)
    return (
        f"Strongest shortcut: {loss.name!r}, which {first.support:,} of the {first.class_images:,} training images of "
        f"{listed(loss.classes)} show, and {first.images - first.support:,} of the others; where it is missing the "
        f"model {does}: of {'this class' if len(loss.classes) == 1 else 'these classes'} in validation and test it has "
        f"{with_it} % right with it ({count_of(loss.images[0], 'image')}) and {without} % without it "
        f"({count_of(loss.images[1], 'image')}), a difference of {change} points (95 %: {low} to {high})."
    )
