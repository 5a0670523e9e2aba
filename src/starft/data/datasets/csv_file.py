"""The user's own images, listed in a table: one row an image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from starft.data.datasets.cells import canonical
from starft.data.datasets.class_names import class_list
from starft.data.datasets.drawn import DrawnSource
from starft.data.datasets.label_map import map_labels
from starft.data.datasets.table_file import DOUBTFUL, Rows, TableFile, rows_where
from starft.data.pairs import caption_labels, draw_pictures
from starft.data.problem_texts import some
from starft.data.remote_images import file_bytes_below
from starft.data.source import ImageTable
from starft.data.split_names import NUMBERED, splits_of
from starft.data.split_names import Given as GivenSplits
from starft.errors import ConfigError, DataProblems
from starft.files.addresses import shown
from starft.wording import SPLITS, did_you_mean, shortened

Ints = NDArray[np.int64]
LABEL = "label"
"""Name of the column of labels where nobody names another; then it may be missing, beside captions."""
PROBABILITY = "attribute_probability"
"""Column of the table of `starft audit data` that says that attributes and groups are inferred."""


@dataclass(frozen=True)
class _Read:
    """All rows of the file."""

    paths: Sequence[str]
    labels: Ints
    class_names: tuple[str, ...]
    groups: Ints | None
    group_names: tuple[str, ...]
    attribute_names: tuple[str, ...]
    captions: tuple[str, ...] | None
    splits: dict[str, Ints]
    notes: tuple[str, ...]


class CSVSource(DrawnSource):
    """Images in a CSV, TSV, Parquet or JSON lines file: ``path,label[,split][,attribute][,group][,caption]``.

    A group is a pair of label and attribute, or what the group column says. Without a split column, test and validation
    images are drawn, in equal shares from every group (or class); as an eval set all images are tested on. With
    captions and without labels, images are paired with texts and have no classes.

    Args:
        file: The table; its suffix tells its kind. It may be remote: ``s3://``, ``gs://``, ``https://`` or ``hf://``.
        root: Folder that the paths are relative to and must not leave, perhaps a remote one; null takes the folder of
            the file, or, where all paths are absolute or addresses, their common parent.
        path_column: Column of the image paths.
        label_column: Column of the labels: class names, or numbers; "" for none.
        split_column: Column of ``train``, ``val`` and ``test``; null takes ``split`` where it is there, "" none.
        attribute_column: Column of the spurious attribute; null takes ``attribute`` where it is there, "" none.
        group_column: Column of group names; null takes ``group`` where it is there, "" none.
        caption_column: Column of each image's own text, which the contrastive objective pairs it with; null takes
            ``caption`` where it is there, "" none.
        class_names: Names in label order; or what the label column says for each of them (``{0: cat, 1: dog}``); or a
            text file with a name a line. Null takes the labels themselves, sorted.
        separator: Between the cells of a text file; null finds it.
        splits: What the split column has for each split, one value or several: ``{train: 0, val: 1, test: 2}``; null
            takes the names above, and 0, 1 and 2 where it has just these.
        **kwargs: ``templates``, ``test_fraction``, ``val_fraction``, ``split_seed``, ``equal_groups`` and ``label_map``
            as of `CSV`; an eval set without fractions is all test.
    """

    title, remote = "CSV", True
    tree = "FILE.csv  (path,label[,split][,attribute][,group][,caption])\nimages/\n  a.jpg"

    def __init__(
        self,
        file: Path,
        root: Path | None = None,
        path_column: str = "path",
        label_column: str = LABEL,
        split_column: str | None = None,
        attribute_column: str | None = None,
        group_column: str | None = None,
        caption_column: str | None = None,
        class_names: dict[str, str] | list[str] | str | None = None,
        separator: str | None = None,
        splits: GivenSplits | None = None,
        **kwargs: Any,
    ) -> None:
        self._root_of_file = root is None
        folder = Path(root) if root is not None else Path(file).parent
        super().__init__(folder, **kwargs)
        self.file = Path(file)
        self.path_column, self.label_column, self.separator = path_column, label_column, separator
        self.extra = {"split": split_column, "attribute": attribute_column, "group": group_column}
        self.extra |= {"caption": caption_column}
        self._one_column_each()
        splits_of((), splits)
        self.given_names, self.given_splits = class_names, splits

    @property
    def class_names(self) -> tuple[str, ...]:
        """Given, or those of the label column."""
        return self._read.class_names

    @property
    def group_names(self) -> tuple[str, ...]:
        """``class, attribute`` pairs, or those of the group column."""
        return self._read.group_names

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """Those of the attribute column, unless a group column tells the groups."""
        return self._read.attribute_names

    def _one_column_each(self) -> None:
        """Refuse a column that is to be two things; group names alone may be those of labels or attributes."""
        if not self.label_column and self.extra["caption"] == "":
            raise ConfigError('label_column and caption_column are both ""; images need one of them, or both.')
        given = {"path_column": self.path_column}
        given |= {"label_column": self.label_column} if self.label_column else {}
        given |= {f"{kind}_column": column for kind, column in self.extra.items() if column}
        for combination, other in combinations(given, 2):
            fine = other == "group_column" and combination in ("label_column", "attribute_column")
            if given[combination] == given[other] and not fine:
                raise ConfigError(
                    f"{combination} and {other} both name {given[combination]!r}; give each a column of its own."
                )

    @property
    def notes(self) -> tuple[str, ...]:
        """Attributes and groups that may be missing ones, and how splits were drawn."""
        return (*self._read.notes, *self.draw_notes())

    @property
    def splits(self) -> tuple[str, ...]:
        """Those of the split column, or drawn."""
        return tuple(self._read.splits)

    def table(self, split: str) -> ImageTable:
        """List one split."""
        read = self._read
        file_bytes = file_bytes_below(self.root)
        whole = ImageTable(self.root, read.paths, read.labels, read.groups, read.captions, file_bytes=file_bytes)
        return whole.take(read.splits[split])

    def table_file(self) -> tuple[TableFile, Sequence[str]]:
        """Return the file, which was read, and the image path of each of its rows, below ``root``."""
        file = self._file()
        file.read(self._wanted())
        return file, self._read.paths

    def check_there(self) -> None:
        """Refuse a file that is missing, empty or no table, or whose header lacks a column."""
        file = self._file()
        file.check_header(self._wanted(), [self.label_column, *self._named().values()])
        if file.header:
            self._has_labels(file)

    def _file(self) -> TableFile:
        return TableFile(self.file, self.separator, self.asked_by("file"))

    def _rows(self) -> Rows:
        return self._file()

    def _named(self) -> dict[str, str]:
        """Return the columns that may be there: those asked for, and names that are taken if there."""
        asked = {kind: column for kind, column in self.extra.items() if column}
        taken = {self.path_column, self.label_column, *asked.values()}
        return asked | {kind: kind for kind, column in self.extra.items() if column is None and kind not in taken}

    def _wanted(self) -> dict[str, str]:
        """Return the columns that must be there, by the option that names each."""
        asked = {kind: column for kind, column in self.extra.items() if column}
        wanted = {"path": self.path_column} | asked
        wanted |= {"caption": self._named()["caption"]} if not self.label_column else {}
        return {self.option.format(f"{kind}_column"): column for kind, column in wanted.items()}

    def _has_labels(self, file: Rows) -> bool:
        """Return whether a file has labels; without them it must have captions, and nothing that goes by classes."""
        if self.label_column in file.header:
            return True
        if self.label_column not in ("", LABEL) or self._named().get("caption") not in file.header:
            file.has_all({self.option.format("label_column"): self.label_column})
        given = {"class_names": self.given_names, "label_map": self.label_map}
        given |= {f"{kind}_column": self.extra[kind] for kind in ("attribute", "group")}
        for name, value in given.items():
            if value:
                raise ConfigError(
                    f"{name} goes with labels, and {self.file} has captions and no labels; leave {name} out, or name "
                    f"the column of the labels with {self.option.format('label_column')}."
                )
        return False

    @cached_property
    def _read(self) -> _Read:
        file, named = self._rows(), self._named()
        frame = file.read(self._wanted(), [self.label_column, *named.values()])
        labelled = self._has_labels(file)
        kinds = [*named] if labelled else ["split", "caption"]
        column = {kind: frame[named[kind]] for kind in kinds if named.get(kind) in frame}
        problems: list[str] = []
        label_columns = [self.label_column] if labelled else []
        for name in (self.path_column, *label_columns, *(named[kind] for kind in column if kind != "split")):
            rows = rows_where(frame[name].isna())
            if rows:
                told = "1 row" if len(rows) == 1 else f"{len(rows)} rows"
                problems.append(f"the column {name!r} is empty (or NaN) in {told}, {file.where(rows)}")
        captions = _captions(column["caption"], file, problems) if "caption" in column else None
        class_names: tuple[str, ...] = ()
        labels = caption_labels(captions or ())
        if labelled:
            labels, class_names = self._labels(frame[self.label_column], file, problems)
        groups, group_names, attributes = self._groups(labels, class_names, column)
        splits = self._splits(labels, groups, column.get("split"), file, problems)
        if not labelled and not self.has_splits and not self.all_is_test:
            pictures = frame[self.path_column].fillna("").tolist()
            splits = draw_pictures(pictures, self.test_fraction, self.val_fraction, self.split_seed)
        if labelled and len(class_names) < 2 and not problems:
            problems.append(
                f"the column {self.label_column!r} holds one class only, {some(class_names)}; "
                "there must be at least two"
            )
        if problems:
            raise DataProblems([f"{shown(self.file)}: {problems[0]}", *problems[1:]])
        self.root = (self._root_of_file and file.common_root(frame[self.path_column])) or self.root
        paths = file.paths(frame[self.path_column], self.root)
        notes = tuple(
            f"the column {named[kind]!r} says {value} ({rows}), which often means that nothing is known; "
            "it counts as a value like any other"
            for kind in ("attribute", "group")
            for value, rows in (_doubtful(column[kind], file) if kind in column else {}).items()
        )
        if groups is not None and PROBABILITY in file.header:
            notes += (
                "groups are inferred, and some images may stand in the wrong one; `starft audit model` tells their "
                "accuracies with intervals that know it",
            )
        if not labelled:
            ignored = [named[kind] for kind in ("attribute", "group") if named.get(kind, "") in file.header]
            notes += (
                "there is no column of labels, so images are paired with their captions: no classes, and retrieval in "
                "the place of accuracy" + "".join(f"; the column {name!r} isn't read" for name in ignored),
            )
        if "split" in column and self.given_splits is None and {*_coded(column["split"])[1]} == {*NUMBERED}:
            notes += (f"the column {named['split']!r} has 0, 1 and 2, which are read as train, val and test",)
        notes += tuple(
            f"the column {name!r} writes one value in several ways, {some(written)}; they count as one"
            for name in (*label_columns, *(named[kind] for kind in column if kind != "caption"))
            for written in _written_apart(frame[name])
        )
        return _Read(paths, labels, class_names, groups, group_names, attributes, captions, splits, notes)

    def _labels(self, cells: "pd.Series[str]", file: Rows, problems: list[str]) -> tuple[Ints, tuple[str, ...]]:
        codes, values = _coded(cells)
        if self.label_map is None:
            names, meant = class_list(self.given_names, values, self.label_column)
            known = [*meant]
        else:
            names, meant, known = map_labels(self.label_map, values, self.given_names, self.label_column)
        if self.given_names is None and self.label_map is None:
            problems += [
                f"the label {value!r} ({rows}) often means that nothing is known; take the rows out, or list it in "
                "class_names if it is a class"
                for value, rows in _doubtful(cells, file).items()
            ]
        unknown = [value for value in values if value not in meant]
        kind, option = ("classes", "class_names") if self.label_map is None else ("labels", "label_map")
        kind = f"{len(names) if self.label_map is None else len(known)} {kind}"
        for value in unknown[:5]:
            rows = file.where(np.flatnonzero(codes == values.index(value)).tolist())
            near = did_you_mean(value, known, quote=True).replace("?", "").strip()
            problems.append(
                f"the label {shortened(repr(value))} ({rows}) is none of the {kind}: {some(known)}"
                + (f" ({near[0].lower()}{near[1:]}?)" if near else "")
                + f"; mend it, or list it in {option}"
            )
        if len(unknown) > 5:
            problems.append(f"{len(unknown) - 5} more labels are none of the {kind}")
        position = np.array([*(meant.get(value, -1) for value in values), -1], dtype=np.int64)
        return position[codes], names

    def _groups(
        self, labels: Ints, class_names: tuple[str, ...], column: Mapping[str, "pd.Series[str]"]
    ) -> tuple[Ints | None, tuple[str, ...], tuple[str, ...]]:
        """Return group ids, group names and, where groups are pairs of label and attribute, the attributes."""
        if "group" in column:
            codes, values = _coded(column["group"])
            return codes, tuple(values), ()
        if "attribute" in column:
            codes, values = _coded(column["attribute"])
            pairs = tuple(f"{name}, {value}" for name in class_names for value in values)
            return labels * len(values) + codes, pairs, tuple(values)
        return None, (), ()

    def _splits(
        self,
        labels: Ints,
        groups: Ints | None,
        column: "pd.Series[str] | None",
        file: Rows,
        problems: list[str],
    ) -> dict[str, Ints]:
        self.has_splits = column is not None
        if column is None:
            return self.draw(labels, groups)
        codes, values = _coded(column)
        split_of = splits_of(values, self.given_splits)
        for at in sorted({*codes.tolist()}):
            value = values[at] if at >= 0 else "an empty cell"
            if at < 0 or value not in split_of:
                rows = file.where(np.flatnonzero(codes == at).tolist())
                problems.append(
                    f"the split column says {shortened(value)} in {rows}; {self._split_advice(value, at < 0)}"
                )
        meant = np.array([*(split_of.get(value, "") for value in values), ""])[codes]
        rows_of = {split: np.flatnonzero(meant == split) for split in ("train", "val", "test")}
        return {split: item for split, item in rows_of.items() if len(item)}

    def _split_advice(self, value: str, empty: bool) -> str:
        """Return what to do about a value of the split column that is no split."""
        if self.given_splits is not None:
            return "the option splits doesn't list that; add it there, or leave these rows out of the table"
        words = [] if empty or value in NUMBERED or value.lower() in ("true", "false") else [*SPLITS]
        near = did_you_mean(value.lower(), words, 1, quote=True).strip().rstrip("?")
        mapped = "" if empty else ", or be mapped, as by splits {train: 0, val: 1, test: 2}"
        return "it must be train, val or test" + (f" ({near[0].lower()}{near[1:]}?)" if near else mapped)


def _captions(cells: "pd.Series[str]", file: Rows, problems: list[str]) -> tuple[str, ...]:
    """Return the text of each row without the spaces around it; a column of them may be as long as the data."""
    doubtful = rows_where(cells.isin(DOUBTFUL))
    if doubtful:
        problems.append(
            f"the caption {cells.iloc[doubtful[0]]!r} ({file.where(doubtful[:1])}) often means that nothing is known; "
            "write what the image shows, or take the row out"
        )
    return tuple("" if pd.isna(text) else str(text).strip() for text in cells.tolist())


def _doubtful(cells: "pd.Series[str]", file: Rows) -> dict[str, str]:
    """Return the values of a column that often stand for an empty cell, and where they are."""
    codes, values = _coded(cells)
    at = {value: np.flatnonzero(codes == place).tolist() for place, value in enumerate(values) if value in DOUBTFUL}
    return {value: file.where(rows) for value, rows in at.items()}


def _written_apart(cells: "pd.Series[str]") -> list[list[str]]:
    """Return the values that a column writes in several ways, such as 1.1 and 1.10, with these ways."""
    ways: dict[str, list[str]] = {}
    for cell in cells.dropna().unique():
        text = str(cell).strip()
        ways.setdefault(canonical(text), []).append(text)
    return [[*dict.fromkeys(written)] for written in ways.values() if len({*written}) > 1]


def _coded(cells: "pd.Series[str]") -> tuple[Ints, list[str]]:
    """Return the code of each cell, -1 for an empty one, and the values: numbers by size, texts by the alphabet."""
    codes, result = pd.factorize(cells)
    written = [canonical(str(value).strip()) for value in result]
    values = sorted(set(written), key=_order)
    place = {value: at for at, value in enumerate(values)}
    return np.array([*(place[value] for value in written), -1], dtype=np.int64)[codes], values


def _order(value: str) -> tuple[int, float, str]:
    try:
        return (0, float(value), value)
    except ValueError:
        return (1, 0.0, value)
