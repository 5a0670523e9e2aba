"""Looking at data before a run: counts, labels, groups, class names, and what two splits share."""

import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

import numpy as np

from starft.captions.english import doubled_articles
from starft.captions.templates import is_template
from starft.data.paths import path_problems
from starft.data.picture_files import left_out
from starft.data.problem_texts import Problem, some, told_of
from starft.data.source import ImageTable, Source
from starft.errors import LONGEST, ConfigError, DataError, DataProblems
from starft.files.addresses import shown
from starft.safe_text import say, visible
from starft.types import EvalSet
from starft.wording import ended, shortened

LIKE = 0.8
"""How much alike class names must be written to be told as one, as difflib measures it."""
WHOLE = "all"
"""Stands for a split where the data can't tell theirs."""


@dataclass
class Checked:
    """What was found of one split.

    Args:
        name: Of the set in the run.
        title: Of the data set.
        split: Which split, or ``all`` of the data where they can't be told.
        images: Number of images; None where it can't be listed.
        published: Number that the papers say; None where nobody does.
        classes: How many classes have images, and how many there are.
        class_names: Of all classes, in label order; none where they can't be told, or mean nothing.
        templates: Captions with ``{}`` for the class name.
        captions: Of the images' own, where these are trained on or scored by.
        groups: Group name, images, and images that the papers say.
        attributes: Values of the attribute where groups are pairs of class and attribute, attribute by attribute.
        example: Path of one image.
        problems: All of them.
        table: The images; None where they can't be listed.
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
    class_names: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    captions: Sequence[str] = ()
    groups: list[tuple[str, int, int | None]] = field(default_factory=list)
    attributes: tuple[str, ...] = ()
    example: str | None = None
    problems: list[Problem] = field(default_factory=list)
    table: ImageTable | None = None
    as_published: bool = False
    scored: bool = True
    extra: bool = False


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
    result = Checked(name, source.title, split, scored=source.labelled)
    try:
        table = listing()
        described = source.eval_set(name, split)
    except (DataError, ConfigError) as error:
        result.problems += told(error, source.title)
        return result
    result.table = table
    result.images = len(table)
    result.example = visible(shown(table.location(0))) if len(table) else None
    expected = source.published(split) if split in source.splits else None
    result.published = expected.images if expected is not None else None
    result.as_published = any(source.published(item) is not None for item in source.splits)
    if source.labelled:
        result.class_names, result.templates = described.class_names, described.templates
        result.attributes = source.attribute_names
        if split == "train" or not described.class_names:
            result.captions = table.captions or ()
        of_groups = list(_groups(result, table, described, dict(expected.groups) if expected else {}))
        of_labels = _labels(result, table, described) if described.class_names else ()
        result.problems += [*_counted(result, allow_partial), *of_labels, *of_groups]
    else:
        result.problems += _counted(result, allow_partial)
    result.problems += path_problems(table, captioned=bool(result.captions))
    if table.left_out:
        result.problems.append(Problem(left_out(table.left_out, table.root), stops=False))
    result.problems += caption_problems(described, stops=not result.as_published)
    if source.labelled and not result.as_published:
        notes = (*source.notes, *_bare_numbers(described), doubled_articles(described.class_names, described.templates))
        result.problems += [Problem(note, stops=False) for note in notes if note]
    return result


def told(error: DataError | ConfigError, title: str = "") -> list[Problem]:
    """Return the problems that an error tells.

    Args:
        error: Raised where a set was listed.
        title: Of the data set, which needn't be said twice.
    """
    texts = error.problems if isinstance(error, DataProblems) else (str(error),)
    return [Problem(text.removeprefix(f"{title}: ").rstrip(".")) for text in texts]


def _counted(found: Checked, allow_partial: bool) -> Iterable[Problem]:
    """Compare the numbers of images, or else those of the groups, with the published ones."""
    others = [f"{name!r} {count:,} of {of:,}" for name, count, of in found.groups if of is not None and of != count]
    if found.images == 0:
        below = f" below {shown(found.table.root)}" if found.table is not None else ""
        yield Problem(f"there are no images{below}")
        return
    if found.published is not None and found.images != found.published:
        text = f"{found.images:,} images where {found.published:,} are published"
    elif others:
        text = f"the groups have other sizes than published, {some(others)}"
    else:
        return
    advice = "the copy is truncated or of another version; get it again"
    advice += "" if allow_partial else ", or set data.init_args.allow_partial to true"
    yield Problem(text, stops=not allow_partial, advice=advice)


def _labels(found: Checked, table: ImageTable, described: EvalSet) -> Iterable[Problem]:
    known = described.num_labels
    outside = np.flatnonzero((table.labels < 0) | (table.labels >= known))
    seen, images = np.unique(table.labels, return_counts=True)
    found.classes = (len(seen), known)
    if len(outside):
        at = int(outside[0])
        yield Problem(
            f"{told_of(len(outside), 'label lies', 'labels lie')} outside of the {known} classes, "
            f"such as {table.labels[at]} of {table.paths[at]}"
        )
        return
    names = described.prediction_names
    if len(seen) == 1 and len(table):
        label = int(seen[0])
        who = repr(names[label]) if label < len(names) else str(label)
        yield Problem(
            f"{told_of(len(table), 'image is', 'images are')} of one class, {who}; there must be at least two"
        )
    elif found.split == "train" and 0 < len(seen) < known:
        without = [described.class_names[label] for label in sorted({*range(known)} - {*seen.tolist()})]
        yield Problem(f"{len(without)} of {known} classes have no images: {some(without)}", stops=False)
    if not found.as_published:
        for text in _misspelt(
            {names[label]: count for label, count in zip(seen.tolist(), images.tolist(), strict=True)}
        ):
            yield Problem(text, stops=False)
    alone = [names[label] for label in seen[images == 1].tolist()] if found.split == "train" else []
    if not found.as_published and len(alone) > 2 and 2 * len(alone) >= len(seen):
        yield Problem(
            f"{len(alone)} of {len(seen)} classes have one image only: {some(alone)}; are these the right labels?",
            stops=False,
        )


def _misspelt(images: Mapping[str, int]) -> Iterable[str]:
    """Tell of classes with an image or two that are written much like one with many."""
    for name, count in images.items():
        many = {other.lower(): other for other, others in images.items() if others >= 10 * count}
        for near in get_close_matches(name.lower(), many, 1, LIKE) if count <= 2 else ():
            have, other = f"has {count} image{'' if count == 1 else 's'}", many[near]
            yield f"the class {name!r} {have} and is written much like {other!r}, which has {images[other]}; one class?"


def _groups(found: Checked, table: ImageTable, described: EvalSet, published: dict[str, int]) -> Iterable[Problem]:
    names = described.group_names
    if not names or table.groups is None:
        return
    if len(table) and not 0 <= table.groups.min() <= table.groups.max() < len(names):
        yield Problem(f"group ids run from {table.groups.min()} to {table.groups.max()}; there are {len(names)} groups")
        return
    counts = np.bincount(table.groups, minlength=len(names)).tolist()
    found.groups = [(name, count, published.get(name)) for name, count in zip(names, counts, strict=True)]
    empty = [name for name, count, expected in found.groups if count == 0 and not expected]
    if empty and len(table):
        yield Problem(f"{len(empty)} of {len(names)} groups have no images in this split: {some(empty)}", stops=False)


def _bare_numbers(described: EvalSet) -> Iterable[str]:
    if (
        described.class_names
        and all(re.fullmatch(r"[-+]?\d+(\.\d+)?", name) for name in described.class_names)
        and described.templates
    ):
        caption = described.templates[0].replace("{}", described.class_names[0])
        yield f'the classes are bare numbers, in captions such as "{caption}"; give their names as class_names'


def caption_problems(described: EvalSet, stops: bool = True) -> list[Problem]:
    """Return what is wrong with templates and class names: nothing to fill in, or two classes with equal captions.

    Captions are compared as text, without case and extra spaces; what a model's tokenizer makes of them is compared by
    `starft.clip.token_checks`.

    Args:
        described: Class names and templates.
        stops: Whether equal captions refuse a run; published class names hold some.
    """
    broken = [template for template in described.templates if not is_template(template)]
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


def unlike_train(train: Checked, other: Checked) -> list[Problem]:
    """Return the classes that only one of two splits of a set has, as things worth knowing.

    Args:
        train: What is trained on.
        other: A split that is evaluated.
    """
    if train.table is None or other.table is None or train.as_published:
        return []
    mine, theirs = ({*table.labels.tolist()} for table in (train.table, other.table))
    known = range(len(train.class_names))
    new, gone = (
        [train.class_names[label] for label in known if label in item] for item in (theirs - mine, mine - theirs)
    )
    problems = []
    if new:
        problems.append(
            Problem(f"{told_of(len(new), 'class', 'classes')} never met in train: {some(new)}", stops=False)
        )
    if gone and len(theirs) > 1:
        are = told_of(len(gone), "class of train has", "classes of train have")
        problems.append(Problem(f"{are} no image here: {some(gone)}", stops=False))
    return problems


def told_once(checked: Sequence[Checked]) -> list[Problem]:
    """Return all problems with the place of each; what several splits of a set share is told once.

    Args:
        checked: What was found of each split.
    """
    alike: dict[tuple[str, str, bool], list[tuple[str, Problem]]] = defaultdict(list)
    for item in checked:
        title = f"{item.title} ({item.name})" if item.extra else item.title
        for problem in item.problems:
            alike[title, problem.advice or problem.text, problem.stops].append((item.split, problem))
    return [Problem(shortened(f"{title}{_where(entry)}", LONGEST), stops) for (title, _, stops), entry in alike.items()]


def _where(found: Sequence[tuple[str, Problem]]) -> str:
    """Return the splits and what they have in common."""
    splits = ", ".join(dict.fromkeys(split for split, _ in found if split != WHOLE))
    first = found[0][1]
    if len(found) == 1 or not first.advice:
        return f"{', ' if splits else ''}{splits}: {first.whole}"
    return f": {', '.join(f'in {split} {problem.text}' for split, problem in found)}: {first.advice}"


def complain(checked: Sequence[Checked], notes: bool = True) -> None:
    """Tell what is worth knowing of the data, and refuse those with problems.

    Args:
        checked: What was found of each split.
        notes: Whether to tell what doesn't stop a run, on stderr.

    Raises:
        DataError: With every problem that stops a run, ten at most.
    """
    problems = told_once(checked)
    for problem in problems if notes else ():
        if not problem.stops:
            say(f"Note: {ended(problem.text)}", file=sys.stderr)
    stops = [problem.text for problem in problems if problem.stops]
    if stops:
        more = f" (and {len(stops) - 10} more problems; `starft data check` lists them)" if len(stops) > 10 else ""
        raise DataError(ended("; ".join(stops[:10]) + more))
