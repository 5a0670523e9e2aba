"""``starft audit model``: the error slices of a trained model in words, and its groups by inferred attributes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from starft.audit.attributes import NO_PHRASE, InferredAttributes
from starft.audit.clusters import CLUSTER
from starft.audit.data_audit import DataAudit
from starft.audit.features import FeatureSet
from starft.audit.inferred_groups import InferredGroups, inferred_groups, usual_values
from starft.audit.predictions import Predictions
from starft.audit.slices import FEWEST as GROUP
from starft.audit.slices import ErrorSlice, error_slices, first_half, named
from starft.errors import DataError
from starft.reporting.table import percent
from starft.statistics import Difference, Interval, paired_difference, wilson_interval
from starft.wording import count_of

FEWEST = 50
"""Validation and test images that an audit needs."""
FREQUENT = 0.2
"""Share of a slice's images from which on a class or an attribute stands in its words."""
MORE = 1.5
"""How much more frequent an attribute of a slice's words is in it than in its classes."""
WORDS = 2
"""Attributes, classes and wrong predictions that a slice's words name, each."""


@dataclass(frozen=True)
class Share:
    """How many of a slice's images have something.

    Args:
        name: An attribute or a class.
        share: Of the slice's images.
        expected: Share that its classes have on the whole; None of classes.
    """

    name: str
    share: float
    expected: float | None = None


@dataclass(frozen=True)
class SliceImage:
    """One held-out image of a slice.

    Args:
        set: Of the image, such as ``test/id``.
        path: As the data set has it.
        label: Its class.
        prediction: What the model says.
        probability: The model's own, of that.
    """

    set: str
    path: str
    label: str
    prediction: str
    probability: float


@dataclass(frozen=True)
class NamedSlice:
    """An error slice in words.

    Args:
        measured: The slice and its error on held-out images.
        words: Classes, attributes and what the model takes them for.
        attributes: Inferred attributes that are more frequent in it than in its classes.
        classes: The most frequent classes.
        taken_for: The most frequent wrong predictions, as shares of the wrong images.
        images: All of it that were held out, those that belong to it most first.
        other: Error of the second model on these images; None without one.
        difference: Error of the second model less that of the first.
    """

    measured: ErrorSlice
    words: str
    attributes: tuple[Share, ...]
    classes: tuple[Share, ...]
    taken_for: tuple[Share, ...]
    images: tuple[SliceImage, ...]
    other: float | None
    difference: Difference | None


@dataclass(frozen=True)
class ModelAudit:
    """What an audit of a model found.

    Args:
        slices: Those that are no accident, the surest first.
        looked_at: How many were measured.
        images: Validation and test images.
        held_out: Those of them that slices were measured on.
        error: Share of the held-out images that the model has wrong.
        error_interval: 95 %.
        groups: By set, where classes have a shortcut.
    """

    slices: tuple[NamedSlice, ...]
    looked_at: int
    images: int
    held_out: int
    error: float
    error_interval: Interval
    groups: Mapping[str, InferredGroups]


def check_number(images: int) -> None:
    """Refuse too few validation and test images.

    Args:
        images: How many there are.

    Raises:
        DataError: Slices of so few would be chance.
    """
    if images < FEWEST:
        raise DataError(
            f"There are {images} validation and test images, and an audit of a model needs {FEWEST} at least; take "
            "more."
        )


@dataclass(frozen=True)
class _Images:
    """The readable images of all sets in a row."""

    sets: Sequence[FeatureSet]
    of_set: NDArray[np.int64]
    at: NDArray[np.int64]
    labels: NDArray[np.int64]
    values: NDArray[np.int64]
    predicted: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    strata: NDArray[np.int64]


def audit_model(
    audit: DataAudit,
    sets: Mapping[str, FeatureSet],
    predictions: Mapping[str, Predictions],
    class_names: Sequence[str],
    seed: int,
    second: Mapping[str, Predictions] | None = None,
    checked: Mapping[str, Mapping[int, int]] | None = None,
) -> ModelAudit:
    """Return the slices of validation and test images that a model fails on, and its groups.

    Args:
        audit: Of the data, with the attributes of these sets.
        sets: Features of validation and test images by name.
        predictions: Of the model, by set.
        class_names: In label order.
        seed: Of halves, fits and draws.
        second: Predictions of a model that it is compared with.
        checked: True attribute of some images of each set, by position.

    Raises:
        DataError: There are too few images.
    """
    images = _joined(sets, audit.inferred, predictions, len(class_names))
    check_number(len(images.labels))
    features = np.concatenate(
        [np.asarray(item.rows[images.at[images.of_set == n]], dtype=np.float32) for n, item in enumerate(images.sets)]
    )
    wrong = images.predicted != images.labels
    slices = error_slices(features, images.labels, images.strata, wrong, seed)
    held_out = ~first_half(images.strata, seed)
    other = None
    if second is not None:
        other = np.concatenate(
            [second[item.name].labels[images.at[images.of_set == n]] for n, item in enumerate(images.sets)]
        )
    names = audit.inferred[next(iter(sets))].names
    usual = usual_values(audit, class_names)
    groups = {
        name: inferred_groups(
            item.labels,
            audit.inferred[name],
            predictions[name],
            usual,
            class_names,
            (checked or {}).get(name, {}),
            seed,
        )
        for name, item in sets.items()
    }
    errors, size = int(wrong[held_out].sum()), int(held_out.sum())
    return ModelAudit(
        slices=tuple(_in_words(item, images, held_out, names, class_names, other) for item in named(slices)),
        looked_at=len(slices),
        images=len(images.labels),
        held_out=size,
        error=errors / size,
        error_interval=wilson_interval(errors, size) or (0.0, 1.0),
        groups={name: item for name, item in groups.items() if item is not None},
    )


def _joined(
    sets: Mapping[str, FeatureSet],
    inferred: Mapping[str, InferredAttributes],
    predictions: Mapping[str, Predictions],
    classes: int,
) -> _Images:
    at = [np.flatnonzero((predictions[name].labels >= 0) & item.readable) for name, item in sets.items()]
    of_set = np.repeat(np.arange(len(sets)), [len(own) for own in at])

    def rows(parts: Sequence[NDArray[np.generic]]) -> NDArray[np.generic]:
        return np.concatenate([part[own] for part, own in zip(parts, at, strict=True)])

    labels = rows([item.labels for item in sets.values()]).astype(np.int64)
    return _Images(
        sets=[*sets.values()],
        of_set=of_set,
        at=np.concatenate(at),
        labels=labels,
        values=rows([inferred[name].values for name in sets]).astype(np.int64),
        predicted=rows([predictions[name].labels for name in sets]).astype(np.int64),
        probabilities=rows([predictions[name].probabilities for name in sets]).astype(np.float32),
        strata=of_set * classes + labels,
    )


def _in_words(
    item: ErrorSlice,
    images: _Images,
    held_out: NDArray[np.bool_],
    names: Sequence[str],
    class_names: Sequence[str],
    other: NDArray[np.int64] | None,
) -> NamedSlice:
    """Describe a slice, show its images, and measure the second model on it."""
    own = item.members
    expected = np.zeros(len(names))
    for stratum, count in zip(*np.unique(images.strata[own], return_counts=True), strict=True):
        there = images.values[held_out & (images.strata == stratum)]
        expected += count / len(own) * np.bincount(there, minlength=len(names)) / len(there)
    frequent = [
        Share(share.name, share.share, float(expected[names.index(share.name)]))
        for share in _shares(images.values[own], names)
        if share.share >= MORE * expected[names.index(share.name)]
    ]
    classes = _shares(images.labels[own], class_names)
    mistakes = own[images.predicted[own] != images.labels[own]]
    taken_for = _shares(images.predicted[mistakes], class_names)
    shown = tuple(
        SliceImage(
            images.sets[images.of_set[at]].name,
            images.sets[images.of_set[at]].paths[images.at[at]],
            class_names[images.labels[at]],
            class_names[images.predicted[at]],
            round(float(images.probabilities[at]), 4),
        )
        for at in own.tolist()
    )
    places = " or ".join(_place(share.name) for share in frequent if share.name != NO_PHRASE)
    taken = " or ".join(share.name for share in taken_for)
    words = " or ".join(share.name for share in classes) or "images of many classes"
    words += (f" {places}" if places else "") + (f", taken for {taken}" if taken else "")
    error, difference = None, None
    if other is not None:
        right, others_right = images.predicted[own] == images.labels[own], other[own] == images.labels[own]
        error = float(1 - others_right.mean())
        # Of accuracies, the first's less the second's.
        difference = paired_difference(right, others_right, level=item.level)
    return NamedSlice(item, words, tuple(frequent), tuple(classes), tuple(taken_for), shown, error, difference)


def _place(name: str) -> str:
    """Return an attribute as it reads behind the name of a class."""
    return f"of {name}" if name.startswith(CLUSTER) else name


def _shares(values: NDArray[np.int64], names: Sequence[str]) -> list[Share]:
    """Return the most frequent values that many of the images have."""
    counts = np.bincount(values, minlength=len(names))
    most = np.argsort(-counts, kind="stable")[:WORDS]
    return [
        Share(names[at], float(counts[at] / len(values))) for at in most if counts[at] >= FREQUENT * max(len(values), 1)
    ]


def in_words(audit: ModelAudit) -> str:
    """Return what an audit of a model found, in a sentence or two.

    Args:
        audit: What was found.
    """
    looked = (
        f"{count_of(audit.looked_at, 'candidate')} found on one half of {audit.images:,} images, measured on the other"
    )
    if not audit.looked_at:
        half = f"one half of {audit.images:,} images"
        return f"No error slice: on {half} the model fails on no group of {GROUP} or more beyond its classes."
    if not audit.slices:
        return f"No error slice: of {looked}, none has more errors than its classes beyond chance."
    first = audit.slices[0]
    size, wrong = len(first.measured.members), first.measured.wrong
    return (
        f"{count_of(len(audit.slices), 'error slice')} of {looked}. The first: {first.words}; {wrong} of {size} images "
        f"are wrong ({percent(first.measured.error)} %; of their classes {percent(first.measured.expected)} %)."
    )
