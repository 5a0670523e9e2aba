"""Student and teachers as the options of a run want them: what is frozen, shared, recomputed, compiled."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import lightning as L

from starft.captions.sampler import CaptionSampler
from starft.clip import ClipEncoder, checkpoint_activations, compile_towers, encode_in_chunks, freeze
from starft.clip.lora import LoRA, add_updates, freeze_base, round_matrices
from starft.distributed import is_sharded
from starft.losses import Term
from starft.losses.teachers import MOST_REMEMBERED, Teacher
from starft.training.adapters import check_trained
from starft.training.gradients import freeze_parameters_no_term_reads


def make_twin(student: ClipEncoder, adapter: LoRA | None, precision: Literal["same", "bf16"], seed: int) -> Teacher:
    """Return the frozen twin of a student; with an adapter, the student itself without its updates.

    Args:
        student: As it was built; an adapter's updates are put into it, and its other weights frozen.
        adapter: Of the run, or None.
        precision: Of the twin's weights; with an adapter they are the student's, and have its precision.
        seed: Of the updates.

    Raises:
        ConfigError: The adapter doesn't fit the model.
    """
    if adapter is None:
        twin = Teacher(student)
        if precision == "bf16":
            round_matrices(twin.model, store=True)
        twin.in_bfloat16 = precision == "bf16"
        return twin
    student.in_bfloat16 = adapter.base_precision == "bf16"
    if student.in_bfloat16:
        round_matrices(student.model, store=True)
    freeze_base(student.model)
    twin = Teacher(student, shares=True)
    twin.in_bfloat16 = student.in_bfloat16
    add_updates(student.model, adapter, seed)
    return twin


def freeze_and_prepare(
    student: ClipEncoder, teachers: Sequence[Teacher], terms: Sequence[Term], options: Mapping[str, Any]
) -> None:
    """Freeze what a run leaves alone, and let the towers compute as its options say.

    Args:
        student: The model in training.
        teachers: All others.
        terms: Of the run; what none of them reads is frozen.
        options: Of the module, by their names there.

    Raises:
        ConfigError: The model can't do one of these.
    """
    freeze_parameters_no_term_reads(student, terms, options["head"])
    parts = ("text_tower", "image_tower", "text_blocks", "image_blocks")
    freeze(student.model, **{part: options[f"freeze_{part}"] for part in parts})
    check_trained(student.model)
    if options["gradient_checkpointing"]:
        checkpoint_activations(student.model)
    encoders = [student, *teachers]
    encode_in_chunks(encoders, options["micro_batch_size"])
    for encoder in encoders if options["compile"] else ():
        compile_towers(encoder.model)
    student.train()


def remember_captions(twin: Teacher, captions: CaptionSampler, trainer: L.Trainer) -> None:
    """Let the frozen twin encode each spurious caption of a run once at most, where an epoch asks for it often.

    Args:
        twin: Of the run.
        captions: That it draws.
        trainer: Of the run, which is about to start.
    """
    if is_sharded(twin):  # all processes call its parts together, and none may know captions that another doesn't
        return
    loader = cast(Any, trainer.train_dataloader)
    images = trainer.num_training_batches * (loader.batch_size or 1)
    twin.remember(captions.all_spurious(min(images / 2, MOST_REMEMBERED)))
