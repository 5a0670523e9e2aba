"""Images that are paired with texts and have no classes: equal captions stand in for a label."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from starft.data.splits import Ints, draw_splits


def caption_labels(captions: Sequence[str]) -> Ints:
    """Return one number for each distinct caption, (N,), counted from 0 in the order of their first images.

    Args:
        captions: Of N images.
    """
    return pd.factorize(np.array(captions, dtype=object))[0].astype(np.int64)


def draw_pictures(paths: Sequence[str], test: float, val: float, seed: int) -> dict[str, Ints]:
    """Draw splits of rows; those of one image, which has several captions, lie in one split.

    Args:
        paths: Of the image of each row.
        test: Share of the images that is tested on.
        val: Share that is validated on.
        seed: Of the draws.

    Returns:
        Positions of each split, rising; splits without rows are left out.
    """
    picture, distinct = pd.factorize(np.array(paths, dtype=object))
    drawn = draw_splits(np.zeros(len(distinct), dtype=np.int64), test, val, seed)
    return {split: np.flatnonzero(np.isin(picture, pictures)) for split, pictures in drawn.items()}
