"""The user's own data of a config, known without torch: a table or folders."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from starft.config.class_paths import check_class_paths, class_sections, parameters_of
from starft.config.option_checks import check_nulls
from starft.config.parser import prepare_parser
from starft.config.parser_errors import refusal
from starft.data.contents import ImageContents, LoaderOptions
from starft.data.datasets.csv_file import CSVSource
from starft.data.datasets.drawn import DrawnSource
from starft.data.datasets.image_folder import ImageFolderSource
from starft.data.datasets.packed import PackedSource
from starft.data.own import CSVContents, ImageFolderContents, PackedContents
from starft.errors import ConfigError, StarftError
from starft.wording import did_you_mean

OWN: dict[str, type[DrawnSource]] = {"CSV": CSVSource, "ImageFolder": ImageFolderSource, "Packed": PackedSource}
"""DataModule of a user's own data -> what reads them."""
CONTENTS: dict[str, type[ImageContents]] = {
    "starft.data.CSV": CSVContents,
    "starft.data.ImageFolder": ImageFolderContents,
    "starft.data.Packed": PackedContents,
}
"""DataModule of a user's own data -> what it knows without torch."""


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


def check_names(words: Sequence[str], configs: Sequence[Mapping[str, Any]]) -> None:
    """Refuse an option of a user's own data that there isn't, in the parser's words, before torch is loaded.

    Args:
        words: The verb and its options.
        configs: What its configs hold.

    Raises:
        ConfigError: Their DataModule takes no such argument.
    """
    paths = [section.get("class_path") for config in configs if isinstance(section := config.get("data"), dict)]
    given = [match for word in words if (match := re.match(r"--data(?:$|=|\.class_path|\.init_args\.(\w+))", word))]
    if not paths or paths[-1] not in CONTENTS or any(match[1] is None for match in given):
        return  # of a class that has yet to be loaded
    known = parameters_of(CONTENTS[paths[-1]])
    for match in given:
        if match[1] not in known:
            raise ConfigError(
                f"data: Problem with given class_path {paths[-1]!r}: Option {match[1]!r} is not accepted."
                f"{did_you_mean(match[1], known)}"
            )


def contents_of(section: Any, seed: int, where: str, options: Sequence[str] = ()) -> ImageContents | None:
    """Return what the data section of a config holds, or None where that takes its DataModule to know.

    Args:
        section: ``class_path`` and ``init_args``, or a class path alone.
        seed: Of the run.
        where: What messages call the config.
        options: Of the command line, ``--data...``.

    Raises:
        ConfigError: The section can't be used.
    """
    paths = [str(class_section["class_path"]) for _, class_section in class_sections(section)]
    named = paths[0] if paths and isinstance(section, dict) else None
    if named not in CONTENTS or not all(path.startswith("starft.data.") for path in paths):
        return None  # a name alone means a class that is loaded; another class may come with torch
    if any(option.partition("=")[0] in ("--data", "--data.class_path") for option in options):
        return None
    kind = CONTENTS[named]
    path = f"{kind.__module__}.{kind.__name__}"
    try:
        data = built(section | {"class_path": path}, ImageContents, seed, where, options)
    except ConfigError as error:
        raise ConfigError(str(error).replace(path, named)) from error
    assert isinstance(data, ImageContents)
    return data


def built(section: Any, kind: type, seed: int, where: str, options: Sequence[str] = ()) -> LoaderOptions:
    """Build the data section of a config; the run's seed is its seed, as in training.

    Args:
        section: ``class_path`` and ``init_args``, or a class path alone.
        kind: Which class it must derive from.
        seed: Of the run.
        where: What messages call the config.
        options: Of the command line, ``--data...``.

    Raises:
        ConfigError: The section can't be used.
    """
    prepare_parser()
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(kind, "data", required=True)
    section = {"class_path": section} if isinstance(section, str) else section
    check_class_paths({"data": section}, where)
    try:
        # With defaults filled in, an option that comes after finds those that are dataclasses of a wrong type.
        parsed = parser.parse_object({"data": section}, defaults=not options) if section is not None else None
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
        message = str(refusal(error))
        parser_says = message.removeprefix("data: ")  # the parser knows the section, not the file
        raise ConfigError(
            f"The data section of {where} can't be used: {parser_says}" if parser_says != message else message
        ) from error
    assert isinstance(data, LoaderOptions)
    return data
