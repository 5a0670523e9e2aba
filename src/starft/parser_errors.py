"""What the parser of configs complains of, and what is wrong with their files, in one sentence."""

import re
import sys
from collections.abc import Iterable, Sequence
from inspect import signature
from pathlib import Path

import yaml

from starft.errors import ConfigError, StarftError, did_you_mean, ended


def one_sentence(error: Exception, keys: Iterable[str] = ()) -> str:
    """Return the heart of a parser's error: which key, what is wrong with it, what was given.

    Args:
        error: As jsonargparse raises it, often many lines long.
        keys: The keys there are, to suggest from.
    """
    heard: list[str] = []
    wanted: list[str] = []
    given = ""
    for raw in str(error).splitlines():
        line = raw.strip(" -").replace("Does not validate against any of the Union subtypes", "").strip()
        if line.startswith("Given value: "):
            given = given or line.removeprefix("Given value: ")
        elif match := re.fullmatch(rf"Expected an? ({_TYPE})", line):
            wanted.append(_plain(match[1]))
        elif line and not line.startswith(("Subtypes:", "Errors:", "Given value type:")):
            heard.append(line)
    told = re.sub(r'Parser key "([^"]+)":', r"\1:", " ".join(heard))
    told = re.sub(rf"Expected an? ({_TYPE})", lambda match: f"expected {_plain(match[1])}", told)
    if told.endswith(":"):  # nothing but types that it isn't of
        told += f" expected {' or '.join(wanted)}. Got value: {given}"
    return ended(told) + _near(told, keys)


_TYPE = r"<class '[^']+'>|typing\.Literal\[[^]]+\]"


def _plain(type_name: str) -> str:
    """Return a type as people write it: ``float``, ``null``, ``'text' or 'linear'``."""
    if type_name.startswith("<class"):
        name = type_name.split("'")[1].rpartition(".")[2]
        return "null" if name == "NoneType" else name
    return " or ".join(type_name.removeprefix("typing.Literal[").removesuffix("]").split(", "))


def _near(told: str, keys: Iterable[str]) -> str:
    """Return a suggestion for the name that an error complains of."""
    if match := re.search(r"class_path '([\w.]+)\.(\w+)': Option '([\w.]+)' is not accepted", told):
        return did_you_mean(match[3], signature(getattr(sys.modules[match[1]], match[2])).parameters)
    if match := re.search(r"module '([\w.]+)' has no attribute '(\w+)'", told):
        return did_you_mean(match[2], vars(sys.modules[match[1]]))
    if match := re.search(r"(?:option '|arguments: --)([\w.]+)", told):
        return did_you_mean(match[1], keys)
    return ""


def refusal(error: Exception) -> StarftError:
    """Return our own sentence from the causes of an error, or else its heart."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, StarftError):
            return type(cause)(str(cause))
        cause = cause.__cause__
    return ConfigError(one_sentence(error))


def check_config_files(words: Sequence[str]) -> None:
    """Read every config file that a command names; the parser wouldn't say which one is broken.

    Args:
        words: The verb and its options.

    Raises:
        ConfigError: A file is missing, can't be read, or isn't a YAML mapping.
    """
    for at, word in enumerate(words):
        option, given, value = word.partition("=")
        if option not in ("-c", "--config"):
            continue
        path = Path(value if given else "".join(words[at + 1 : at + 2]))
        try:
            config = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            near = did_you_mean(path.name, (file.name for file in path.parent.glob("*.yaml")))
            raise ConfigError(f"The config {path} doesn't exist; check its path.{near}") from None
        except OSError as error:
            raise ConfigError(f"The config {path} can't be read: {error.strerror}; give a YAML file.") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            mark = getattr(error, "problem_mark", None)
            where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
            raise ConfigError(f"The config {path} isn't valid YAML{where}; mend that place.") from error
        if not isinstance(config, dict):
            raise ConfigError(
                f"The config {path} must hold keys such as model, data and trainer; got {type(config).__name__}."
            )
