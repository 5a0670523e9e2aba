"""The DataModule of a config, without its model and trainer."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from starft import data as names
from starft.config.class_paths import parameters_of
from starft.config.own_data import built
from starft.config.parser_errors import classes_below
from starft.data.datamodules import BaseDataModule

for _name in names.__all__:  # a config may name a class without its module where the class is loaded
    getattr(names, _name)


def keys_of(words: Sequence[str], configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return ``data.init_args.NAME`` for each argument of the DataModule that a command names.

    Args:
        words: Its options, ``--data CLASS`` among them or not.
        configs: What its configs hold.
    """
    sections = [config.get("data") for config in configs]
    paths = [
        str(section.get("class_path") if isinstance(section, dict) else section)
        for section in sections
        if section is not None
    ]
    given = re.findall(r"--data(?:\.class_path)?[= ]([\w.]+)", " ".join(words))
    named = [*paths, *given]
    result = classes_below(BaseDataModule).get(named[-1].rpartition(".")[2]) if named else None
    return [f"data.init_args.{key}" for key in parameters_of(result)] if result is not None else []


def data_of(section: Any, seed: int, where: str, options: Sequence[str] = ()) -> BaseDataModule:
    """Build the DataModule of a config's data section; the run's seed is its seed, as in training.

    Args:
        section: ``class_path`` and ``init_args``, or a class path alone.
        seed: Of the run.
        where: What messages call the config.
        options: Of the command line, ``--data...``.

    Raises:
        ConfigError: The section can't be used.
    """
    data = built(section, BaseDataModule, seed, where, options)
    assert isinstance(data, BaseDataModule)
    return data
