"""What a person should know of a run before its first step."""

import sys
from collections.abc import Sequence
from typing import Any, cast

import lightning as L

from starft.captions.english import doubled_articles
from starft.losses import Contrastive, CrossEntropy, ReCalCon, Term
from starft.losses.base import notes_on_epochs
from starft.safe_text import say
from starft.training.optim import plan_notes
from starft.types import CaptionedData
from starft.wording import shortened


def tell_doubled_articles(trainer: L.Trainer, class_names: Sequence[str], templates: Sequence[str]) -> None:
    """Tell of captions with two articles in a row.

    Args:
        trainer: Of the run.
        class_names: Of the training classes.
        templates: Of their captions.
    """
    note = doubled_articles(class_names, templates)
    if note and trainer.is_global_zero:
        say(f"Note: {note[0].upper()}{note[1:]}.", file=sys.stderr)


def tell_notes(
    trainer: L.Trainer,
    terms: Sequence[Term],
    class_names: Sequence[str],
    templates: Sequence[str],
    warmup: int,
    total: int,
) -> None:
    """Tell of a warm-up that fills the run, of images that no epoch holds, of terms that rest or are used oddly.

    Also of captions that come with images: a column of that name is enough for them to take the place of templates.

    Args:
        trainer: Of the run, which is about to start.
        terms: Of the run.
        class_names: Of the training classes.
        templates: Of their captions.
        warmup: Length of the warm-up in steps.
        total: Length of the run in steps.
    """
    if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
        return
    loader = cast(Any, trainer.train_dataloader)
    size, batch = len(loader.sampler) * trainer.world_size, (loader.batch_size or 1) * trainer.world_size
    for note in plan_notes(warmup, total, size, batch):
        say(f"Note: {note}", file=sys.stderr)
    data = trainer.datamodule  # type: ignore[attr-defined]
    texts = data.train_captions if isinstance(data, CaptionedData) and class_names else None
    if texts and any(isinstance(term, Contrastive | ReCalCon) for term in terms):
        say(
            "Note: The contrastive objective pairs each image with its own caption, not with a template, such as "
            f'"{shortened(texts[0])}"; data.init_args.caption_column: "" goes back to templates.',
            file=sys.stderr,
        )
    elif len(templates) == 1 and any(isinstance(term, Contrastive) and term.positives == "class" for term in terms):
        say(
            "Note: With one template all captions of a class are equal, and positives class is the same loss as "
            "diagonal; give several, as model.templates.",
            file=sys.stderr,
        )
    sampling = str(getattr(data, "sampling", ""))
    for term in terms:
        if isinstance(term, CrossEntropy):
            given = {f"sampling {sampling}": sampling.startswith("class_"), "logit_adjustment": term.logit_adjustment}
            ways = [way for way, used in {**given, "class_weights": term.class_weights is not None}.items() if used]
            if len(ways) > 1:
                told = f"Note: {' and '.join(ways)} each balance the classes, which counts rare ones twice; take one."
                say(told, file=sys.stderr)
    idle = notes_on_epochs(terms, trainer.max_epochs)
    for note in filter(None, (*idle, *(term.advice(class_names) for term in terms))):
        say(f"Note: {note}.", file=sys.stderr)
