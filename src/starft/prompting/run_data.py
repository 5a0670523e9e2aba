"""The DataModule of a config's data section: apart from reading the config, as it needs Lightning."""

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

import starft.mini  # noqa: F401  # configs may name its classes without their module
from starft.data.datamodules import BaseDataModule
from starft.errors import ConfigError


def build_data(file: Path, section: Any, seed: int) -> BaseDataModule:
    """Build the DataModule of a config's data section, not set up.

    Args:
        file: The config, for messages.
        section: Its data section, a mapping or a class path.
        seed: The run's, which is the data's seed too, as in training.

    Raises:
        ConfigError: The section can't be used.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(BaseDataModule, "data", required=True)
    section = {"class_path": section} if isinstance(section, str) else section
    try:
        parsed = parser.parse_object({"data": section})
        if "seed" in parsed.data.get("init_args", {}):
            parsed.data.init_args.seed = seed
        # jsonargparse renamed the method; we take whichever it has
        instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
        data = instantiate(parsed).data
    except (ArgumentError, TypeError) as error:
        why = " ".join(str(error).split())
        raise ConfigError(f"The data section of {file} can't be used: {why[:400]}") from error
    assert isinstance(data, BaseDataModule)
    return data
