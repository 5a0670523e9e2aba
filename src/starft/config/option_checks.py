"""What the parser of options lets pass, and nobody can mean: null where there must be a value, NaN, empty names."""

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from inspect import Parameter
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from starft.config.class_paths import class_sections, parameters_of
from starft.errors import ConfigError
from starft.runs.limits import VARIED, check_limits

NAMES = (
    "trainer.default_root_dir",
    "checkpoint.monitor",
    "ckpt_path",
    "model.model_name",
    "model.pretrained",
    "model.pool",
)
"""What can be left out, and not be empty."""
LEAST = {
    "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": 1,
    "gradient_clip_val": 0,
    "log_every_n_steps": 0,
    "min_epochs": 0,
    "min_steps": 0,
    "num_nodes": 1,
    "num_sanity_val_steps": -1,
    "reload_dataloaders_every_n_epochs": 0,
    "val_check_interval": 0,
}
"""Options of the trainer that Lightning doesn't look at, and the least that each may be."""


MOST = {"devices": 1024, "num_nodes": 100_000}
"""What Lightning would set up one by one, whether it is there or not."""


def check_options(verb: str, config: Mapping[str, Any], model: type) -> None:
    """Refuse values of a whole config that can't be meant.

    Args:
        verb: ``fit``, ``validate``, ``test`` or ``predict``.
        config: As it was parsed.
        model: The class of the model.

    Raises:
        ConfigError: The first of them.
    """
    for key in NAMES:
        section, _, name = key.rpartition(".")
        content = (config.get(section) or {}) if section else config
        if content.get(name) == "":
            raise ConfigError(f"{key} is empty; give it a value, or leave it out.")
    for key, value in _leaves(config, ""):
        if isinstance(value, float) and math.isnan(value):
            raise ConfigError(f"{key} is not a number (NaN); give a number.")
    trainer = config.get("trainer") or {}
    check_limits(trainer, verb)
    for name, most in MOST.items():
        value = trainer.get(name)
        number = int(value) if isinstance(value, str) and value.isdecimal() else value
        if isinstance(number, int) and number > most:
            raise ConfigError(f"trainer.{name} must be at most {most}; got {str(value)[:40]}.")
    for name, least in LEAST.items():
        value = trainer.get(name)
        if isinstance(value, int | float) and not (math.isfinite(value) and value >= least):
            raise ConfigError(f"trainer.{name} must be a finite number, at least {least}; got {value}.")
    varied = ((config.get("data") or {}).get("init_args") or {}).get("augmentation") is not None
    if verb == "fit" and varied and (config.get("model") or {}).get("keep_activations") is not None:
        raise ConfigError(VARIED)
    _check_nulls("model", config.get("model") or {}, model)
    check_nulls(config)


def check_nulls(config: Any) -> None:
    """Refuse None for an argument of one of our classes that takes none; the parser doesn't.

    Args:
        config: As it was parsed, so that the classes that it names are loaded.

    Raises:
        ConfigError: The first such argument.
    """
    for key, section in class_sections(config):
        module, _, name = str(section["class_path"]).rpartition(".")
        named = getattr(sys.modules.get(module), name, None)
        if isinstance(named, type) and named.__module__.startswith("starft."):
            _check_nulls(f"{key}.init_args", section.get("init_args") or {}, named)


def _check_nulls(key: str, arguments: Mapping[str, Any], named: type) -> None:
    for name, parameter in parameters_of(named).items():
        null = name in arguments and arguments[name] is None
        if null and parameter.default is not None and not _takes_null(parameter.annotation):
            without = "" if parameter.default is Parameter.empty else f", or leave it out for {parameter.default!r}"
            raise ConfigError(f"{key}.{name} can't be null; give a value{without}.")
        given = arguments.get(name)
        for part in _data_classes(parameter.annotation):
            for number, item in enumerate(given if isinstance(given, list) else [given], 1):
                if isinstance(item, Mapping) and "class_path" not in item:
                    _check_nulls(f"{key}.{name}{f', item {number}' if item is not given else ''}", item, part)


def _data_classes(hint: Any) -> Iterator[type]:
    """Yield the data classes that a hint names, as in ``list[EvalOn] | None``."""
    if isinstance(hint, type) and is_dataclass(hint):
        yield hint
    for inner in get_args(hint):
        yield from _data_classes(inner)


def _takes_null(hint: Any) -> bool:
    union = get_origin(hint) in (Union, UnionType)
    return hint in (Any, None, NoneType, Parameter.empty) or (union and NoneType in get_args(hint))


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner, key)
    else:
        yield key, value
