"""The classes that a config names by ``class_path``: what stands beside it, whose they may be, where they lie."""

import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from starft.errors import ConfigError

KEYS = {"class_path", "init_args", "dict_kwargs"}
"""What may stand where a class is named."""
TRUSTED = ("starft", "lightning", "torch")
"""Whose classes ``--safe`` takes."""
RULE = "--safe takes classes of starft, lightning and torch alone"
RUNS_CODE = (
    *("torch.hub", "torch.load", "torch.serialization", "torch.package", "torch.jit", "torch.ops", "torch.classes"),
    *("torch.utils.cpp_extension", "torch.utils.model_zoo", "torch.utils.collect_env", "torch.testing"),
    *("torch.distributed.run", "torch.distributed.launch", "torch.distributed.elastic", "torch.multiprocessing"),
)
"""What of theirs loads or builds code, loads files that hold some, or starts programs."""
SAFE = "STARFT_SAFE"
"""Environment variable that says ``--safe`` to this process and to those that it starts."""


def is_safe() -> bool:
    """Return whether classes of `TRUSTED` alone are taken."""
    return os.environ.get(SAFE, "0") not in ("", "0")


def check_class_paths(config: Any, where: str) -> None:
    """Refuse arguments that stand beside a ``class_path``, and, where that is asked for, classes of others.

    Nothing is imported.

    Args:
        config: Of any form.
        where: Starts each message, such as ``The config a.yaml``.

    Raises:
        ConfigError: The first such place.
    """
    for key, section in class_sections(config):
        at = f" at {key}" if key else ""
        path = section["class_path"]
        if not isinstance(path, str) or not path.strip():
            raise ConfigError(f"{where} has the class_path {path!r}{at}; give the name of a class.")
        beside = [str(name) for name in section if name not in KEYS]
        if beside:
            raise ConfigError(
                f"{where} has {', '.join(beside)} beside class_path {path}{at}; "
                f"{'write it' if len(beside) == 1 else 'write them'} below init_args."
            )
        if is_safe() and "." in path and not _is_trusted(path):
            raise ConfigError(f"{where} names {path}{at}, and {RULE}.")


def _is_trusted(path: str) -> bool:
    inside = any(path == code or path.startswith(f"{code}.") for code in RUNS_CODE)
    return path.split(".", maxsplit=1)[0] in TRUSTED and not inside


def class_sections(value: Any, key: str = "") -> Iterator[tuple[str, dict[Any, Any]]]:
    """Yield each mapping that names a class, with where it stands.

    Args:
        value: A config, or a part of one.
        key: Where that stands.
    """
    if isinstance(value, dict):
        if "class_path" in value:
            yield key, value
        for name, inner in value.items():
            yield from class_sections(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for number, inner in enumerate(value, 1):
            yield from class_sections(inner, f"{key}, item {number}".removeprefix(", "))


STARRED = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


def parameters_of(named: type) -> dict[str, Parameter]:
    """Return the arguments of a class by name, its bases' too where it hands on ``**kwargs``.

    Args:
        named: The class.
    """
    results: dict[str, Parameter] = {}
    for base in named.__mro__:
        if "__init__" not in vars(base):
            continue
        _, *own = signature(vars(base)["__init__"], eval_str=True).parameters.values()
        results = {item.name: item for item in own if item.kind not in STARRED} | results
        if all(item.kind is not Parameter.VAR_KEYWORD for item in own):
            break
    return results


def make_importable(configs: Iterable[Path]) -> None:
    """Let configs name classes of files beside them or in the working folder; with ``--safe`` they may not.

    These folders come last, so that nothing in them stands in for what is installed.

    Args:
        configs: Files; their folders count.
    """
    for folder in () if is_safe() else dict.fromkeys([Path.cwd(), *(path.resolve().parent for path in configs)]):
        if str(folder) not in sys.path:
            sys.path.append(str(folder))


def how_to_import(module: str) -> str:
    """Return a sentence on a module that a config names and that can't be imported.

    Args:
        module: Its name.
    """
    first = module.split(".", maxsplit=1)[0]
    return (
        f"If {first} is a file of your own, put it beside the config or into the folder that you run starft in, "
        "or name its folder in PYTHONPATH; if it is a package, install it."
    )


def import_prefix(configs: Iterable[Path]) -> str:
    """Return what a command needs in front that is given another config, such as ``PYTHONPATH=configs ``, or nothing.

    Args:
        configs: Files; where a module that was imported lies beside one of them, its folder is needed.
    """
    files = [file for module in [*sys.modules.values()] if (file := getattr(module, "__file__", None))]
    imported = {*map(os.path.dirname, files)}  # of thousands of files, where a Path takes long to make
    folders = dict.fromkeys(path.resolve().parent for path in configs)
    needed = [folder for folder in folders if str(folder) in imported and folder != Path.cwd()]
    return f"PYTHONPATH={shlex.quote(os.pathsep.join(map(_short, needed)))} " if needed else ""


def _short(folder: Path) -> str:
    return os.path.relpath(folder) if folder.is_relative_to(Path.cwd()) else str(folder)
