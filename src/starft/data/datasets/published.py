"""What the published data sets share: names that can be replaced, folders that must be there, files that are read."""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from starft.captions.templates import check_templates
from starft.data.listing import list_files
from starft.data.source import ImageTable, Published, Source
from starft.errors import ConfigError, DataError
from starft.files.atomic import load_json
from starft.wording import did_you_mean


class PublishedSource(Source):
    """A data set with a layout, class names and templates of its own.

    Args:
        root: Its folder, or the folder that holds it under its usual name.
        class_names: Names to put in the place of its own, one a class in label order; null keeps its own.
        templates: Caption templates to put in the place of its own, each with ``{}`` once; null keeps its own.
    """

    folders: ClassVar[tuple[str, ...]] = ()
    """What the data set's folder is usually called."""
    own_templates: ClassVar[tuple[str, ...]]
    """Templates where the config gives none."""
    counts: ClassVar[Mapping[str, int | tuple[int, ...] | None]]
    """Split -> its images as they are published, or those of each group; None where nobody says."""

    def __init__(self, root: Path, class_names: list[str] | None = None, templates: list[str] | None = None) -> None:
        root = Path(root)
        super().__init__(next((root / name for name in self.folders if (root / name).is_dir()), root))
        check_templates(templates or None, f"Each template of {self.title}")
        self._class_names, self._templates = class_names, templates

    @property
    def own_class_names(self) -> tuple[str, ...]:
        """Class names where the config gives none."""
        raise NotImplementedError

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name a class, in label order."""
        if self._class_names is None:
            return self.own_class_names
        if len(self._class_names) != len(self.own_class_names):
            raise ConfigError(
                f"{self.title} has {len(self.own_class_names)} classes; got {len(self._class_names)} class_names."
            )
        return tuple(self._class_names)

    @property
    def templates(self) -> tuple[str, ...]:
        """Caption templates, each with ``{}`` once."""
        return tuple(self._templates) if self._templates else self.own_templates

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that are published."""
        return tuple(self.counts)

    def published(self, split: str) -> Published:
        """Return the counts of the paper."""
        counts = self.counts[split]
        if not isinstance(counts, tuple):
            return Published(counts)
        return Published(sum(counts), dict(zip(self.group_names, counts, strict=True)))

    def need(self, below: str) -> Path:
        """Return the path of a file or folder that must be there.

        Args:
            below: Its path below ``root``.

        Raises:
            DataError: It isn't there.
        """
        path = self.root / below
        if not path.exists():
            beside = (self.root.parent / name for name in self.folders)
            there = next((item for item in beside if item.is_dir()), None)
            if there is not None and not self.root.is_dir():
                raise DataError(
                    f"{self.title}: {path} doesn't exist, but {there} does; give that as its root "
                    "(data.init_args.root where it is trained on)."
                )
            raise DataError(f"{self.title}: {path} doesn't exist; give the root of a folder like this:\n{self.tree}")
        return path

    def read_text(self, below: str) -> str:
        """Return what a text file holds.

        Args:
            below: Its path below ``root``.

        Raises:
            DataError: It is missing or can't be read as UTF-8.
        """
        path = self.need(below)
        try:
            return path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{self.title}: {path} can't be read as text ({error}); get a whole copy.") from error

    def read_lines(self, below: str) -> list[str]:
        """Return the lines of a text file, stripped, without empty ones.

        Args:
            below: Its path below ``root``.

        Raises:
            DataError: It is missing or can't be read as UTF-8.
        """
        return [line.strip() for line in self.read_text(below).splitlines() if line.strip()]

    def read_table(self, below: str, columns: Sequence[str]) -> list[list[str]]:
        """Return columns of a text table with a header.

        Args:
            below: Its path below ``root``.
            columns: Which columns.

        Returns:
            One list of strings for each of ``columns``.

        Raises:
            DataError: The file or a column is missing, or a row is short.
        """
        path = self.need(below)
        rows = csv.reader(StringIO(self.read_text(below), newline=""))
        header = next(rows, [])
        for column in columns:
            if column not in header:
                near = did_you_mean(column, header)
                raise DataError(f"{self.title}: {path} has no column {column}; get a whole copy.{near}")
        places = [header.index(column) for column in columns]
        read: list[list[str]] = [[] for _ in columns]
        for row in rows:
            if len(row) <= max(places):
                raise DataError(f"{self.title}: line {rows.line_num} of {path} is cut short; get a whole copy.")
            for values, place in zip(read, places, strict=True):
                values.append(row[place])
        return read

    def read_json(self, below: str) -> Any:
        """Return what a JSON file holds.

        Args:
            below: Its path below ``root``.

        Raises:
            DataError: It is missing or isn't JSON.
        """
        text = self.read_text(below)
        try:
            return load_json(text)
        except ValueError as error:
            raise DataError(f"{self.title}: {self.root / below} isn't valid JSON; get a whole copy.") from error

    def whole_numbers(self, values: Sequence[str], what: str) -> NDArray[np.int64]:
        """Return text as whole numbers (N,).

        Args:
            values: N of them.
            what: What messages call them.

        Raises:
            DataError: One isn't a whole number.
        """
        try:
            return np.array(values).astype(np.int64) if values else np.zeros(0, np.int64)
        except ValueError as error:
            raise DataError(f"{self.title}: {what} must hold whole numbers: {error}.") from error

    def from_class_folders(self, below: str, labels: Mapping[str, int], others: bool = False) -> ImageTable:
        """List a folder with one folder a class.

        A class folder that is missing is no error here: the count of images tells of it.

        Args:
            below: The folder's path below ``root``; "" for ``root`` itself.
            labels: Label of each class folder.
            others: Whether there may be other folders; they are left out.

        Raises:
            DataError: It is missing, or holds no class folder, or one of an unknown class.
        """
        top = self.need(below)
        try:
            listing = list_files(top)
        except OSError as error:
            raise DataError(f"{self.title}: {top} can't be listed: {error.strerror}; check its permissions.") from error
        images = listing.images
        folders = [path.partition("/")[0] if "/" in path else "" for path in images]
        unknown = sorted({*folders} - labels.keys() - {""})
        if unknown and not others:
            more = f", nor are {len(unknown) - 1} others" if len(unknown) > 1 else ""
            raise DataError(
                f"{self.title}: {top / unknown[0]} isn't a folder of one of its {len(labels)} classes{more}; move it "
                f"away, or give the root of a folder like this:\n{self.tree}"
            )
        label_of = [labels.get(folder, -1) for folder in folders]
        rows = sorted((row for row in range(len(images)) if label_of[row] >= 0), key=label_of.__getitem__)
        if not rows:
            raise DataError(
                f"{self.title}: {top} holds images in none of the {len(labels)} class folders; sort the images into "
                f"them, so that the root looks like this:\n{self.tree}"
            )
        start = f"{below}/" if below else ""
        paths = tuple(start + images[row] for row in rows)
        labels_of_rows = np.array([label_of[row] for row in rows], dtype=np.int64)
        return ImageTable(self.root, paths, labels_of_rows, left_out=tuple(start + path for path in listing.left_out))

    def train_shares(self) -> tuple[float, ...]:
        """Return the share of each group in the train split, for adjusted accuracy."""
        groups = self.table("train").groups
        if groups is None or not len(groups):
            return ()
        counts = np.bincount(groups, minlength=len(self.group_names))
        return tuple(float(count) for count in counts / counts.sum())
