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
from scipy.special import rel_entr
from torch import Tensor
from torch.nn import functional as F

from starft.captions.pools import inject
from starft.captions.templates import caption
from starft.clip import ClipEncoder

SOME_CLASSES = 32
"""Captions are averaged over at most so many classes, evenly spread: more changes little and costs text encoding."""


@dataclass(frozen=True)
class Ranked:
    """One phrase and how it goes with the label.

    Args:
        template: The phrase.
        bits: Mutual information with the label beyond chance, in bits.
        chance: Mean mutual information with shuffled labels, in bits; already taken off.
        p_value: Share of the shuffles that reach the phrase's value, the true order counted as one of them.
        share: Mean score: how much of the data shows it.
        classes: The classes that have more of it than the average, most first.
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
def presence(
    clip: ClipEncoder,
    image_features: Tensor,
    phrases: Sequence[str],
    class_names: Sequence[str],
    template: str,
) -> NDArray[np.float64]:
    """Return the zero-shot scores (N, K) of K phrases on N images, each in [0, 1]; what a row lacks to 1 is "none".

    Args:
        clip: The frozen model.
        image_features: Unit rows (N, D).
        phrases: Spurious templates.
        class_names: Of the data; captions are averaged over them.
        template: Caption template of the data.
    """
    names = [*dict.fromkeys(class_names)]
    some = [names[index] for index in np.linspace(0, len(names) - 1, min(SOME_CLASSES, len(names))).astype(int)]
    captions = [caption(template, name) for name in some]
    rows = [captions, *[[inject(clean, phrase) for clean in captions] for phrase in phrases]]
    text = torch.stack([F.normalize(clip.encode_text(row).float().mean(dim=0), dim=-1) for row in rows])
    scores = (clip.logit_scale * image_features.float() @ text.T).softmax(dim=1)
    return np.asarray(scores[:, 1:].cpu().double().numpy())


def mutual_information(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
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
    mean = scores.mean(axis=0)
    nats = rel_entr(by_class, mean) + rel_entr(1 - by_class, 1 - mean)
    return np.asarray((weights[:, None] * nats).sum(axis=0) / np.log(2))


def rank_phrases(
    phrases: Sequence[str],
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
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
    found = mutual_information(scores, labels)
    rng = np.random.default_rng(seed)
    chance = np.stack([mutual_information(scores, rng.permutation(labels)) for _ in range(permutations)])
    # A hair of slack: a phrase with no information at all ties with every shuffle, but for rounding.
    p_values = (1 + (chance >= found - 1e-12).sum(axis=0)) / (1 + permutations)
    beyond = found - chance.mean(axis=0)
    best = (chance - chance.mean(axis=0)).max(axis=1)
    p_any = (1 + (best[:, None] >= beyond - 1e-12).sum(axis=0)) / (1 + permutations)
    mean = scores.mean(axis=0)
    _, by_class = _by_class(scores, labels)
    present = np.unique(labels)
    ranked = []
    for index, phrase in enumerate(phrases):
        above = [c for c in np.argsort(-by_class[:, index], kind="stable") if by_class[c, index] > 1.5 * mean[index]]
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
    return sorted(ranked, key=lambda one: (-one.bits, one.template))


def _by_class(
    scores: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the share of each class that occurs (C,) and its mean scores (C, K), in label order."""
    _, position, counts = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.argsort(position, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    sums = np.add.reduceat(scores[order], starts, axis=0)
    return counts / len(labels), np.clip(sums / counts[:, None], 0.0, 1.0)
