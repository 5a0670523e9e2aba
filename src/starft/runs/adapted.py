"""Checkpoints that hold adapters in the place of all weights: what they leave out, and how that comes back."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from starft.clip import ClipEncoder, build_clip, rebuild_clip
from starft.clip.lora import MARK, SCALE, LoRA, merge
from starft.clip.model_names import is_random
from starft.errors import WeightsError
from starft.runs.checkpoints import KEY, CheckpointFacts, fingerprint
from starft.runs.manifest import checked_pretrained

STUDENT = "clip.model."
"""Where a checkpoint's weights hold the tuned model."""


def strip_base(checkpoint: dict[str, Any], adapter: Mapping[str, Any], pretrained: str | None) -> None:
    """Take the weights that adapters leave alone out of a checkpoint, and write down what they were.

    Random ones stay in it: nobody could bring them back.

    Args:
        checkpoint: Of `strip_twin`, changed in place.
        adapter: Options of the adapter.
        pretrained: Names the weights that are left out.
    """
    checkpoint[KEY] |= {"adapter": dict(adapter), "pretrained": pretrained}
    if is_random(checkpoint[KEY]["model_name"], pretrained):
        return
    state = checkpoint["state_dict"]
    for key in [key for key in state if key.startswith(STUDENT)]:
        if MARK not in key and key != f"{STUDENT}{SCALE}":
            del state[key]


def refill_base(checkpoint: dict[str, Any], model: Any) -> None:
    """Put the weights that adapters leave alone into a checkpoint that is being loaded.

    Args:
        checkpoint: Changed in place.
        model: The student of this run, which has them.
    """
    live = {f"{STUDENT}{key}": value for key, value in model.state_dict().items()}
    checkpoint["state_dict"] = live | checkpoint["state_dict"]


def match_adapter(facts: CheckpointFacts, adapter: Mapping[str, Any] | None) -> None:
    """Refuse a checkpoint with another adapter than this run's.

    Args:
        facts: What the checkpoint says of itself.
        adapter: Options of this run's, or None.

    Raises:
        WeightsError: They differ.
    """
    if facts.adapter != adapter:
        theirs, ours = (_few(item, other) for item, other in ((facts.adapter, adapter), (adapter, facts.adapter)))
        raise WeightsError(
            f"The checkpoint has model.adapter {theirs}, and the config asks for {ours}; give its own config, or load "
            "it with starft.load, which needs none."
        )


def _few(options: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> str:
    """Return an adapter's options in which it differs from another one."""
    if options is None:
        return "null"
    return ", ".join(f"{key} {value}" for key, value in options.items() if value != (other or {}).get(key))


def tuned_clip(facts: CheckpointFacts, state: Mapping[str, Tensor]) -> ClipEncoder:
    """Return the tuned model of a checkpoint; adapters are merged into their base.

    Args:
        facts: What the checkpoint says of itself.
        state: Its weights.

    Raises:
        ConfigError: The base of adapters can't be named any more.
        WeightsError: The base can't be had, or is another one by now; or the weights don't fit the model.
    """
    student = {key.removeprefix(STUDENT): value for key, value in state.items() if key.startswith(STUDENT)}
    if facts.adapter is None:
        return rebuild_clip(facts.config, student)
    lora = LoRA(**facts.adapter)
    if is_random(facts.model_name, facts.pretrained):
        clip = rebuild_clip(facts.config, {key: value for key, value in student.items() if MARK not in key})
        merge(clip.model, lora, {key: value for key, value in student.items() if MARK in key})
        return clip
    clip = build_clip(facts.model_name, checked_pretrained(facts.pretrained))
    if fingerprint(clip.state_dict()) != facts.twin:
        raise WeightsError(
            f"The checkpoint holds adapters of other pre-trained weights than {facts.model_name} with "
            f"{facts.pretrained} has now; bring these back as they were."
        )
    merge(clip.model, lora, student)
    return clip
