"""The user's own images in folders: one folder a class."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from starft.data.datasets.class_names import class_list, texts
from starft.data.datasets.drawn import DrawnSource
from starft.data.datasets.label_map import map_labels
from starft.data.listing import list_files
from starft.data.picture_files import left_out, lost_classes
from starft.data.problem_texts import name_problem, some
from starft.data.source import ImageTable
from starft.errors import ConfigError, DataError, DataProblems
from starft.wording import SPLITS

ORDER: tuple[str, ...] = ("train", "val", "test")


class ImageFolderSource(DrawnSource):
    """Images in ``{split}/{class}/``, ``{split}/{attribute}/{class}/``, or the same without split folders.

    Folders below a class folder belong to the class. Without split folders, test and validation images are drawn, in
    equal shares from every group (or class); as an eval set all images are tested on.

    Args:
        root: Folder that holds them.
        attribute_level: Whether a level of attribute folders lies above the class folders; groups are then pairs of
            class and attribute.
        class_names: Names of the class folders in sorted order; or the name of each folder (``{n01: cat, n02: dog}``);
            or a text file with a name a line. Null takes the folders' names, ``_`` read as a space.
        **kwargs: ``templates``, ``test_fraction``, ``val_fraction``, ``split_seed``, ``equal_groups`` and ``label_map``
            as of `ImageFolder`; an eval set without fractions is all test.
    """

    title = "ImageFolder"
    tree = "ROOT/\n  train/\n    CLASS/\n      any.jpg\n  test/\n    CLASS/\n      any.jpg"

    def __init__(
        self,
        root: Path,
        attribute_level: bool = False,
        class_names: dict[str, str] | list[str] | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(Path(root), **kwargs)
        self.attribute_level, self.given_names = attribute_level, class_names
        self._lost = ""  # of its classes, as a sentence, once the folders are read

    @property
    def class_names(self) -> tuple[str, ...]:
        """Given, or the folders'."""
        return self._read[0]

    @property
    def group_names(self) -> tuple[str, ...]:
        """``class, attribute`` pairs where there is a level of attributes."""
        return tuple(f"{name}, {attribute}" for name in self.class_names for attribute in self.attribute_names)

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """The attribute folders' names, ``_`` read as a space where they stay different."""
        attributes = tuple(attribute.replace("_", " ") for attribute in self._read[1])
        return attributes if len({*attributes}) == len(attributes) else self._read[1]

    @property
    def notes(self) -> tuple[str, ...]:
        """Folders that are left out, signs of a level of attributes that nobody told of, and how splits were drawn."""
        results, attributes = self._split_folders(), self._read[1]
        notes = [*self.draw_notes(), *([f"{self._lost} below {self.root}"] if self._lost else [])]
        idle = [item.name for item in sorted(self.root.iterdir()) if item.is_dir() and not item.name.startswith(".")]
        idle = [name for name in idle if results and name not in results.values()]
        if idle:
            notes.append(f"{self.root} has folders beside its splits that are left out: {some(idle)}")
        told = {name.lower() for name in self.class_names} if self.given_names is not None else set()
        if told and told == {attribute.replace("_", " ").lower() for attribute in attributes}:
            notes.append(
                f"class_names are those of the attribute folders, {some(attributes)}; the levels look swapped: "
                "above the class folders must stand those of the attributes"
            )
        below = self._below_classes() if not self.attribute_level else {}
        same = set.intersection(*below.values()) if below else set()
        if len(same) > 1:
            notes.append(
                f"each class folder ({some(sorted(below))}) holds the folders {some(sorted(same))}; "
                "if those are the classes, set attribute_level to true"
            )
        return tuple(notes)

    def _below_classes(self) -> dict[str, set[str]]:
        """Return the names of the folders in each class folder."""
        depth = bool(self._split_folders())
        below: dict[str, set[str]] = {}
        for table in self._read[2].values():
            for part in (path.split("/") for path in table.paths):
                below.setdefault(part[depth], set()).update(part[depth + 1 : -1][:1])
        return below

    def _split_folders(self) -> dict[str, str]:
        """Return the name of each split's folder."""
        return {SPLITS[item.name.lower()]: item.name for item in sorted(self.root.iterdir()) if self._is_split(item)}

    @property
    def splits(self) -> tuple[str, ...]:
        """Those that have a folder, or drawn."""
        return tuple(self._read[2])

    def table(self, split: str) -> ImageTable:
        """List one split."""
        return self._read[2][split]

    def check_there(self) -> None:
        """Refuse a folder that is missing."""
        if not self.root.is_dir():
            raise DataError(
                f"There is no folder {self.root}; check its path, or give yours with {self.asked_by('root')}; "
                f"expected is\n{self.tree}"
            )

    @cached_property
    def _read(self) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, ImageTable]]:
        """Class names, attributes, and the table of each split."""
        self.check_there()
        result = self._split_folders()
        tops = [f"{result[split]}/" for split in ORDER if split in result] or [""]
        listings = {top: list_files(self.root / top) for top in tops}
        paths = [f"{top}{path}" for top in tops for path in listings[top].images]
        others = [f"{top}{path}" for top in tops for path in listings[top].left_out]
        depth = bool(result) + self.attribute_level
        parts = [path.split("/") for path in paths]
        loose = [path for path, part in zip(paths, parts, strict=True) if len(part) < depth + 2]
        problems = []
        if not paths:
            why = f" ({left_out(others, self.root)})" if others else ""
            problems.append(f"{self.root} holds no images{why}; expected is\n{self.tree}")
        elif loose:
            are = "1 image" if len(loose) == 1 else f"{len(loose)} images"
            level = "no class folder in an attribute folder" if self.attribute_level else "no class folder"
            hint = "move them, or set attribute_level to false" if self.attribute_level else "move them into one"
            problems.append(f"{are} of {self.root} in {level}, such as {loose[0]}; {hint}")
        names_wrong = name_problem(paths)
        problems += [names_wrong] if names_wrong else []
        if problems:
            raise DataProblems(problems)
        folders = sorted({part[depth] for part in parts})
        self._lost = lost_classes(others, depth, folders)
        if self.label_map is None:
            names, meant = class_list(self._given(folders), folders, "class folders")
        else:
            names, meant, _ = map_labels(self.label_map, folders, self.given_names, "class folders")
        unknown = [folder for folder in folders if folder not in meant]
        if unknown:
            which = "class_names" if self.label_map is None else "label_map"
            problems.append(f"{self.root} has class folders that {which} doesn't list: {some(unknown)}")
        if len(names) < 2:
            problems.append(f"{self.root} has one class only, {some(names)}; there must be at least two{self._but()}")
        if problems:
            raise DataProblems(problems)
        labels = np.array([meant[part[depth]] for part in parts], dtype=np.int64)
        attributes = sorted({part[depth - 1] for part in parts}) if self.attribute_level else []
        groups = None
        if self.attribute_level:
            place = {attribute: at for at, attribute in enumerate(attributes)}
            groups = labels * len(attributes) + np.array([place[part[depth - 1]] for part in parts], dtype=np.int64)
        whole = ImageTable(self.root, paths, labels, groups, left_out=others)
        self.has_splits = bool(result)
        if result:
            split_of = np.array([SPLITS[part[0].lower()] for part in parts])
            rows = {split: np.flatnonzero(split_of == split) for split in ORDER if split in result}
        else:
            rows = self.draw(labels, groups)
        return names, tuple(attributes), {split: whole.take(chosen) for split, chosen in rows.items()}

    def _but(self) -> str:
        return f" ({self._lost})" if self._lost else ""

    def _is_split(self, folder: Path) -> bool:
        return folder.is_dir() and folder.name.lower() in SPLITS

    def _given(self, folders: list[str]) -> dict[str, str] | list[str] | str:
        """Names in sorted order belong to the folders in sorted order."""
        if self.given_names is None:
            return {folder: folder.replace("_", " ") for folder in folders}
        if isinstance(self.given_names, dict):
            return self.given_names
        names = texts(self.given_names, "class_names")
        if set(folders) <= set(names):
            return list(names)
        if len(names) != len(folders):
            raise ConfigError(
                f"class_names has {len(names)} names, and {self.root} has {len(folders)} class folders{self._but()}."
            )
        return dict(zip(folders, names, strict=True))
