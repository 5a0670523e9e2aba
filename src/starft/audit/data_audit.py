"""``starft audit data``: the shortcuts that training images offer, and an attribute for each image, by frozen CLIP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from starft.audit.association import BY_CHANCE, Labels, Ranked, label_bits, phrase_features, presence, rank_phrases
from starft.audit.attributes import (
    NO_PHRASE,
    UNREADABLE,
    AttributeModel,
    InferredAttributes,
    attributes_path,
    infer,
    unfit_rows,
)
from starft.audit.clusters import find_clusters
from starft.audit.copies import NOT_SEARCHED, CopyPair, CopySearch
from starft.audit.features import TRAIN, FeatureSet, check_labels
from starft.audit.phrases import nonsense_phrases, recognised, same_meaning, shown
from starft.captions.pools import Pool
from starft.clip import ClipEncoder, zero_shot_head
from starft.errors import PoolError
from starft.wording import count_of

RANKED = 20_000
"""Training images that the ranking looks at, at most, drawn at random."""
RECOGNISED = 2000
"""Of them those that tell whether the model recognises a pool, at most."""
PERMUTATIONS = 200
"""How often labels are shuffled to know chance."""
SHOWN_CLASSES = 4
"""Classes that a sentence names."""


@dataclass(frozen=True)
class Attribute:
    """One value of the inferred attribute and how it goes with the label.

    Args:
        phrases: The templates that mean it; none of a cluster.
        ranked: Its association with the label; ``template`` is its name, ``classes`` those that have more of it.
        images: Training images that show it.
        support: Those of them that are of its classes.
        class_images: Training images of its classes.
    """

    phrases: tuple[str, ...]
    ranked: Ranked
    images: int
    support: int
    class_images: int


@dataclass(frozen=True)
class DataAudit:
    """What an audit of data found.

    Args:
        attributes: Every value, the strongest association with the label first.
        inferred: The attribute of each image, by set.
        label_bits: Entropy of the training labels.
        train_images: How many training images there are.
        ranked_images: How many of them the ranking looked at.
        copies: Near duplicates across splits.
        not_compared: Pairs of sets that are too large to look for copies.
    """

    attributes: tuple[Attribute, ...]
    inferred: Mapping[str, InferredAttributes]
    label_bits: float
    train_images: int
    ranked_images: int
    copies: tuple[CopyPair, ...]
    not_compared: tuple[tuple[str, str], ...]


def audit_data(
    clip: ClipEncoder,
    sets: Mapping[str, FeatureSet],
    pools: Sequence[Pool],
    class_names: Sequence[str],
    template: str,
    seed: int,
    duplicates: CopySearch = NOT_SEARCHED,
) -> DataAudit:
    """Return the shortcuts that training images offer, and the attribute of every image.

    Args:
        clip: The frozen model.
        sets: Features by name, ``train`` among them.
        pools: Whose phrases are looked for.
        class_names: In label order.
        template: Caption template of the data.
        seed: Of draws and shuffles.
        duplicates: Across splits.

    Raises:
        StarftError: The data or the pools can't be used.
    """
    train = sets[TRAIN]
    check_labels(train.labels[train.readable])
    chosen = train.sample(RANKED, seed)
    rows = np.asarray(train.rows[chosen], dtype=np.float32)
    phrases = sorted({phrase for pool in pools for phrase in _phrases(pool)})
    text = phrase_features(clip, phrases, class_names, template)
    scale = float(clip.logit_scale)
    nonsense = phrase_features(clip, nonsense_phrases(seed), class_names, template)
    some = np.random.default_rng(seed).permutation(len(rows))[:RECOGNISED]
    for pool in pools:
        own = [0, *(1 + phrases.index(phrase) for phrase in _phrases(pool))]
        if not recognised(rows[some], text[own], nonsense, scale, seed):
            raise PoolError(
                f"The model recognises none of the {count_of(len(own) - 1, 'phrase')} of the pool {pool.name}: they "
                f"are no better than chance on {len(some)} images, which is what phrases of random letters give; "
                "give another --pool."
            )
    model = _attribute_model(text, phrases, rows, scale)
    unfit = np.concatenate([*unfit_rows(model, train, chosen)])
    class_text = zero_shot_head(clip, class_names, [template]).float().cpu().numpy()
    model = replace(model, clusters=find_clusters(unfit, class_text, text, shown(phrases), seed))
    inferred = {name: infer(model, features) for name, features in sets.items()}
    labels = train.labels[chosen]
    ranked = rank_phrases(model.all_names, model.probabilities(rows), labels, class_names, PERMUTATIONS, seed)
    members = dict(zip(model.names, model.phrases, strict=True))
    return DataAudit(
        attributes=tuple(_attribute(row, members, inferred[TRAIN], train.labels, class_names) for row in ranked),
        inferred=inferred,
        label_bits=label_bits(labels),
        train_images=len(train),
        ranked_images=len(chosen),
        copies=duplicates.copies,
        not_compared=duplicates.not_compared,
    )


def _phrases(pool: Pool) -> list[str]:
    return sorted({*pool.templates, *(phrase for own in pool.per_class.values() for phrase in own)})


def _attribute_model(
    text: NDArray[np.float32], phrases: Sequence[str], rows: NDArray[np.float32], scale: float
) -> AttributeModel:
    """Return the model without clusters; of phrases that mean the same the likeliest on the images names them."""
    members = same_meaning(text)
    share = presence(rows, text, scale)[:, 1:].mean(axis=0)
    members = [sorted(positions, key=lambda at: -share[at]) for positions in members]
    of_values = tuple(tuple(phrases[at] for at in positions) for positions in members)
    first = [own[0] for own in of_values]
    names = shown(first)
    names = first if {NO_PHRASE, UNREADABLE} & {*names} else names
    return AttributeModel(of_values, tuple(names), text, tuple(map(tuple, members)), scale)


def _attribute(
    ranked: Ranked,
    members: Mapping[str, tuple[str, ...]],
    inferred: InferredAttributes,
    labels: Labels,
    class_names: Sequence[str],
) -> Attribute:
    shows = inferred.values == inferred.names.index(ranked.template)
    of_classes = np.isin(labels, [at for at, name in enumerate(class_names) if name in ranked.classes])
    return Attribute(
        phrases=members.get(ranked.template, ()),
        ranked=ranked,
        images=int(shows.sum()),
        support=int((shows & of_classes).sum()),
        class_images=int(of_classes.sum()),
    )


def save_attributes(audit: DataAudit, folder: Path) -> None:
    """Write the attribute of each image, a file a set.

    Args:
        audit: What was found.
        folder: Of the audit.
    """
    for name, inferred in audit.inferred.items():
        inferred.save(attributes_path(folder, name))


def in_words(audit: DataAudit) -> str:
    """Return what an audit found, in a sentence or two.

    Args:
        audit: What was found.
    """
    real = strongest(audit)
    looked = f"{audit.train_images:,} training images"
    if real is None:
        return (
            f"No shortcut: none of the {len(audit.attributes)} attributes goes with the label beyond chance on "
            f"{looked}. Others may be there that these phrases don't name; try another --pool."
        )
    row = real.ranked
    share = 100 * row.bits / audit.label_bits
    tells = f"It tells {share:.2g} % of the label's {audit.label_bits:.2f} bits."
    if not row.classes:
        return f"Strongest shortcut: {row.template!r}, {real.images:,} images support it. {tells}"
    some, others = listed(row.classes), real.images - real.support
    return (
        f"Strongest shortcut: {row.template!r}, {real.support:,} images support it: so many of the "
        f"{real.class_images:,} training images of {some} show it, and {others:,} of the other "
        f"{audit.train_images - real.class_images:,}. {tells}"
    )


def listed(names: Sequence[str]) -> str:
    """Return the first few names of classes.

    Args:
        names: All of them.
    """
    return ", ".join(names[:SHOWN_CLASSES]) + (", ..." if len(names) > SHOWN_CLASSES else "")


def strongest(audit: DataAudit) -> Attribute | None:
    """Return the attribute that goes with the label most, or None where none does beyond chance.

    Args:
        audit: What was found.
    """
    real = shortcuts(audit)
    return real[0] if real else None


def shortcuts(audit: DataAudit) -> list[Attribute]:
    """Return the attributes that go with the label beyond chance, given how many were looked at, the strongest first.

    Args:
        audit: What was found.
    """
    return [
        item
        for item in audit.attributes
        if item.ranked.p_any <= BY_CHANCE and item.images and item.ranked.template != NO_PHRASE
    ]
