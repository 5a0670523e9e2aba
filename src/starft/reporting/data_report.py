"""What ``starft data check`` tells: tables of what data hold, how strong a shortcut is, which groups are too small."""

import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from starft.data.check import Checked
from starft.errors import StarftError
from starft.reporting.table import Table
from starft.runs.results import FEW_IMAGES
from starft.statistics import wilson_interval

SHOWN = 20
"""How many groups are listed."""
NAMES = 6
"""How many class names are listed."""
WEAK, STRONG = 0.1, 0.3
"""Cramér's V below which an attribute tells little of the label, and from which on it can replace it (CelebA: 0.31)."""
LABELS = 6
"""How many labels are listed."""


def data_tables(found: Sequence[Checked], train_templates: Sequence[str] = ()) -> list[Table]:
    """Return a table of all splits, one of their class names and captions and, where there are groups, one of those.

    Args:
        found: What was found of each split.
        train_templates: Of the training captions, where they aren't those of the data; none if they are.
    """
    published = any(entry.published is not None for entry in found)
    rows = []
    for item in found:
        seen, known = item.classes
        counts = [_number(item.images), *([_number(item.published)] if published else [])]
        classes = f"{seen:,} of {known:,}" if known else "–"
        rows.append([item.name, item.title, item.split, *counts, classes, item.example or "–"])
    headings = ["set", "data set", "split", "images", *(["published"] if published else []), "classes", "example"]
    table = Table(headings, rows, "data", align="lllr" + "r" * published + "rl")
    named, grouped = (
        [entry for entry in found if entry.class_names or entry.captions],
        [entry for entry in found if entry.groups],
    )
    return [table, *([_captions(named, train_templates)] if named else []), *([_groups(grouped)] if grouped else [])]


def _captions(named: Sequence[Checked], train_templates: Sequence[str]) -> Table:
    """Return a row for each list of class names and templates: the sets that have it, the first names, a caption."""
    sets: dict[tuple[tuple[str, ...], tuple[str, ...], str], list[str]] = {}
    for item in named:
        templates = train_templates if item.split == "train" and train_templates else item.templates
        own = f"{item.captions[0]} (the first of {len(set(item.captions)):,})" if item.captions else ""
        sets.setdefault((tuple(item.class_names), tuple(templates), own), []).append(_label(item))
    rows = []
    for (names, templates, own), labels in sets.items():
        more = f", ... ({len(names):,})" if len(names) > NAMES else ""
        of_many = f" (one of {len(templates):,} templates)" if len(templates) > 1 else ""
        caption = own or (templates[0].replace("{}", names[0]) + of_many if templates else "–")
        rows.append([", ".join(labels), ", ".join(names[:NAMES]) + more or "–", caption])
    return Table(["set", "class names", "a caption"], rows, "class names and captions", align="lll")


def _groups(grouped: Sequence[Checked]) -> Table:
    names = list(dict.fromkeys(name for item in grouped for name, _, _ in item.groups))
    published = any(expected is not None for item in grouped for _, _, expected in item.groups)
    cells = [{name: _count(count, expected) for name, count, expected in item.groups} for item in grouped]
    rows = [[name, *(column.get(name, "–") for column in cells)] for name in names[:SHOWN]]
    if len(names) > SHOWN:
        rows.append([f"... and {len(names) - SHOWN} more", *("" for _ in cells)])
    title = "images a group (published)" if published else "images a group"
    return Table(["group", *map(_label, grouped)], rows, title)


def _label(one: Checked) -> str:
    return one.split if one.name == one.split else f"{one.name} {one.split}"


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _count(count: int, expected: int | None) -> str:
    return f"{count:,}" if expected is None else f"{count:,} ({expected:,})"


def shortcut(counts: Sequence[int], labels: Sequence[str], attributes: Sequence[str]) -> list[str]:
    """Return how far an attribute goes with the label, in a sentence or two; none where nothing can be told.

    Args:
        counts: Images of each pair of label and attribute, attribute by attribute.
        labels: Class names.
        attributes: Values of the attribute.
    """
    table = np.array(counts, dtype=np.int64).reshape(len(labels), len(attributes))
    seen = np.flatnonzero(table.sum(axis=1))
    if not len(seen):
        return []
    shares = table[seen] / table[seen].sum(axis=1, keepdims=True)
    order = np.argsort(-shares.max(axis=1), kind="stable")[:LABELS]
    best = [(at, int(shares[at].argmax())) for at in order]
    usual = [f"{100 * shares[at, place]:.0f} % of {labels[seen[at]]} are {attributes[place]!r}" for at, place in best]
    more = f"; ... ({len(seen):,} labels)" if len(seen) > LABELS else ""
    lines = [f"most common attribute of each label: {'; '.join(usual)}{more}."]
    table = table[seen][:, table.sum(axis=0) > 0]
    if min(table.shape) > 1:
        share = table / table.sum()
        apart = np.outer(share.sum(axis=1), share.sum(axis=0))  # if the two had nothing to do with each other
        strength = float(np.sqrt(((share - apart) ** 2 / apart).sum() / (min(table.shape) - 1)))
        means = "a model may lean on the attribute"
        if strength < WEAK:
            means = "the attribute tells little of the label"
        elif strength >= STRONG:
            means = "a model can learn the attribute instead of the label"
        lines.append(f"Cramér's V of label and attribute: {strength:.2f} of 1; {means}.")
    return lines


def unmeasured(audit: Sequence[str]) -> str:
    """Return the line on images without attributes: that shortcuts can't be measured, and what looks for them.

    Args:
        audit: Words of the command that does, ``audit data`` and its options.
    """
    command = shlex.join(["starft", *audit])
    return f"no image has an attribute or a group, so shortcuts can't be measured; `{command}` looks for them."


def unmeasured_note(data: object, configs: Sequence[Path]) -> str:
    """Return `unmeasured` for a run's data, or nothing if groups or OOD images can show a shortcut.

    Args:
        data: The DataModule.
        configs: What ``starft audit data`` may take; the first that is there is named.
    """
    with suppress(StarftError):  # what is wrong with the data is told by their check, with all else
        if getattr(data, "lacks_groups", False):
            config = next((str(path) for path in configs if path.is_file()), "CONFIG")
            return unmeasured(["audit", "data", "--config", config])
    return ""


def usual_groups(counts: Sequence[int], attributes: int) -> set[int]:
    """Return the ids of the groups that pair a label with its usual attribute in training; no label has two.

    Args:
        counts: Training images of each pair of label and attribute, attribute by attribute.
        attributes: How many values the attribute has.
    """
    table = np.array(counts, dtype=np.int64).reshape(-1, attributes)
    return {label * attributes + int(row.argmax()) for label, row in enumerate(table) if (row == row.max()).sum() == 1}


def small_group(name: str, groups: Sequence[tuple[str, int]], split: str = "val", pairs: bool = False) -> str:
    """Return what to know before a model is chosen or judged by its worst group, without its period, or "".

    Args:
        name: Of the set.
        groups: Name and images of each group; those without images are left out of the worst.
        split: ``val``, which chooses a checkpoint, or ``test``, which judges it.
        pairs: Whether the set has images without their label's usual attribute, which are counted together too.
    """
    group, images = min(
        ((group, images) for group, images in groups if images), key=lambda one: one[1], default=("", 0)
    )
    interval = wilson_interval(images // 2, images)
    if interval is None or images >= FEW_IMAGES:
        return ""
    half = 100 * (interval[1] - interval[0]) / 2
    atypical = f"{split}/{name}/atypical_acc" if pairs else ""
    if split == "val":
        instead = f"keep val/{name}/acc{f', take {atypical}' if pairs else ''}"
        advice = f"choose a checkpoint by little more than chance; {instead}, or validate on more images"
    else:
        advice = f"say little of a model; {f'look at {atypical} too, or ' if pairs else ''}test on more images"
    return (
        f"the smallest group, {group!r}, has {images} image{'' if images == 1 else 's'}: the 95 % interval of its "
        f"accuracy reaches up to {half:.0f} points to each side, so {split}/{name}/worst_group_acc would {advice}"
    )
