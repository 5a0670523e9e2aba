"""Parsers of configs and options: they read YAML as all of this product does, and import what they may."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from functools import reduce
from inspect import signature
from operator import or_
from pathlib import Path
from typing import Any, get_args

import yaml
from jsonargparse import set_dumper, set_loader, set_parsing_settings
from jsonargparse.typing import register_type

from starft.config.class_paths import RUNS_CODE, TRUSTED, is_safe
from starft.errors import ConfigError
from starft.files.addresses import address_of
from starft.files.yaml_reader import dump_yaml, load_yaml


def prepare_parser() -> None:
    """Let jsonargparse read and write YAML by our reader and writer, and mind ``--safe``; call it before parsing.

    Raises:
        ConfigError: ``--safe`` is asked for, and the parser is too old for it.
    """
    set_loader("yaml", _load_value, (yaml.YAMLError,))
    set_dumper("yaml", dump_yaml)
    register_type(Path, path_to_text, path_from_text, (ArgumentTypeError, TypeError), isinstance)
    if not is_safe():
        return
    if "import_path_denylist" not in signature(set_parsing_settings).parameters:
        raise ConfigError("--safe needs a newer jsonargparse; install it: pip install --upgrade jsonargparse.")
    set_parsing_settings(import_path_denylist=["*", *RUNS_CODE], import_path_allowlist=list(TRUSTED))


def integers_first(function: Callable[..., Any]) -> None:
    """Let arguments that are an integer or a fraction take 1 as an integer.

    `typing` keeps one order of equal unions for a whole process, that of the module that was imported first. Where that
    was ``float | int``, ``--trainer.limit_train_batches=1`` was the fraction 1.0, which is all batches.

    Args:
        function: Whose annotations are set in order.
    """
    for name, annotation in function.__annotations__.items():
        members = get_args(annotation)
        if {int, float} <= {*members}:
            function.__annotations__[name] = reduce(or_, sorted(members, key=lambda member: member is not int))


def path_from_text(text: str) -> Path:
    """Return a path that a person gave; an empty one, as of a shell's variable without a value, isn't the folder here.

    Args:
        text: An option's value.

    Raises:
        ArgumentTypeError: It is empty.
    """
    if text == "":
        raise ArgumentTypeError("the path is empty; give one, or leave it out")
    return Path(text)


def path_to_text(path: Path) -> str:
    """Return a path as a config holds it: an address gets back the slash that `Path` took.

    Args:
        path: An option's value.
    """
    return address_of(path) or str(path)


def _load_value(text: str) -> Any:
    """Return what a file or an option's value holds; a text such as ``name:`` or ``{a}`` is none but itself."""
    value = load_yaml(text)
    names_alone = isinstance(value, dict) and value and all(given is None for given in value.values())
    return text if names_alone and "\n" not in text.strip() else value
