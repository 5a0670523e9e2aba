"""The DataModule of a config, without its model and trainer."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from starft.config.class_paths import check_class_paths, parameters_of
from starft.config.option_checks import check_nulls
from starft.config.parser import prepare_parser
from starft.config.parser_errors import classes_below, refusal
from starft.data.datamodules import BaseDataModule
from starft.data.datasets.csv_file import CSVSource
from starft.data.datasets.drawn import DrawnSource
from starft.data.datasets.image_folder import ImageFolderSource
from starft.errors import ConfigError, StarftError

OWN: dict[str, type[DrawnSource]] = {"CSV": CSVSource, "ImageFolder": ImageFolderSource}
"""DataModule of a user's own data -> what reads them."""


def keys_of(words: Sequence[str], configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return ``data.init_args.NAME`` for each argument of the DataModule that a command names.

    Args:
        words: Its options, ``--data CLASS`` among them or not.
        configs: What its configs hold.
    """
    sections = [config.get("data") for config in configs]
    paths = [str(one.get("class_path") if isinstance(one, dict) else one) for one in sections if one is not None]
    given = re.findall(r"--data(?:\.class_path)?[= ]([\w.]+)", " ".join(words))
    named = [*paths, *given]
    found = classes_below(BaseDataModule).get(named[-1].rpartition(".")[2]) if named else None
    return [f"data.init_args.{key}" for key in parameters_of(found)] if found is not None else []


def check_there(data: Mapping[str, Any]) -> None:
    """Refuse a user's own data that aren't there, or lack a column, before a model is downloaded for them.

    Args:
        data: ``class_path`` and ``init_args`` as they are parsed.

    Raises:
        DataError: They aren't, or lack it.
        ConfigError: Two arguments contradict each other.
    """
    name, arguments = str(data["class_path"]).rpartition(".")[2], data.get("init_args") or {}
    if name in OWN:
        known = parameters_of(OWN[name])
        OWN[name](**{key: value for key, value in arguments.items() if key in known}).check_there()


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
    prepare_parser()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(BaseDataModule, "data", required=True)
    section = {"class_path": section} if isinstance(section, str) else section
    check_class_paths({"data": section}, where)
    try:
        parsed = parser.parse_object({"data": section}) if section is not None else None
        if options:
            parsed = parser.parse_args(list(options), namespace=parsed)
        if parsed is None:
            raise ConfigError(f"{where} has no data section; give one, as for `starft fit`.")
        if "seed" in parsed.data.get("init_args", {}):
            parsed.data.init_args.seed = seed
        check_nulls({"data": parsed.data.as_dict()})
        # jsonargparse renamed the method; we take whichever it has
        instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
        data = instantiate(parsed).data
    except (ArgumentError, TypeError, ValueError) as error:
        if isinstance(error, StarftError):
            raise
        told = str(refusal(error))
        parser_says = told.removeprefix("data: ")  # the parser knows the section, not the file
        raise ConfigError(
            f"The data section of {where} can't be used: {parser_says}" if parser_says != told else told
        ) from error
    assert isinstance(data, BaseDataModule)
    return data
