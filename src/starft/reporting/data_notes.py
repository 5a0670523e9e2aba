"""What the counts of labelled data tell before a run: how strong a shortcut is, and which groups are too small."""

from collections.abc import Sequence

import numpy as np

from starft.runs.results import FEW_IMAGES
from starft.statistics import wilson

WEAK, STRONG = 0.1, 0.3
"""Cramér's V below which an attribute tells little of the label, and from which on it can replace it (CelebA: 0.31)."""
LABELS = 6
"""How many labels are listed."""


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
    told = [f"{100 * shares[at, place]:.0f} % of {labels[seen[at]]} are {attributes[place]!r}" for at, place in best]
    more = f"; ... ({len(seen):,} labels)" if len(seen) > LABELS else ""
    lines = [f"most common attribute of each label: {'; '.join(told)}{more}."]
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
    interval = wilson(images // 2, images)
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
