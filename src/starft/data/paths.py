"""The files of a table: which are missing, which leave the root, which are there twice or in two splits."""

import os
import posixpath
from collections import Counter, defaultdict
from pathlib import Path

from starft.data.problems import Problem, name_problem, some, told_of
from starft.data.table import ImageTable


def path_problems(table: ImageTable) -> list[Problem]:
    """Return what is wrong with the paths of a table: missing files, those outside of its root, duplicates.

    Args:
        table: Paths below a root.
    """
    names = name_problem([str(table.root), *table.paths])
    if names:
        return [Problem(names)]
    missing, outside = _look_up(table)
    problems: list[Problem] = []
    if missing and len(missing) == len(table):
        problems.append(
            Problem(
                f"none of the {len(table)} images is below {table.root}, such as {missing[0]}",
                advice="give another root",
            )
        )
    elif missing:
        problems.append(
            Problem(
                f"{len(missing)} of {told_of(len(table), 'image', 'images')} {'is' if len(missing) == 1 else 'are'} "
                f"missing below {table.root} ({some(missing)})",
                advice="bring them back, or take their rows out",
            )
        )
    absolute = [path for path in outside if path.startswith("/")]
    up = [path for path in outside if not path.startswith("/")]
    root = table.root
    for paths, one, more in (
        (absolute, f"absolute path lies outside of {root}", f"absolute paths lie outside of {root}"),
        (up, f"path leaves {root}, by .. or a symbolic link", f"paths leave {root}, by .. or a symbolic link"),
    ):
        if paths:
            problems.append(
                Problem(f"{told_of(len(paths), one, more)}: {some(paths)}; give a root that holds all images")
            )
    if len(set(table.paths)) < len(table):
        twice = [path for path, count in Counter(table.paths).items() if count > 1]
        are = told_of(len(twice), "image is", "images are")
        problems.append(Problem(f"{are} listed more than once: {some(twice)}; keep one row of each"))
    return problems


def _look_up(table: ImageTable) -> tuple[list[str], list[str]]:
    """Return the paths that are missing and those that lead out of the root; one look at each folder."""
    root = os.path.realpath(table.root)
    by_folder: dict[str, list[str]] = defaultdict(list)
    for path in table.files:
        folder, _, name = path.rpartition("/")
        by_folder[folder].append(name)
    missing, outside = [], []
    for folder, names in by_folder.items():
        whole = [posixpath.join(folder, name) for name in names] if folder else names
        where = os.path.realpath(os.path.join(root, folder))  # noqa: PTH118  # many of them
        if not _within(where, root):
            outside += whole
            continue
        files, links = _entries(where)
        for name, path in zip(names, whole, strict=True):
            if name in links:
                target = os.path.realpath(os.path.join(where, name))  # noqa: PTH118
                if not _within(target, root):
                    outside.append(path)
                elif not Path(target).is_file():
                    missing.append(path)
            elif name not in files:
                missing.append(path)
    return missing, outside


def _entries(folder: str) -> tuple[set[str], set[str]]:
    files, links = set(), set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink():
                    links.add(entry.name)
                elif entry.is_file():
                    files.add(entry.name)
    except OSError:
        pass  # a folder that isn't there has nothing in it
    return files, links


def _within(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def shared_paths(train: ImageTable, other: ImageTable, where: str = "train") -> list[Problem]:
    """Return whether two splits share image files.

    Args:
        train: What is trained on, or chosen by.
        other: What is evaluated on.
        where: What messages call the first.
    """
    if Path(train.root).resolve() == Path(other.root).resolve():
        both = sorted(set(train.paths) & set(other.paths))
    else:
        mine = {os.path.realpath(f"{train.root}/{path}") for path in train.paths} if _nested(train, other) else set()
        both = sorted(path for path in other.paths if os.path.realpath(f"{other.root}/{path}") in mine) if mine else []
    if not both:
        return []
    are = told_of(len(both), "image of it is", "images of it are")
    return [Problem(f"{are} in {where} too: {some(both)}; keep each in one split")]


def _nested(one: ImageTable, other: ImageTable) -> bool:
    """Whether one root lies in the other, so that they can share files at all."""
    a, b = os.path.realpath(one.root), os.path.realpath(other.root)
    return _within(a, b) or _within(b, a)
