"""What a frozen CLIP makes of a pool's phrases: which mean the same to it, and whether it recognises any of them."""

from collections.abc import Sequence
from string import ascii_lowercase

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from starft.audit.association import BY_CHANCE, Scores, presence

SAME = 0.8
"""Cosine between what two phrases add to a caption, from which on they mean the same.

To the embedded world's CLIP "on a lake" and "near a lake" have 0.99, "in the snow" and "in snow" 0.95, and no two
scenes have more than 0.6.
"""
NONSENSE, SETS, MOST = 96, 100, 24
"""Phrases of random letters; sets of them that a pool is held against; and phrases of a set at most.

To the embedded world's CLIP sets of random letters have `image_bits` of 0.1 to 0.4, the more the fewer they are; the
pool of its scenes has 0.76, and one of eleven real phrases in fifty-five 0.39.
"""


def same_meaning(text: NDArray[np.float32]) -> list[list[int]]:
    """Return the phrases that mean the same as lists of positions, in the order of their first.

    Phrases are joined while the mean cosine between two lists is at least `SAME` (average linkage).

    Args:
        text: The `phrase_features` (1 + K, D).
    """
    added = (text[1:] - text[:1]).astype(np.float64)
    added /= np.linalg.norm(added, axis=1, keepdims=True).clip(1e-12)
    if len(added) < 2:
        return [[at] for at in range(len(added))]
    apart = np.clip(1 - added @ added.T, 0.0, 2.0)[np.triu_indices(len(added), 1)]
    of_phrase = fcluster(linkage(apart, "average"), 1 - SAME, "distance")
    lists: dict[int, list[int]] = {}
    for position, number in enumerate(of_phrase.tolist()):
        lists.setdefault(number, []).append(position)
    return [*lists.values()]


def image_bits(scores: Scores) -> float:
    """Return how much an image says of which phrase it shows, in bits, as a share of the most that K phrases allow.

    That is the mutual information of image and phrase. A model that doesn't know the phrases gives each image much the
    same probabilities, or any.

    Args:
        scores: Of "none" and K phrases (N, 1 + K), as `presence` returns them.

    Example:
        >>> image_bits(np.eye(4)), image_bits(np.full((4, 4), 0.25))
        (1.0, 0.0)
    """
    entropy = -(scores * np.log2(scores.clip(1e-12))).sum(axis=1).mean()
    mean = scores.mean(axis=0).clip(1e-12)
    return float((-(mean * np.log2(mean)).sum() - entropy) / np.log2(scores.shape[1])) + 0.0


def recognised(
    rows: NDArray[np.float32], text: NDArray[np.float32], nonsense: NDArray[np.float32], scale: float, seed: int
) -> bool:
    """Return whether phrases tell images apart better than sets of as many phrases of random letters do, but for 5 %.

    Of a large pool small sets are looked at, on the mean, as nonsense is: what images say of more phrases is less of
    the most that they could.

    Args:
        rows: Unit features (N, D) of some images.
        text: The `phrase_features` (1 + K, D).
        nonsense: Those (1 + M, D) of the `nonsense_phrases`.
        scale: The model's own factor on similarities.
        seed: Of the draws.
    """
    rng, size = np.random.default_rng(seed), min(len(text) - 1, MOST)

    def bits(features: NDArray[np.float32], sets: int) -> list[float]:
        drawn = ([0, *1 + rng.permutation(len(features) - 1)[:size]] for _ in range(sets))
        return [image_bits(presence(rows, features[at], scale)) for at in drawn]

    own = np.mean(bits(text, SETS if size < len(text) - 1 else 1))
    return bool(own > np.quantile(bits(nonsense, SETS), 1 - BY_CHANCE))


def nonsense_phrases(seed: int) -> list[str]:
    """Return templates of random letters, which no model recognises.

    Args:
        seed: Of the letters.
    """
    letters = np.random.default_rng(seed).choice([*ascii_lowercase], (NONSENSE, 3, 5))
    return ["{} " + " ".join("".join(word) for word in phrase) for phrase in letters.tolist()]


def shown(phrases: Sequence[str]) -> list[str]:
    """Return templates without their ``{}``, where they stay different.

    Args:
        phrases: Templates.
    """
    bare = [" ".join(phrase.replace("{}", "").split()) for phrase in phrases]
    return bare if len({*bare}) == len(bare) and all(bare) else [*phrases]
