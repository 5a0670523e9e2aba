"""Tables of a page whose cells are shaded: groups by class and attribute, confusion matrices, accuracy by class."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from starft.runs.run_reader import Run
from starft.runs.samples import SampleTable, accuracy_by

SEPARATORS = (", ", " ")
LARGEST_MAP = (80, 30)
"""Rows and columns of groups that a map shows; larger ones stay a list."""
LARGEST_MATRIX = 20
"""Classes of a confusion matrix; of more the most frequent confusions are listed."""
CONFUSIONS = 20
METHODS = 6
"""Methods that have maps and matrices; the first ones."""


@dataclass(frozen=True)
class HeatCell:
    """A cell of a map of groups.

    Args:
        acc: Mean accuracy over the runs; None where there are no images.
        n: Images.
        usual: Whether the training set has more images of this group than of any other of its class.
    """

    acc: float | None
    n: int
    usual: bool


@dataclass(frozen=True)
class HeatMap:
    """Groups of one set as one method sees them.

    Args:
        method: Its name.
        attributes: Headings of the columns.
        rows: Class name and cells.
    """

    method: str
    attributes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[HeatCell, ...]], ...]


def split_names(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return classes and attributes of group names such as "duck on land", in the order of group ids; None for others.

    Group ids go through the attributes of one class, then through those of the next.

    Args:
        names: All groups of a set.
    """
    for width in (width for width in range(2, len(names) // 2 + 1) if len(names) % width == 0):
        rows = [names[at : at + width] for at in range(0, len(names), width)]
        for separator in SEPARATORS:
            cuts = [_class_of(row, separator) for row in rows]
            ends = [[name[len(cut) :] for name in row] for cut, row in zip(cuts, rows, strict=True)]
            if all(cuts) and len(set(cuts)) == len(cuts) and all(end == ends[0] and all(end) for end in ends):
                return tuple(cut.rstrip(", ").removesuffix(" on") for cut in cuts), tuple(ends[0])
    return None


def _class_of(row: Sequence[str], separator: str) -> str:
    """Return what the names of a row begin with, up to the last separator in it."""
    same = 0
    while same < min(map(len, row)) and len({name[same] for name in row}) == 1:
        same += 1
    return row[0][: row[0].rfind(separator, 0, same) + len(separator)] if separator in row[0][:same] else ""


def group_maps(methods: Mapping[str, Sequence[Run]], eval_set: str) -> list[HeatMap]:
    """Return a map a method; none where the groups' names aren't made of classes and attributes.

    Args:
        methods: Tested runs by method.
        eval_set: Whose groups.
    """
    maps = []
    for method, runs in methods.items():
        sets = [run.sets[eval_set] for run in runs if eval_set in run.sets]
        names = [group.name for group in sets[0].groups] if sets else []
        split = split_names(names)
        if split is None or len(split[0]) > LARGEST_MAP[0] or len(split[1]) > LARGEST_MAP[1]:
            continue
        classes, attributes = split
        weights = next((item.weights for item in sets if item.weights), {})
        rows = []
        for at, name in enumerate(classes):
            own = names[at * len(attributes) : (at + 1) * len(attributes)]
            most = max((weights.get(group, 0.0) for group in own), default=0.0)
            cells = []
            for group in own:
                results = [item for some in sets for item in some.groups if item.name == group]
                accs = [item.acc for item in results if item.acc is not None]
                usual = most > 0 and weights.get(group) == most
                cells.append(HeatCell(fmean(accs) if accs else None, results[0].n if results else 0, usual))
            rows.append((name, tuple(cells)))
        maps.append(HeatMap(method, attributes, tuple(rows)))
    return maps[:METHODS]


@dataclass(frozen=True)
class Confusions:
    """What a method takes the images of each class for.

    Args:
        method: Its name.
        names: Of the classes.
        counts: Of images, by class and prediction; empty where there are too many classes.
        most: Class, prediction and number of images of the most frequent confusions.
    """

    method: str
    names: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    most: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True)
class Classes:
    """Accuracy by class of one set, and confusions.

    Args:
        methods: Those whose samples were kept.
        rows: Class, images, and its accuracy for each method; the lowest first.
        confusions: One a method.
    """

    methods: tuple[str, ...]
    rows: tuple[tuple[str, int, tuple[float | None, ...]], ...]
    confusions: tuple[Confusions, ...]


def classes_of(methods: Mapping[str, Sequence[Run]], eval_set: str) -> Classes | None:
    """Return accuracy by class and confusions of a set, of each method's first run that kept its samples.

    Args:
        methods: Tested runs by method.
        eval_set: Whose samples.
    """
    tables = {}
    for method, runs in methods.items():
        kept = [table for run in runs if run.samples is not None and len(table := run.samples.of_set(eval_set))]
        if kept:
            tables[method] = kept[0]
    tables = dict(list(tables.items())[:METHODS])
    if not tables:
        return None
    accs = {}
    for method, table in tables.items():
        names, accuracies = accuracy_by(table["label_name"], table["right"])
        accs[method] = dict(zip(names.tolist(), accuracies.tolist(), strict=True))
    counts = Counter(next(iter(tables.values()))["label_name"].tolist())
    rows = [(name, n, tuple(accs[method].get(name) for method in tables)) for name, n in counts.items()]
    rows.sort(key=lambda row: min((acc for acc in row[2] if acc is not None), default=2.0))
    confusions = tuple(_confusions(method, table) for method, table in tables.items())
    return Classes(tuple(tables), tuple(rows), confusions)


def _confusions(method: str, table: SampleTable) -> Confusions:
    names: dict[int, str] = {}
    for kind in ("label", "prediction"):
        names |= dict(zip(table[kind].tolist(), table[f"{kind}_name"].tolist(), strict=True))
    order = np.array(sorted(names))
    matrix: tuple[tuple[int, ...], ...] = ()
    if len(order) <= LARGEST_MATRIX:
        counts = np.zeros((len(order), len(order)), dtype=np.int64)
        np.add.at(counts, (np.searchsorted(order, table["label"]), np.searchsorted(order, table["prediction"])), 1)
        matrix = tuple(map(tuple, counts.tolist()))
    wrong = table.rows(~table["right"])
    pairs = Counter(zip(wrong["label_name"].tolist(), wrong["prediction_name"].tolist(), strict=True))
    most = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:CONFUSIONS]
    return Confusions(
        method, tuple(names[label] for label in order.tolist()), matrix, tuple((*two, n) for two, n in most)
    )
