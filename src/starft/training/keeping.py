"""Activations that a run keeps from epoch to epoch: when they can be kept, and of what size they will be."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch

from starft.clip import ClipEncoder, image_preprocessing
from starft.clip.kept_activations import KeptActivations
from starft.clip.lora import LoRA
from starft.errors import ConfigError
from starft.files.digests import content_digest
from starft.runs.ending import MarkUnfinished
from starft.runs.layout import KEPT
from starft.runs.limits import VARIED
from starft.runs.manifest import read_manifest
from starft.safe_text import say


def check_keeping(options: Mapping[str, Any], adapter: LoRA | None) -> None:
    """Refuse to keep activations where nothing of the image tower is frozen, or shared, before the model is loaded.

    Args:
        options: Of the module, by their names there.
        adapter: Of the run.

    Raises:
        ConfigError: So it is.
    """
    if options["keep_activations"] is None:
        return
    frozen = options["freeze_image_tower"] or options["freeze_image_blocks"] > 0
    if not frozen and (adapter is None or ("image" in adapter.towers and adapter.blocks == "all")):
        raise ConfigError(
            f"model.keep_activations is {options['keep_activations']}, and no first block of the image tower is "
            "frozen; set model.freeze_image_blocks to at least 1, or model.keep_activations to null."
        )
    for name, usual in (("share_frozen", True), ("compile", False)):
        if options[name] != usual:
            raise ConfigError(
                f"model.keep_activations needs model.{name} {str(usual).lower()}; set it to that, or "
                "model.keep_activations to null."
            )


def keep_activations(options: Mapping[str, Any], student: ClipEncoder, trainer: L.Trainer) -> KeptActivations | None:
    """Return where a run keeps the activations of its training images, after telling its size; None for nowhere.

    Args:
        options: Of the module, by their names there.
        student: The model in training, which knows its frozen beginning.
        trainer: Of the run, which is about to start.

    Raises:
        ConfigError: Images vary, the tower doesn't share its beginning, or there is no room.
    """
    where = options["keep_activations"]
    if where is None:
        return None
    if getattr(trainer.datamodule, "varies_images", True):  # type: ignore[attr-defined]
        raise ConfigError(VARIED)
    image = torch.zeros(1, 3, *image_preprocessing(student.model).size, device=student.device)
    with trainer.precision_plugin.train_step_context():
        begun = student.begin_images(image.to(student.model.logit_scale.dtype))
    if begun is None:
        raise ConfigError(
            "The frozen beginning of this image tower can't be computed by itself: it drops patches, or isn't the "
            "twin's, or is of a kind that starft doesn't know; set model.keep_activations to null."
        )
    if trainer.fast_dev_run:  # type: ignore[attr-defined]  # writes nothing
        where = "ram"
    count = len(cast(Any, trainer.train_dataloader).dataset)
    owner, name = _owner(trainer), f"{KEPT}-{trainer.global_rank}"
    folder = Path(trainer.default_root_dir)
    here = trainer.num_devices
    kept = KeptActivations(where, count, begun.shape[1:], folder, begun.dtype, name if owner else None, owner, here)
    if trainer.is_global_zero:
        each = "" if trainer.world_size == 1 else " for each of its processes"
        say(f"Note: activations of {count:,} images are kept ({where}): {kept.size_in_words}{each}.", file=sys.stderr)
    return kept


def _owner(trainer: L.Trainer) -> str:
    """Return what tells a run's activations from those of others, the same on all processes; empty for no run folder.

    There the file stays until the training has come to its end, as the mark does that it hasn't.
    """
    if not any(isinstance(item, MarkUnfinished) for item in trainer.callbacks):  # type: ignore[attr-defined]
        return ""
    manifest = read_manifest(Path(trainer.default_root_dir)) if trainer.is_global_zero else {}
    facts = [manifest.get(name) for name in ("created", "weights", "drawn_by")] + [
        manifest.get("sets", {}).get("train")
    ]
    return str(trainer.strategy.broadcast(content_digest(json.dumps([*facts, trainer.world_size]).encode())))
