"""Checks of adapters in a run: what can't be trained is refused, before the model is loaded where that can be seen."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import nn

from starft.clip.lora import LoRA, named_updates
from starft.errors import ConfigError


def adapter_of(given: LoRA | Mapping[str, Any] | None, twin_precision: str, frozen: Mapping[str, bool]) -> LoRA | None:
    """Return the adapter of a run, after refusing one that nothing could be trained of.

    Args:
        given: As the module was given it; its options where it is built again from a checkpoint's hyper-parameters.
        twin_precision: Of the run.
        frozen: Tower -> whether it is frozen.

    Raises:
        ConfigError: All of its towers are frozen, or the twin is asked for in another precision.
    """
    adapter = LoRA(**given) if isinstance(given, Mapping) else given
    if adapter is None:
        return None
    if all(frozen[tower] for tower in adapter.towers):
        options = " and ".join(f"freeze_{tower}_tower" for tower in adapter.towers)
        raise ConfigError(
            f"model.adapter has its updates in the {' and '.join(adapter.towers)} tower, and {options} true leaves "
            "nothing to train; set it to false, or give adapter.towers another one."
        )
    if twin_precision != "same":
        raise ConfigError(
            f"model.twin_precision is {twin_precision}, and with model.adapter the twin has the student's own weights; "
            "set it to same, and base_precision of model.adapter to bf16."
        )
    return adapter


def as_options(adapter: LoRA | None) -> dict[str, Any] | None:
    """Return an adapter as plain values, which YAML and checkpoints hold.

    Args:
        adapter: Of a run, or None.
    """
    return None if adapter is None else asdict(adapter)


def check_trained(model: nn.Module) -> None:
    """Refuse adapters none of which is trained, by whatever it was frozen.

    Args:
        model: The student, with all frozen that will be.

    Raises:
        ConfigError: There is nothing to train.
    """
    trained = [weight.requires_grad for _, update in named_updates(model) for weight in update.parameters()]
    if trained and not any(trained):
        raise ConfigError(
            "No update of model.adapter is trained: freeze_*, or terms that don't read the text tower, leave all of "
            "them alone; give adapter.towers or adapter.blocks others, or freeze less."
        )


def check_frozen(twin: nn.Module) -> None:
    """Refuse to train weights of the twin, which has those in common with the student that an adapter leaves alone.

    Args:
        twin: Of the run.

    Raises:
        ConfigError: A callback has thawed one.
    """
    thawed = next((name for name, weight in twin.named_parameters() if weight.requires_grad), None)
    if thawed is not None:
        raise ConfigError(
            f"A callback in trainer.callbacks has thawed {thawed.removeprefix('model.')}, which with model.adapter is "
            "the twin's, too, and must stay as it is; leave the callback out, or set model.adapter to null."
        )
