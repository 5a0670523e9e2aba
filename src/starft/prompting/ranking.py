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
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.progress import track
from rich.table import Table
from scipy.special import rel_entr
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset

from starft.captions.pools import Pool, inject
from starft.captions.templates import caption
from starft.clip import ClipEncoder, Twin, build_clip, image_preprocessing
from starft.config.prompts import RunConfig
from starft.data.datamodules import BaseDataModule
from starft.data.imageset import Guarded, GuardedLoader, ImageSet, gathered
from starft.data.loading import SignalProofLoader, ignore_stop_signals
from starft.errors import PromptError
from starft.files.atomic import replace_file
from starft.reporting.console import Console
from starft.runs.manifest import checked_pretrained
from starft.safe_text import say, visible
from starft.wording import count_of

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
    bits = mutual_information(scores, labels)
    rng = np.random.default_rng(seed)
    chance = np.stack([mutual_information(scores, rng.permutation(labels)) for _ in range(permutations)])
    # A hair of slack: a phrase with no information at all ties with every shuffle, but for rounding.
    p_values = (1 + (chance >= bits - 1e-12).sum(axis=0)) / (1 + permutations)
    beyond = bits - chance.mean(axis=0)
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
    return sorted(ranked, key=lambda row: (-row.bits, row.template))


def _by_class(
    scores: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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


SIGNIFICANT = 0.05


def rank_on(run: RunConfig, given: Pool, top: int, images: int, permutations: int, picture: Path) -> Pool:
    """Rank a pool's phrases on training images, print and plot the ranking; return the pool of the first phrases.

    Args:
        run: Tells data, model and seed.
        given: The pool.
        top: How many phrases to keep.
        images: Training images to look at, at most.
        permutations: How often labels are shuffled.
        picture: The plot to write.

    Raises:
        StarftError: Model or data can't be used.
    """
    assert run.data is not None, "the command has looked"
    names = run.class_names()
    clip = Twin(build_clip(run.model_name, checked_pretrained(run.pretrained)))
    clip.to("cuda" if torch.cuda.is_available() else "cpu")
    features, labels = _look(clip, run.data, images, run.seed)
    if len(np.unique(labels)) < 2:
        message = f"The {len(labels)} images of {run.path} that were looked at are all of one class"
        raise PromptError(f"{message}; give a larger --images.")
    phrases = sorted({*given.templates, *(t for own in given.per_class.values() for t in own)})
    scores = presence(clip, features, phrases, names, run.templates()[0])
    ranked = rank_phrases(phrases, scores, labels, names, permutations, run.seed)
    _print_table(ranked, len(labels))
    say(conclude(ranked, label_bits(labels), len(labels)))
    _plot(ranked, given.name, picture)
    return _top(given, ranked, top, run.path, len(labels), permutations)


def _loader(data: BaseDataModule, train_set: Dataset[Any], chosen: list[int]) -> DataLoader[Any]:
    """Return the loader of some images; bad ones of a data set on disk stop or are skipped, as the config has it."""
    how: dict[str, Any] = {
        "batch_size": data.eval_batch_size,
        "num_workers": data.num_workers,
        "worker_init_fn": ignore_stop_signals,
    }
    if not isinstance(train_set, ImageSet):
        return SignalProofLoader(Subset(train_set, chosen), **how)
    images = Guarded(train_set, getattr(data, "on_bad_image", "stop"))
    return GuardedLoader(images, sampler=chosen, collate_fn=gathered, **how)


@torch.no_grad()
def _look(clip: Twin, data: BaseDataModule, most: int, seed: int) -> tuple[torch.Tensor, NDArray[np.int64]]:
    """Return features (N, D) and labels (N,) of training images."""
    if data.train_set is None:
        data.preprocessing = image_preprocessing(clip.model)
        data.setup("fit")
    train_set: Dataset[Any] | None = data.train_set
    if train_set is None:
        raise PromptError(f"{type(data).__name__} makes no train_set in setup; rank needs the training images.")
    size = len(train_set)  # type: ignore[arg-type]  # map-style data sets have a length
    chosen = sorted(np.random.default_rng(seed).permutation(size)[:most].tolist())
    loader = _loader(data, train_set, chosen)
    console = Console(stderr=True)
    features, labels = [], []
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # training images may be cropped at random
        for batch in track(loader, "looking", console=console, disable=not console.is_terminal):
            there = data.on_after_batch_transfer(batch | {"image": batch["image"].to(clip.device)}, 0)
            features.append(clip.encode_image(there["image"]).float())
            labels.append(batch["label"])
    return torch.cat(features), torch.cat(labels).numpy()


def _print_table(ranked: Sequence[Ranked], images: int) -> None:
    table = Table("", "phrase", "bits", "chance", "p", "share", "goes with", box=None)
    for place, row in enumerate(ranked, 1):
        classes = ", ".join(row.classes[:4]) + (", ..." if len(row.classes) > 4 else "")
        numbers = (f"{row.bits:.3f}", f"{row.chance:.3f}", f"{row.p_value:.3f}", f"{row.share:.3f}")
        table.add_row(str(place), row.template, *numbers, classes if row.p_value <= SIGNIFICANT else "")
    Console(140).print(table)
    say(f"bits: mutual information with the label beyond chance, on {images} training images.")


def _plot(ranked: Sequence[Ranked], name: str, path: Path) -> None:
    figure = Figure(figsize=(8, 1 + 0.25 * len(ranked)), layout="constrained")
    axes = figure.subplots()
    colors = ["tab:red" if row.p_value <= SIGNIFICANT else "tab:gray" for row in ranked]
    axes.barh([row.template for row in ranked], [row.bits for row in ranked], color=colors)
    axes.invert_yaxis()
    axes.set_xlabel(f"bits about the label beyond chance (red: p at most {SIGNIFICANT})")
    for text in (axes.set_title(f"What the phrases of {name} say about the label"), *axes.get_yticklabels()):
        text.set_parse_math(False)  # phrases and names may hold dollar signs
    temporary = path.with_name(f".{path.name}.tmp.png")
    try:
        figure.savefig(temporary, dpi=120)
        replace_file(path, temporary.read_bytes())
    finally:
        temporary.unlink(missing_ok=True)


def _top(given: Pool, ranked: Sequence[Ranked], top: int, config: Path, images: int, permutations: int) -> Pool:
    """Return the pool of the first phrases, with the whole ranking in its provenance."""
    best = {row.template for row in ranked[:top]}
    general = [template for template in given.templates if template in best]
    # A pool needs a phrase for every class, so where all of the best are of single classes, the best serves all.
    general = general or [ranked[0].template]
    per_class = {
        name: tuple(sorted(left)) for name, own in given.per_class.items() if (left := {*own} & best - {*general})
    }
    return Pool(
        name=f"{given.name}-top",
        description=f"{given.description} The {len(best)} phrases that say most about the label.",
        templates=tuple(sorted(general)),
        per_class=per_class,
        provenance={
            "source": given.provenance["source"],
            "ranked": {
                "config": config.name,
                "images": images,
                "permutations": permutations,
                "bits": {row.template: round(row.bits, 4) for row in ranked},
            },
            "pool": {"name": given.name, "provenance": given.provenance},
        },
    )
