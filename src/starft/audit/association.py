"""How strongly each phrase of a pool goes with the label, by the frozen CLIP: which shortcuts the data offer.

A phrase's zero-shot score on an image is the probability that CLIP gives it among all phrases of the pool and the
clean caption, "none of them". It is a score of presence, and that is the point: the bare similarity of an image to
"in a desert" also tells a forest from a beach, so on the embedded world its mutual information with the label is as
high for scenes that are nowhere in the data (0.5 to 1.3 bit for all ten) as for those that are; the probability of
presence gives those under 0.02 bit. Captions are averaged over classes, so that no class name takes part in the score.

The mutual information is that of two variables: the label, and a coin that says whether the phrase is present, with
the score as its probability. Chance is what the same scores give with shuffled labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import rel_entr, softmax
from torch.nn import functional as F

from starft.captions.pools import inject
from starft.captions.templates import caption
from starft.clip import ClipEncoder
from starft.safe_text import visible
from starft.wording import count_of

SOME_CLASSES = 8
"""Captions are averaged over at most so many classes, evenly spread: more changes little and costs text encoding."""
PHRASES = 32
"""Phrases whose captions go through the text tower at a time."""
MORE = 1.5
"""How much more of a phrase a class shows than the other classes on the mean, if the phrase goes with it."""
SHUFFLES = 25
"""Shuffled labels that are added up at a time."""

Scores = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Ranked:
    """One phrase and how it goes with the label.

    Args:
        template: The phrase.
        bits: Mutual information with the label beyond chance, in bits.
        chance: Mean mutual information with shuffled labels, in bits; already taken off.
        p_value: Share of the shuffles that reach the phrase's value, the true order counted as one of them.
        share: Mean score: how much of the data shows it.
        classes: The classes that have `MORE` times as much of it as the others on the mean, large or small, most first.
        p_any: Share of the shuffles in which any phrase reaches this one's bits (Westfall and Young, 1993).
    """

    template: str
    bits: float
    chance: float
    p_value: float
    share: float
    classes: tuple[str, ...]
    p_any: float


@torch.no_grad()
def phrase_features(
    clip: ClipEncoder, phrases: Sequence[str], class_names: Sequence[str], template: str
) -> NDArray[np.float32]:
    """Return unit text features (1 + K, D) of the plain caption and of K phrases, each averaged over class names.

    Args:
        clip: The frozen model.
        phrases: Spurious templates.
        class_names: Of the data.
        template: Caption template of the data.
    """
    names = [*dict.fromkeys(class_names)]
    some = [names[index] for index in np.linspace(0, len(names) - 1, min(SOME_CLASSES, len(names))).astype(int)]
    captions = [caption(template, name) for name in some]
    rows = [captions, *[[inject(clean, phrase) for clean in captions] for phrase in phrases]]
    means = []
    for start in range(0, len(rows), PHRASES):
        part = rows[start : start + PHRASES]
        features = clip.encode_text([text for row in part for text in row]).float()
        means.append(features.reshape(len(part), len(some), -1).mean(dim=1))
    return np.asarray(F.normalize(torch.cat(means), dim=-1).cpu().numpy())


def presence(image_features: NDArray[np.float32], text: NDArray[np.float32], scale: float) -> Scores:
    """Return the zero-shot scores (N, 1 + K), each row with sum 1, of the plain caption ("none") and K phrases.

    Args:
        image_features: Unit rows (N, D).
        text: The `phrase_features` (1 + K, D).
        scale: The model's own factor on similarities.
    """
    return np.asarray(softmax(scale * (image_features @ text.T).astype(np.float64), axis=1))


def mutual_information(scores: Scores, labels: Labels) -> Scores:
    """Return the mutual information (K,) in bits of the label and each phrase's presence.

    Args:
        scores: Probabilities of presence (N, K).
        labels: Of the images (N,).

    Example:
        >>> labels = np.array([0, 0, 1, 1])
        >>> mutual_information(np.array([[1.0, 0.5], [1.0, 0.5], [0.0, 0.5], [0.0, 0.5]]), labels).tolist()
        [1.0, 0.0]
    """
    weights, by_class = _by_class(scores, labels)
    return _bits(weights, by_class, scores.mean(axis=0))


def _bits(weights: Scores, by_class: Scores, mean: Scores) -> Scores:
    """Return the mutual information (..., K) of classes with shares (C,) and mean scores (..., C, K)."""
    nats = rel_entr(by_class, mean) + rel_entr(1 - by_class, 1 - mean)
    return np.asarray((weights[:, None] * nats).sum(axis=-2) / np.log(2))


def _bits_of_shuffles(scores: Scores, labels: Labels, permutations: int, seed: int) -> Scores:
    """Return the mutual information (permutations, K) that shuffled labels give; a sparse product adds up classes."""
    _, position, counts = np.unique(labels, return_inverse=True, return_counts=True)
    n, classes, rng, mean = len(labels), len(counts), np.random.default_rng(seed), scores.mean(axis=0)
    rows = []
    for start in range(0, permutations, SHUFFLES):
        block = min(SHUFFLES, permutations - start)
        members = np.concatenate([at * classes + rng.permutation(position) for at in range(block)])
        cells = members, np.tile(np.arange(n), block)
        sums = csr_array((np.ones(block * n), cells), shape=(block * classes, n)) @ scores
        by_class = np.clip(sums.reshape(block, classes, -1) / counts[:, None], 0.0, 1.0)
        rows.append(_bits(counts / n, by_class, mean))
    return np.concatenate(rows)


def rank_phrases(
    phrases: Sequence[str],
    scores: Scores,
    labels: Labels,
    class_names: Sequence[str],
    permutations: int,
    seed: int,
) -> list[Ranked]:
    """Return the phrases, those that go with the label most first.

    Args:
        phrases: K spurious templates.
        scores: Probabilities of presence (N, K).
        labels: Of the images (N,).
        class_names: In label order.
        permutations: How often labels are shuffled to know chance.
        seed: Of the shuffles.
    """
    bits = mutual_information(scores, labels)
    chance = _bits_of_shuffles(scores, labels, permutations, seed)
    # A hair of slack: a phrase with no information at all ties with every shuffle, but for rounding.
    p_values = (1 + (chance >= bits - 1e-12).sum(axis=0)) / (1 + permutations)
    beyond = bits - chance.mean(axis=0)
    best = (chance - chance.mean(axis=0)).max(axis=1)
    p_any = (1 + (best[:, None] >= beyond - 1e-12).sum(axis=0)) / (1 + permutations)
    mean = scores.mean(axis=0)
    _, by_class = _by_class(scores, labels)
    present = np.unique(labels)
    others = (by_class.sum(axis=0) - by_class) / max(len(present) - 1, 1)
    ranked = []
    for index, phrase in enumerate(phrases):
        own, rest = by_class[:, index], MORE * others[:, index]
        above = [c for c in np.argsort(-own, kind="stable") if own[c] > rest[c]]
        ranked.append(
            Ranked(
                template=phrase,
                bits=float(beyond[index]),
                chance=float(chance[:, index].mean()),
                p_value=float(p_values[index]),
                share=float(mean[index]),
                classes=tuple(class_names[present[c]] for c in above),
                p_any=float(p_any[index]),
            )
        )
    return sorted(ranked, key=lambda row: (-row.bits, row.template))


def _by_class(scores: Scores, labels: Labels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the share of each class that occurs (C,) and its mean scores (C, K), in label order."""
    _, position, counts = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.argsort(position, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    sums = np.add.reduceat(scores[order], starts, axis=0)
    return counts / len(labels), np.clip(sums / counts[:, None], 0.0, 1.0)


BY_CHANCE = 0.05
"""Chance that any phrase at all is said to go with the label though none does."""

WEAK = 0.01
"""A phrase that tells less than this share of the label is a weak shortcut."""


def label_bits(labels: Labels) -> float:
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
