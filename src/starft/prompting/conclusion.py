"""What a ranking says, in words: how many phrases go with the label, how strongly, and what follows."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from starft.prompting.ranking import Ranked
from starft.safe_text import visible
from starft.wording import count_of

BY_CHANCE = 0.05
"""Chance that any phrase at all is said to go with the label though none does."""

WEAK = 0.01
"""A phrase that tells less than this share of the label is a weak shortcut."""


def label_bits(labels: NDArray[np.int64]) -> float:
    """Return the entropy of labels in bits.

    Args:
        labels: Of the images.

    Example:
        >>> label_bits(np.array([0, 0, 1, 1]))
        1.0
    """
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    return float(-(shares * np.log2(shares)).sum())


def conclude(ranked: Sequence[Ranked], bits: float, images: int) -> str:
    """Return what a ranking says.

    Args:
        ranked: All phrases, the first first.
        bits: Entropy of the label.
        images: How many were looked at.
    """
    real = [row for row in ranked if row.p_any <= BY_CHANCE]
    if not real:
        return (
            f"Conclusion: none of the {count_of(len(ranked), 'phrase')} goes with the label beyond chance on "
            f"{count_of(images, 'image')}. This CLIP sees no shortcut of this pool in your data; "
            "others may be there, so try another pool, or more --images."
        )
    first = real[0]
    share = first.bits / bits
    kinds = f", most on {', '.join(map(visible, first.classes[:3]))}" if first.classes else ""
    strength = "a weak shortcut" if share < WEAK else "a shortcut that your data offer"
    go = "goes" if len(real) == 1 else "go"
    return (
        f"Conclusion: {len(real)} of {count_of(len(ranked), 'phrase')} {go} with the label beyond chance. The first, "
        f"{visible(first.template)!r}, tells {100 * share:.2g} % of the label's {bits:.2f} bits{kinds}: {strength}. "
        "Whether a model takes it, its groups show; StarFT with a pool of the first phrases holds against it."
    )
