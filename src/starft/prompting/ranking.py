"""``starft prompts rank``: a pool's phrases by how they go with the labels of training images, and the best of them.

`starft.audit.association` has the scores and their ranks.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from starft.audit.association import Ranked, conclude, label_bits, phrase_features, presence, rank_phrases
from starft.audit.features import encoded, frozen_clip, training_set
from starft.captions.pools import Pool
from starft.clip import image_preprocessing
from starft.config.prompts import RunConfig
from starft.errors import PromptError
from starft.files.atomic import replace_file
from starft.reporting.console import Console
from starft.safe_text import say

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
    clip = frozen_clip(run.model_name, run.pretrained)
    train_set = training_set(run.data, image_preprocessing(clip.model))
    chosen = sorted(np.random.default_rng(run.seed).permutation(len(train_set))[:images].tolist())
    batches = [*encoded(clip, run.data, train_set, chosen, run.seed)]
    features, labels = (np.concatenate(parts) for parts in zip(*((b.features, b.labels) for b in batches), strict=True))
    if len(np.unique(labels)) < 2:
        message = f"The {len(labels)} images of {run.path} that were looked at are all of one class"
        raise PromptError(f"{message}; give a larger --images.")
    phrases = sorted({*given.templates, *(t for own in given.per_class.values() for t in own)})
    text = phrase_features(clip, phrases, names, run.templates()[0])
    scores = presence(features, text, float(clip.logit_scale))[:, 1:]
    ranked = rank_phrases(phrases, scores, labels, names, permutations, run.seed)
    _print_table(ranked, len(labels))
    say(conclude(ranked, label_bits(labels), len(labels)))
    _plot(ranked, given.name, picture)
    return _top(given, ranked, top, run.path, len(labels), permutations)


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
