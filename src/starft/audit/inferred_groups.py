"""Accuracies with and without a class's shortcut, where the shortcut of each image is inferred."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from starft.audit.attributes import UNREADABLE, InferredAttributes
from starft.audit.data_audit import DataAudit, shortcuts
from starft.audit.features import FeatureSet
from starft.audit.group_accuracy import Corrected, bounded, corrected_by_checks
from starft.audit.phrases import shown
from starft.audit.predictions import Predictions
from starft.data.datasets.table_file import TableFile, rows_where
from starft.errors import DataError
from starft.statistics import Interval
from starft.wording import count_of, did_you_mean

FEWEST_CHECKED = 20
"""Checked images of a set from which on they correct its accuracies; with fewer there are bounds."""
SIDES = ("with its shortcut", "without its shortcut")
GroupNames = dict[str, list[str]] | None


@dataclass(frozen=True)
class InferredGroup:
    """Images of one class with its shortcut, or without it, by inferred attributes.

    Args:
        name: Class and side.
        images: How many.
        accuracy: As inferred.
        corrected: Corrected for errors of the inference; None where only bounds are known.
        interval: 95 %, of the true accuracy.
    """

    name: str
    images: int
    accuracy: float
    corrected: float | None
    interval: Interval


@dataclass(frozen=True)
class InferredGroups:
    """Groups of one set.

    Args:
        groups: Those with images, in label order.
        worst: The one that looks worst.
        worst_interval: 95 %, of the lowest true accuracy.
        checked: How many images' attributes were checked; 0 where bounds stand for a correction.
    """

    groups: tuple[InferredGroup, ...]
    worst: InferredGroup
    worst_interval: Interval
    checked: int


def usual_values(audit: DataAudit, class_names: Sequence[str]) -> dict[int, list[int]]:
    """Return for each label with a shortcut the positions of the values that go with it beyond chance.

    Args:
        audit: Of the training images.
        class_names: In label order.
    """
    names = next(iter(audit.inferred.values())).names
    own: dict[int, list[int]] = {}
    for item in shortcuts(audit):
        for name in item.ranked.classes:
            own.setdefault(class_names.index(name), []).append(names.index(item.ranked.template))
    return dict(sorted(own.items()))


def group_names(audit: DataAudit, labels: Mapping[str, NDArray[np.int64]], class_names: Sequence[str]) -> GroupNames:
    """Return the group of each image by set: its class with or without its shortcut; None where there is no shortcut.

    A class without a shortcut is one group; an image that couldn't be read counts as one with its shortcut.

    Args:
        audit: Of these images.
        labels: Of the images of each set.
        class_names: In label order.
    """
    usual = usual_values(audit, class_names)
    if not usual:
        return None
    names: dict[str, list[str]] = {}
    for name, inferred in audit.inferred.items():
        unread = inferred.names.index(UNREADABLE)
        rows = zip(labels[name].tolist(), inferred.values.tolist(), strict=True)
        names[name] = [
            f"{class_names[y]} {SIDES[v not in (*usual[y], unread)]}" if y in usual else class_names[y] for y, v in rows
        ]
    return names


@dataclass(frozen=True)
class Checked:
    """One row of a table of true attributes.

    Args:
        path: Of the image, as its data set has it.
        attribute: Its true value.
        where: Of the row, for messages.
    """

    path: str
    attribute: str
    where: str


def read_checked(path: Path) -> list[Checked]:
    """Return the rows of a table with the columns ``path`` and ``attribute``.

    Args:
        path: Of the table.

    Raises:
        DataError: It can't be read, a cell is empty, or an image has two attributes.
    """
    table = TableFile(path, option="--checked")
    rows = table.read({"path": "path", "attribute": "attribute"})
    if empty := rows_where(rows.isna().any(axis=1)):
        raise DataError(f"{path} has an empty cell ({table.where(empty[:1])}); give each image its attribute.")
    cells = zip(rows["path"], rows["attribute"], strict=True)
    checked = [Checked(image, value, f"{path}, {table.where([row])}") for row, (image, value) in enumerate(cells)]
    first = {row.path: row for row in reversed(checked)}
    for row in checked:
        if row.attribute != first[row.path].attribute:
            raise DataError(
                f"{row.path!r} is {row.attribute!r} ({row.where}) and {first[row.path].attribute!r} "
                f"({first[row.path].where}); leave one of them out."
            )
    return checked


def check_places(checked: Sequence[Checked], paths: Mapping[str, Sequence[str]]) -> None:
    """Refuse rows on images that an audit doesn't look at, before it looks at any.

    Args:
        checked: Rows of a table.
        paths: Of the validation and test images, by set.

    Raises:
        DataError: There is no such image, or several sets have one of that path, below folders of their own.
    """
    sets: dict[str, list[str]] = {}
    for name, own in paths.items():
        for path in own:
            sets.setdefault(path, []).append(name)
    for row in checked:
        if row.path not in sets:
            raise DataError(f"{row.path!r} ({row.where}) is no validation or test image; leave it out.")
        if len(sets[row.path]) > 1:
            raise DataError(
                f"{row.path!r} ({row.where}) is an image of {' and of '.join(sets[row.path])}, so nobody can tell "
                "which one you looked at; leave it out."
            )


def true_values(
    checked: Sequence[Checked], audit: DataAudit, sets: Mapping[str, FeatureSet]
) -> dict[str, dict[int, int]]:
    """Return for each set the true value of the images that were checked, by position.

    Args:
        checked: Rows of a table, after `check_places`.
        audit: Whose values are meant; any phrase means its value, also without its ``{}`` if it is the only such one.
        sets: Validation and test images.

    Raises:
        DataError: There is no such attribute.
    """
    names = next(iter(audit.inferred.values())).names
    values = {name: at for at, name in enumerate(names)}
    phrases = {phrase: values[item.ranked.template] for item in audit.attributes for phrase in item.phrases}
    meant: dict[str, set[int]] = {}
    for phrase, at in phrases.items():
        meant.setdefault(shown([phrase])[0], set()).add(at)
    values = {bare: min(of) for bare, of in meant.items() if len(of) == 1} | phrases | values
    places = {image: (name, at) for name, item in sets.items() for at, image in enumerate(item.paths)}
    result: dict[str, dict[int, int]] = {name: {} for name in sets}
    for row in checked:
        if row.attribute not in values:
            near = did_you_mean(row.attribute, [name for name in values if "{}" not in name])
            raise DataError(f"{row.attribute!r} ({row.where}) is no attribute of this audit; see audit.json.{near}")
        name, at = places[row.path]
        result[name][at] = values[row.attribute]
    return result


def inferred_groups(
    labels: NDArray[np.int64],
    inferred: InferredAttributes,
    predictions: Predictions,
    usual: Mapping[int, Sequence[int]],
    class_names: Sequence[str],
    checked: Mapping[int, int],
    seed: int,
) -> InferredGroups | None:
    """Return the accuracies of the classes that have a shortcut; None where no class of the set has one.

    Args:
        labels: Of the images (N,).
        inferred: Their attributes.
        predictions: Of the model.
        usual: The `usual_values`.
        class_names: In label order.
        checked: True value of some images, drawn at random, by position.
        seed: Of draws.
    """
    places = {label: at for at, label in enumerate(usual)}
    there = (predictions.labels >= 0) & np.isin(labels, [*usual])
    if not there.any():
        return None
    right = (predictions.labels == labels).astype(np.int64)
    side = np.array(
        [int(v not in usual.get(y, ())) for y, v in zip(labels.tolist(), inferred.values.tolist(), strict=True)]
    )
    row = np.array([places.get(label, 0) for label in labels.tolist()])
    counts = np.zeros((len(usual), 2, 2), dtype=np.int64)
    np.add.at(counts, (row[there], side[there], right[there]), 1)
    known = [at for at in checked if there[at]]
    if len(known) >= FEWEST_CHECKED:
        checks = np.zeros((len(usual), 2, 2, 2), dtype=np.int64)
        for at in known:
            checks[row[at], int(checked[at] not in usual[int(labels[at])]), side[at], right[at]] += 1
        result = corrected_by_checks(counts, checks, seed)
    else:
        known = []
        doubt = np.where(there, 1.0 - inferred.probabilities, 0.0)
        sums = np.zeros((2, len(usual), 2))
        np.add.at(sums[0], (row[there], side[there]), doubt[there])
        np.add.at(sums[1], (row[there], side[there]), (doubt * (1 - doubt))[there])
        result = bounded(counts, sums[0], np.sqrt(sums[1]))
    groups = _groups(counts, result, [class_names[label] for label in usual], corrected=bool(known))
    worst = groups[result.worst]
    return InferredGroups(tuple(group for group in groups if group.images), worst, result.worst_interval, len(known))


def few_checked(checked: Mapping[str, Mapping[int, int]], groups: Mapping[str, InferredGroups]) -> list[str]:
    """Return a sentence on each set with checked images that are too few to correct its accuracies.

    Args:
        checked: True value of some images of each set, by position.
        groups: Of the sets.
    """
    return [
        f"{count_of(len(rows), 'image')} of {name} {'was' if len(rows) == 1 else 'were'} checked, and a correction "
        f"needs {FEWEST_CHECKED} of classes with a shortcut; so its accuracies have bounds only."
        for name, rows in checked.items()
        if rows and name in groups and not groups[name].checked
    ]


def _groups(counts: NDArray[np.int64], result: Corrected, names: Sequence[str], corrected: bool) -> list[InferredGroup]:
    rows = zip(
        counts.reshape(-1, 2).tolist(),
        *(part.ravel().tolist() for part in (result.values, result.lows, result.highs)),
        strict=True,
    )
    titles = [f"{name} {side}" for name in names for side in SIDES]
    return [
        InferredGroup(title, wrong + right, right / max(wrong + right, 1), value if corrected else None, (low, high))
        for title, ((wrong, right), value, low, high) in zip(titles, rows, strict=True)
    ]
