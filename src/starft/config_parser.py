"""Parsers of configs and options, which read YAML as all of this product does."""

from typing import Any

import yaml
from jsonargparse import set_dumper, set_loader

from starft.yaml_files import dump_yaml, load_yaml


def use_own_yaml() -> None:
    """Let jsonargparse read and write YAML by our reader and writer; call it before a parser is made."""
    set_loader("yaml", _load_value, (yaml.YAMLError,))
    set_dumper("yaml", dump_yaml)


def _load_value(text: str) -> Any:
    """Return what a file or an option's value holds; a text such as ``name:`` or ``{a}`` is none but itself."""
    value = load_yaml(text)
    names_alone = isinstance(value, dict) and value and all(given is None for given in value.values())
    return text if names_alone and "\n" not in text.strip() else value
