"""Options of the trainer that let a verb see a part of its data, or leave it nothing to do."""

from collections.abc import Mapping
from typing import Any

from starft.errors import ConfigError

LIMITS = {
    "fit": {
        "limit_train_batches": "each epoch trains on a part of the data",
        "limit_val_batches": "validation looks at a part of its data",
    },
    "validate": {"limit_val_batches": "validation looks at a part of its data"},
    "test": {"limit_test_batches": "the test is of a part of its data"},
    "predict": {"limit_predict_batches": "a part of the data is predicted"},
}
"""Verb -> options of ``trainer`` that thin it, and what they do."""


NO_END = (
    "The run has no end, and the learning rate falls up to its last step: give trainer.max_epochs or max_steps; "
    "trainer.max_time may stop it sooner."
)
VARIED = (
    "model.keep_activations needs training images that are the same in each epoch; set data.init_args.augmentation to "
    "null, or model.keep_activations to null."
)


def limits(trainer: Mapping[str, Any], verb: str) -> list[str]:
    """Return a sentence for each option that lets a verb see a part of its data.

    Args:
        trainer: Section of a config.
        verb: Of the command line.
    """
    whole: tuple[Any, ...] = (None, 0.0)
    return [
        f"trainer.{key} is {trainer[key]}: {what}."
        for key, what in LIMITS.get(verb, {}).items()
        if trainer.get(key) not in whole and not (isinstance(trainer[key], float) and trainer[key] == 1.0)
    ]


def check_limits(trainer: Mapping[str, Any], verb: str) -> None:
    """Refuse a command that has nothing to do, or whose training would be of the same batches each epoch.

    Args:
        trainer: Section of a config.
        verb: Of the command line.

    Raises:
        ConfigError: An option leaves no batch, or no step, or can't be used.
    """
    if trainer.get("overfit_batches"):
        raise ConfigError(
            f"trainer.overfit_batches (it is {trainer['overfit_batches']}) can't be used, as each epoch draws its own "
            "batches; give a small training set instead, or trainer.limit_train_batches and limit_val_batches."
        )
    keys = [key for key in LIMITS.get(verb, {}) if key.startswith("limit_") and not (verb == "fit" and "val" in key)]
    for key in [*keys, *(("max_epochs", "max_steps") if verb == "fit" else ())]:
        if trainer.get(key) is not None and trainer[key] == 0:
            instead = "run `starft test`" if verb == "fit" and key.startswith("max") else "leave it out"
            doing = {"fit": "train", "predict": "predict"}.get(verb, "score")
            raise ConfigError(f"trainer.{key} is 0, so there is nothing to {doing}; {instead}.")
    for key in ("max_epochs", "max_steps"):
        if isinstance(trainer.get(key), int) and trainer[key] < -1:
            raise ConfigError(f"trainer.{key} must be at least 1, or -1 for no limit; got {trainer[key]}.")
    bounds = [trainer.get(key) for key in ("max_epochs", "max_steps")]
    by_default = bounds[0] is None and trainer.get("max_time") is None  # a thousand epochs, says Lightning
    if verb == "fit" and not by_default and all(bound in (None, -1) for bound in bounds):
        raise ConfigError(NO_END)
