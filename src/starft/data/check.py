"""Looking at data before a run: counts, paths, labels, groups, class names, and what two splits share."""

import os
import posixpath
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from starft.data.table import ImageTable, Source
from starft.errors import DataError, DataProblems
from starft.types import EvalSet

SHOWN = 5
"""How many paths or names a problem lists."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Args:
        text: A sentence without its period.
        stops: Whether a run is refused for it; else it is worth knowing.
    """

    text: str
    stops: bool = True


@dataclass
class Checked:
    """What was found of one split.

    Args:
        name: Of the set in the run.
        title: Of the data set.
        split: Which split.
        images: Number of images; null where it can't be listed.
        published: Number that the papers say; null where nobody does.
        classes: How many classes have images, and how many there are.
        groups: Group name, images, and images that the papers say.
        example: Path of one image.
        problems: All of them.
        table: The images; null where they can't be listed.
        as_published: Whether it is a published data set, which is as it is, equal captions and all.
        scored: Whether predictions for it are right or wrong; not for images that are only predicted.
        extra: Whether it is one of the evals, and not the training source itself.
    """

    name: str
    title: str
    split: str
    images: int | None = None
    published: int | None = None
    classes: tuple[int, int] = (0, 0)
    groups: list[tuple[str, int, int | None]] = field(default_factory=list)
    example: str | None = None
    problems: list[Problem] = field(default_factory=list)
    table: ImageTable | None = None
    as_published: bool = False
    scored: bool = True
    extra: bool = False

    @property
    def where(self) -> str:
        """What messages call it."""
        return f"{self.title} ({self.name}), {self.split}" if self.extra else f"{self.title}, {self.split}"


def check_split(
    source: Source, name: str, split: str, listing: Callable[[], ImageTable], allow_partial: bool = False
) -> Checked:
    """Look at one split; nothing is decoded.

    Args:
        source: The data set.
        name: Of the set in the run.
        split: Which split.
        listing: Lists it.
        allow_partial: Whether it may hold another number of images than its papers say.
    """
    found = Checked(name, source.title, split, scored=source.labelled)
    try:
        table = listing()
        described = source.eval_set(name, split)
    except DataError as error:
        found.problems += told(error)
        return found
    found.table = table
    found.images = len(table)
    found.example = f"{table.root}/{table.paths[0]}" if len(table) else None
    expected = source.published(split) if split in source.splits else None
    found.published = expected.images if expected is not None else None
    found.problems += _counted(found, allow_partial)
    if source.labelled:
        found.problems += _labels(found, table, described)
        found.problems += _groups(found, table, described, dict(expected.groups) if expected else {}, allow_partial)
    found.problems += path_problems(table)
    found.as_published = any(source.published(one) is not None for one in source.splits)
    found.problems += caption_problems(described, stops=not found.as_published)
    return found


def told(error: DataError) -> list[Problem]:
    """Return the problems that an error tells."""
    texts = error.problems if isinstance(error, DataProblems) else (str(error).rstrip("."),)
    return [Problem(text) for text in texts]


def _counted(found: Checked, allow_partial: bool) -> Iterable[Problem]:
    if found.images == 0:
        yield Problem("the split holds no images")
    elif found.published is not None and found.images != found.published:
        yield Problem(
            f"{found.images:,} images where {found.published:,} are published: the copy is truncated or of another "
            "version; get it again" + ("" if allow_partial else ", or set data.init_args.allow_partial to true"),
            stops=not allow_partial,
        )


def _labels(found: Checked, table: ImageTable, described: EvalSet) -> Iterable[Problem]:
    known = described.num_labels
    outside = np.flatnonzero((table.labels < 0) | (table.labels >= known))
    seen = np.unique(table.labels)
    found.classes = (len(seen), known)
    if len(outside):
        at = int(outside[0])
        yield Problem(
            f"{told_of(len(outside), 'label lies', 'labels lie')} outside of the {known} classes, "
            f"such as {table.labels[at]} of {table.paths[at]}"
        )
    if len(seen) == 1 and len(table):
        label = int(seen[0])
        who = repr(described.class_names[label]) if label < len(described.class_names) else str(label)
        yield Problem(
            f"{told_of(len(table), 'image is', 'images are')} of one class, {who}; there must be at least two"
        )
    elif found.split == "train" and 0 < len(seen) < known and not len(outside):
        without = [described.class_names[label] for label in sorted({*range(known)} - {*seen.tolist()})]
        yield Problem(f"{len(without)} of {known} classes have no images: {some(without)}", stops=False)


def _groups(
    found: Checked, table: ImageTable, described: EvalSet, published: dict[str, int], allow_partial: bool
) -> Iterable[Problem]:
    names = described.group_names
    if not names or table.groups is None:
        return
    if len(table) and not 0 <= table.groups.min() <= table.groups.max() < len(names):
        yield Problem(f"group ids run from {table.groups.min()} to {table.groups.max()}; there are {len(names)} groups")
        return
    counts = np.bincount(table.groups, minlength=len(names)).tolist()
    found.groups = [(name, count, published.get(name)) for name, count in zip(names, counts, strict=True)]
    for name, count, expected in found.groups:
        if expected is not None and expected != count:
            yield Problem(f"group {name!r} has {count:,} images where {expected:,} are published", not allow_partial)
    empty = [name for name, count, expected in found.groups if count == 0 and not expected]
    if empty:
        yield Problem(f"{len(empty)} of {len(names)} groups have no images in this split: {some(empty)}", stops=False)


def path_problems(table: ImageTable) -> list[Problem]:
    """Return what is wrong with the paths of a table: missing files, those outside of its root, duplicates.

    Args:
        table: Paths below a root.
    """
    missing, outside = _look_up(table)
    problems = []
    if missing and len(missing) == len(table):
        problems.append(
            f"none of the {len(table)} images is below {table.root}, such as {missing[0]}; give another root"
        )
    elif missing:
        problems.append(
            f"{len(missing)} of {told_of(len(table), 'image', 'images')} {'is' if len(missing) == 1 else 'are'} "
            f"missing below {table.root}: {some(missing)}; "
            "bring them back, or take their rows out"
        )
    if outside:
        problems.append(
            f"{told_of(len(outside), 'path leaves', 'paths leave')} {table.root}, "
            f"by .. or a symbolic link: {some(outside)}; "
            "give a root that holds all images"
        )
    if len(set(table.paths)) < len(table):
        twice = [path for path, count in Counter(table.paths).items() if count > 1]
        problems.append(
            f"{told_of(len(twice), 'image is', 'images are')} listed more than once: {some(twice)}; "
            "keep one row of each"
        )
    return [Problem(text) for text in problems]


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


def caption_problems(described: EvalSet, stops: bool = True) -> list[Problem]:
    """Return what is wrong with templates and class names: nothing to fill in, or two classes with equal captions.

    Captions are compared as CLIP's tokenizer reads them, without case and extra spaces.

    Args:
        described: Class names and templates.
        stops: Whether equal captions refuse a run; published class names hold some.
    """
    broken = [template for template in described.templates if template.count("{}") != 1]
    if broken or not described.templates:
        return [Problem(f"each template must hold {{}} exactly once; got {some(broken) or 'no template'}")]
    classes: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name in described.class_names:
        key = tuple(" ".join(t.replace("{}", name.strip()).lower().split()) for t in described.templates)
        classes[key].append(name)
    alike = [" = ".join(map(repr, names)) for names in classes.values() if len(names) > 1]
    problems = []
    if alike:
        problems.append(Problem(f"class names have equal captions: {some(alike)}; no text tells them apart", stops))
    if any(not name.strip() for name in described.class_names):
        problems.append(Problem("a class name is empty"))
    return problems


def shared_paths(train: ImageTable, other: ImageTable) -> list[Problem]:
    """Return whether two splits share image files.

    Args:
        train: What is trained on.
        other: What is evaluated on.
    """
    if Path(train.root).resolve() == Path(other.root).resolve():
        both = sorted(set(train.paths) & set(other.paths))
    else:
        mine = {os.path.realpath(f"{train.root}/{path}") for path in train.paths} if _nested(train, other) else set()
        both = sorted(path for path in other.paths if os.path.realpath(f"{other.root}/{path}") in mine) if mine else []
    return (
        [
            Problem(
                f"{told_of(len(both), 'image of it is', 'images of it are')} in train too: "
                f"{some(both)}; keep each in one split"
            )
        ]
        if both
        else []
    )


def _nested(one: ImageTable, other: ImageTable) -> bool:
    """Whether one root lies in the other, so that they can share files at all."""
    a, b = os.path.realpath(one.root), os.path.realpath(other.root)
    return _within(a, b) or _within(b, a)


def told_of(count: int, one: str, more: str) -> str:
    """Return a count with its words, those for one or those for more."""
    return f"{count} {one if count == 1 else more}"


def some(names: Sequence[str], most: int = SHOWN) -> str:
    """Return names as people list them, a few of many."""
    return ", ".join(names[:most]) + (f", ... ({len(names)})" if len(names) > most else "")


def complain(checked: Sequence[Checked], notes: bool = True) -> None:
    """Tell what is worth knowing of the data, and refuse those with problems.

    Args:
        checked: What was found of each split.
        notes: Whether to tell what doesn't stop a run, on stderr.

    Raises:
        DataError: With every problem that stops a run, ten at most.
    """
    stops = [f"{one.where}: {problem.text}" for one in checked for problem in one.problems if problem.stops]
    for one in checked if notes else ():
        for worth_knowing in (problem.text for problem in one.problems if not problem.stops):
            print(f"note: {one.where}: {worth_knowing}.", file=sys.stderr)
    if stops:
        more = f" (and {len(stops) - 10} more problems; `starft data check` lists them)" if len(stops) > 10 else ""
        raise DataError("; ".join(stops[:10]) + more + ".")
