"""What `starft prompts rank` does once its arguments are in order: look at images, rank, print, plot, write."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.progress import track
from rich.table import Table
from torch.utils.data import DataLoader, Dataset, Subset

from starft.clip import Twin, build_clip, image_preprocessing
from starft.data.datamodules import BaseDataModule
from starft.data.imageset import Guarded, GuardedLoader, ImageSet, gathered
from starft.data.loading import SignalProofLoader, deaf_to_stops
from starft.errors import PromptError
from starft.files import replace_file
from starft.pools import Pool
from starft.prompting.conclusion import conclude, label_bits
from starft.prompting.config_files import RunConfig
from starft.prompting.ranking import Ranked, presence, rank_phrases
from starft.safe_text import say
from starft.terminal import Console

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
    clip = Twin(build_clip(run.model_name, run.pretrained))
    clip.to("cuda" if torch.cuda.is_available() else "cpu")
    features, labels = _look(clip, run.data, images, run.seed)
    if len(np.unique(labels)) < 2:
        told = f"The {len(labels)} images of {run.path} that were looked at are all of one class"
        raise PromptError(f"{told}; give a larger --images.")
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
        "worker_init_fn": deaf_to_stops,
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
            features.append(clip.encode_image(batch["image"].to(clip.device)).float())
            labels.append(batch["label"])
    return torch.cat(features), torch.cat(labels).numpy()


def _print_table(ranked: Sequence[Ranked], images: int) -> None:
    table = Table("", "phrase", "bits", "chance", "p", "share", "goes with", box=None)
    for place, one in enumerate(ranked, 1):
        classes = ", ".join(one.classes[:4]) + (", ..." if len(one.classes) > 4 else "")
        numbers = (f"{one.bits:.3f}", f"{one.chance:.3f}", f"{one.p_value:.3f}", f"{one.share:.3f}")
        table.add_row(str(place), one.template, *numbers, classes if one.p_value <= SIGNIFICANT else "")
    Console(140).print(table)
    say(f"bits: mutual information with the label beyond chance, on {images} training images.")


def _plot(ranked: Sequence[Ranked], name: str, path: Path) -> None:
    figure = Figure(figsize=(8, 1 + 0.25 * len(ranked)), layout="constrained")
    axes = figure.subplots()
    colors = ["tab:red" if one.p_value <= SIGNIFICANT else "tab:gray" for one in ranked]
    axes.barh([one.template for one in ranked], [one.bits for one in ranked], color=colors)
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
    best = {one.template for one in ranked[:top]}
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
                "bits": {one.template: round(one.bits, 4) for one in ranked},
            },
            "pool": {"name": given.name, "provenance": given.provenance},
        },
    )
