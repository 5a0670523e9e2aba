"""Which parts of the student the terms of a run read: what none ever reads is frozen, what none reads now rests.

DDP waits for a gradient of every trained weight at every step, and stops where one never comes.
"""

from collections.abc import Iterable, Sequence

import lightning as L
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from starft.captions.pools import Pool
from starft.clip import ClipEncoder, freeze, freeze_unread
from starft.errors import ConfigError
from starft.losses.base import Part, Term
from starft.losses.context import Progress
from starft.types import CountedData, GroupedData


def freeze_parameters_no_term_reads(clip: ClipEncoder, terms: Iterable[Term], head: str) -> None:
    """Freeze the text tower and the logit scale where no term with a weight reads them.

    Args:
        clip: The student.
        terms: Of the run.
        head: ``text`` or ``linear``.
    """
    freeze_unread(clip.model)
    read = _read((term for term in terms if term.weight > 0), head)
    freeze(clip.model, text_tower="text_tower" not in read)
    if "logit_scale" not in read:
        clip.model.logit_scale.requires_grad_(False)


def idle_parameters(
    clip: ClipEncoder, linear_head: Tensor | None, terms: Iterable[Term], progress: Progress
) -> list[nn.Parameter]:
    """Return the trained weights that only terms read whose schedule has them at 0 now.

    Args:
        clip: The student.
        linear_head: Its trained head, or None.
        terms: Of the run.
        progress: How far it is.
    """
    head = "text" if linear_head is None else "linear"
    terms = [term for term in terms if term.weight > 0]
    silent = _read((term for term in terms if term.weight_at(progress) == 0), head)
    silent -= _read((term for term in terms if term.weight_at(progress) > 0), head)
    if not silent:
        return []
    parts: dict[str, list[nn.Parameter]] = {"text_tower": [], "logit_scale": [], "linear_head": []}
    for name, parameter in clip.model.named_parameters():
        if parameter.requires_grad and not name.startswith("visual."):
            parts["logit_scale" if name == "logit_scale" else "text_tower"].append(parameter)
    if isinstance(linear_head, nn.Parameter) and linear_head.requires_grad:
        parts["linear_head"].append(linear_head)
    return [parameter for part in silent for parameter in parts[part]]


def zero_gradients_for_idle_parameters(parameters: Iterable[nn.Parameter], total: Tensor) -> Tensor:
    """Return ``total``, with a gradient of 0 for parameters that it doesn't depend on; FSDP's parts need none.

    Args:
        parameters: Those.
        total: A scalar.
    """
    zeros = [
        0 * parameter.flatten()[0].to(total.dtype) for parameter in parameters if not isinstance(parameter, DTensor)
    ]
    return total + torch.stack(zeros).sum() if zeros else total


def accumulation(trainer: L.Trainer) -> tuple[int, str]:
    """Return of how many batches at most a trainer adds up the gradients, and the callback that makes it so.

    Args:
        trainer: Of the run; its option is told without a callback's name.
    """
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    planned = [callback for callback in callbacks if isinstance(callback, GradientAccumulationScheduler)]
    plans = [(max(item.scheduling.values()), type(item).__name__) for item in planned]
    return max([(trainer.accumulate_grad_batches, ""), *plans], key=lambda plan: plan[0])


def check_accumulation(terms: Iterable[Term], batches: int, callback: str = "") -> None:
    """Refuse to add up gradients of several batches where a loss compares the rows of a batch.

    Args:
        terms: Of the run.
        batches: ``trainer.accumulate_grad_batches``.
        callback: What sets it to that; "" for the option.

    Raises:
        ConfigError: The sum wouldn't be the gradient of the whole batch.
    """
    across = [type(term).__name__ for term in terms if term.across_batch and term.weight > 0]
    if batches > 1 and across:
        by = f" by {callback} in trainer.callbacks" if callback else ""
        raise ConfigError(
            f"trainer.accumulate_grad_batches is {batches}{by}, but {across[0]} compares the images of a batch with "
            "each other, so small batches don't add up to a large one; set it to 1, data.init_args.batch_size to the "
            "whole batch, and model.micro_batch_size to what fits in memory."
        )


def check_rows(terms: Iterable[Term], rows: int | None, processes: int = 1) -> None:
    """Refuse to train on batches of one row where a loss is about a row among the others: it would be 0 all along.

    Args:
        terms: Of the run.
        rows: Of a batch; None where that isn't known.
        processes: How many of these batches make a step.

    Raises:
        ConfigError: A step has one row.
    """
    idle = [type(term).__name__ for term in terms if not term.learns_from_one_row and term.weight > 0]
    if rows == 1 and processes == 1 and idle:
        raise ConfigError(
            f"Batches of 1 image teach nothing with {idle[0]}, which compares the images of a batch with each other: "
            "its loss is 0 all along; set data.init_args.batch_size to at least 2, better to 128 or more with "
            "model.micro_batch_size at what fits in memory."
        )


def check_batches(terms: Sequence[Term], trainer: L.Trainer, rows: int | None) -> None:
    """Refuse batches that a loss can't be made of: gradients of several that are added up, or of one row.

    Args:
        terms: Of the run.
        trainer: Of the run.
        rows: Of a batch of one process; None where that isn't known.

    Raises:
        ConfigError: A term compares the images of a batch with each other.
    """
    check_accumulation(terms, *accumulation(trainer))
    check_rows(terms, rows, trainer.world_size)


def check_pool_is_there(terms: Sequence[Term], pool: Pool | None) -> None:
    """Refuse terms that draw from a pool where there is none.

    Args:
        terms: Of the run.
        pool: Its pool, or None.

    Raises:
        ConfigError: So it is.
    """
    drawing = [type(term).__name__ for term in terms if term.draws_from_pool]
    if pool is None and drawing:
        raise ConfigError(
            f"{drawing[0]} draws spurious templates from a pool, and model.pool is null; set it to one, such as "
            "backgrounds, or leave that regularizer out."
        )


def check_terms(terms: Sequence[Term], pool: Pool | None, class_names: Sequence[str]) -> None:
    """Refuse a run whose terms draw from a pool that isn't there, or can't work with its classes.

    Args:
        terms: Of the run.
        pool: Its pool, or None.
        class_names: Of the training classes.

    Raises:
        ConfigError: There is no pool, or a term refuses the classes.
    """
    check_pool_is_there(terms, pool)
    for term in terms:
        if not class_names and term.weight > 0 and (term.reads_classes or "logits" in term.reads):
            raise ConfigError(
                f"{type(term).__name__} goes by classes, and the training images have captions and no labels; "
                "take starft.losses.Contrastive as model.objective and terms that read no classes, or give labels."
            )
        term.check_classes(class_names)


def start_terms(terms: Iterable[Term], data: object) -> None:
    """Let each term hear of the training data.

    Args:
        terms: Of the run.
        data: Its DataModule, which may count groups and classes.

    Raises:
        DataError: A term can't work with them.
    """
    groups = data.train_group_counts if isinstance(data, GroupedData) else {}
    classes = data.train_class_counts if isinstance(data, CountedData) else ()
    for term in terms:
        term.start(groups)
        term.count_classes(classes)


def reads_logits(terms: Iterable[Term]) -> bool:
    """Return whether a term with a weight reads class logits.

    Args:
        terms: Of the run.
    """
    return any("logits" in term.reads for term in terms if term.weight > 0)


def _read(terms: Iterable[Term], head: str) -> set[str]:
    """Return ``text_tower``, ``logit_scale`` and ``linear_head``, as far as the terms read them."""
    asked: set[Part] = set().union(*(term.reads for term in terms))
    through: set[str] = {"linear_head"} if head == "linear" else {"text_tower", "logit_scale"}
    return {part for part in asked if part != "logits"} | (through if "logits" in asked else set())
