"""What a run is in a comparison, by its config: the pre-trained model, plain fine-tuning, or a method of its own."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, Literal

from starft.runs.layout import CHECKPOINTS

Role = Literal["zero-shot", "CE", "FLYP", "other"]
Plain = Literal["CE", "FLYP"]

RANK: dict[Role, int] = {"other": 0, "FLYP": 1, "CE": 1, "zero-shot": 2}
"""Of two runs the one of lower rank is compared with the other: the method less its baseline."""

OF_PLAIN = {
    "positives": "diagonal",
    "logit_adjustment": 0,
    "class_weights": None,
    "layer_decay": 1,
    "unscaled_head": False,
}
"""Options of the objective and of the model that are a method of their own where they have another value."""


def role_of(config: Mapping[str, Any]) -> Role:
    """Return what the config of a test says of its run.

    ``zero-shot``: the pre-trained model was scored, no checkpoint. ``CE`` and ``FLYP``: a checkpoint of plain
    fine-tuning, that is cross-entropy or the contrastive objective, without regularizers, callbacks of ours, sampling
    by class or group, frozen towers, a probe to start from or other values than `OF_PLAIN`. ``other``: all else;
    weights mixed of several places too.

    Args:
        config: Resolved, as results.json holds it.
    """
    model, trainer, data = (_mapping(config.get(key)) for key in ("model", "trainer", "data"))
    probe = model.get("head_start") == "probe"
    checkpoint = config.get("ckpt_path")
    if not checkpoint:
        untrained = "ckpt_path" in config or trainer.get("max_epochs") == 0 or trainer.get("max_steps") == 0
        return "zero-shot" if untrained and not probe else "other"
    path = _class_path(model.get("objective"))
    plain = {"starft.losses.CrossEntropy": "CE", "starft.losses.Contrastive": "FLYP"}.get(path)
    callbacks = trainer.get("callbacks") or ()
    options = {**model, **_mapping(_mapping(model.get("objective")).get("init_args"))}
    extra = [
        *_listed(model.get("regularizers") or ()),
        *(item for item in _listed(callbacks) if _class_path(item).startswith("starft.")),
        *(name for name, value in model.items() if name.startswith("freeze_") and value),
        *([probe] if probe else ()),
        *(name for name, usual in OF_PLAIN.items() if options.get(name, usual) != usual),
        *([sampling] if (sampling := _mapping(data.get("init_args")).get("sampling")) not in (None, "shuffle") else ()),
    ]
    mixed = PurePath(str(checkpoint)).parent.name != CHECKPOINTS
    if plain is None or extra or mixed:
        return "other"
    return "CE" if plain == "CE" else "FLYP"


def plain_of(config: Mapping[str, Any]) -> Plain:
    """Return which plain fine-tuning a run is to be held against: FLYP for contrastive objectives, CE for all others.

    Args:
        config: Resolved.
    """
    path = _class_path(_mapping(config.get("model")).get("objective"))
    return "FLYP" if "Contrastive" in path or "ReCalCon" in path else "CE"


def _class_path(held: Any) -> str:
    return str(_mapping(held).get("class_path", ""))


def _listed(held: Any) -> list[Any]:
    return list(held) if isinstance(held, list | tuple) else [held]


def _mapping(held: Any) -> Mapping[str, Any]:
    return held if isinstance(held, Mapping) else {}
