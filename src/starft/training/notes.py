"""What a person should know of a run before its first step."""

import sys
from collections.abc import Sequence
from typing import Any, cast

import lightning as L

from starft.captions.english import doubled_articles
from starft.losses import Term
from starft.losses.base import notes_on_epochs
from starft.safe_text import say
from starft.training.optim import plan_notes


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


def tell_notes(trainer: L.Trainer, terms: Sequence[Term], class_names: Sequence[str], warmup: int, total: int) -> None:
    """Tell of a warm-up that fills the run, of images that no epoch holds, of terms that rest or are used oddly.

    Args:
        trainer: Of the run, which is about to start.
        terms: Of the run.
        class_names: Of the training classes.
        warmup: Length of the warm-up in steps.
        total: Length of the run in steps.
    """
    if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
        return
    loader = cast(Any, trainer.train_dataloader)
    size, batch = len(loader.sampler) * trainer.world_size, (loader.batch_size or 1) * trainer.world_size
    for note in plan_notes(warmup, total, size, batch):
        say(f"Note: {note}", file=sys.stderr)
    idle = notes_on_epochs(terms, trainer.max_epochs)
    for note in filter(None, (*idle, *(term.advice(class_names) for term in terms))):
        say(f"Note: {note}.", file=sys.stderr)
