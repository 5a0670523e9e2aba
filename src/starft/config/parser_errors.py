"""What the parser of configs complains of, and what is wrong with their files, in one sentence."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from inspect import isabstract

from starft.config.class_paths import RULE, how_to_import, parameters_of
from starft.config.early_checks import ours
from starft.errors import ConfigError, StarftError
from starft.wording import did_you_mean, ended


def one_sentence(error: Exception, keys: Iterable[str] = (), classes: Mapping[str, type] | None = None) -> str:
    """Return the heart of a parser's error: which key, what is wrong with it, what was given.

    Args:
        error: As jsonargparse raises it, often many lines long.
        keys: The keys there are, to suggest from.
        classes: Key -> the class that what it takes derives from.
    """
    keys = [*keys]
    output: list[str] = []
    expected: list[str] = []
    given = ""
    for raw in str(error).splitlines():
        line = raw.strip(" -").replace("Does not validate against any of the Union subtypes", "").strip()
        if line.startswith("Given value: "):
            given = given or line.removeprefix("Given value: ")
        elif match := re.fullmatch(rf"Expected an? ({_TYPE})", line):
            expected.append(_plain(match[1]))
        elif line and not line.startswith(("Subtypes:", "Errors:", "Given value type:")):
            output.append(line)
    message = re.sub(r'Parser key "([^"]+)":', r"\1:", " ".join(output))
    message = re.sub(rf"Expected an? ({_TYPE})", lambda match: f"expected {_plain(match[1])}", message)
    message = re.split(_OTHER_FORMS, message)[0]
    message = re.sub(r"Not of type Path: (the path is empty; give one, or leave it out).*", r"\1", message)
    message = re.sub(r"Expected a path but .* either not accessible or invalid +(?=\S)", "", message)
    if match := re.search(r"Importing '([^']+)' is not allowed", message):
        return f"{message.partition(':')[0]}: {RULE}; got {match[1]}."
    if match := re.search(r".*No module named '([\w.]+)'", message):
        return f"{match[0]}. {how_to_import(match[1])}"
    if (match := _NO_CLASS.fullmatch(message)) and match["key"] in (classes or {}):
        below = classes_below((classes or {})[match["key"]])
        ours = ((name, item) for name, item in below.items() if item.__module__.startswith("starft."))
        names = sorted(name for name, our in ours if not isabstract(our))
        return _no_class(match["key"], match["given"], names, in_list=match["path"] is not None)
    if match := re.search(r"nrecognized arguments: (--[\w.-]+)", message):
        return f"There is no option {match[1]}.{near_key(match[1].removeprefix('--'), keys, '--')}"
    if "config" in keys and (match := re.search(r"nrecognized arguments: (\S+\.ya?ml)$", message)):
        return f"There is no option before {match[1]}. Did you mean --config {match[1]}?"
    if message.endswith(":"):  # nothing but types that it isn't of
        message += f" expected {' or '.join(dict.fromkeys(expected))}. Got value: {given}"
    if len(message) > LONGEST:
        message = f"{message[:LONGEST]} ..."
    return ended(message) + (_QUOTES if _MEANT_AS_TEXT.search(message) else _near(message, keys))


LONGEST = 800
"""Characters of what the parser says; a value may be as long as a file."""
_MEANT_AS_TEXT = re.compile(r"expected (?:\w+ or )*str(?: or \w+)*\. Got value: [-+.\w]+$")
_QUOTES = " Put it in quotes, if it is meant as a text."


_TYPE = r"<class '[^']+'>|typing\.Literal\[[^]]+\]"


_OTHER_FORMS = (
    r" Not a valid subclass of \w+ Subclass types expect"  # how else a class could be given
    r"| Problem with given class_path 'lightning.Callback':"  # its base takes no options
)
"""What a parser adds to the heart of the matter."""


_NO_CLASS = re.compile(
    r"(?P<key>[\w.]+): (?:Expected a dot import path string:|(?P<path>Expected a path but)) (?P<given>[\w.]+).*"
)


def classes_below(base: type) -> dict[str, type]:
    """Return all classes that are loaded and derive from one, by name.

    Args:
        base: The class.
    """
    results: dict[str, type] = {}
    direct: list[type] = base.__subclasses__()
    for item in direct:
        results |= {item.__name__: item} | classes_below(item)
    return results


def _no_class(key: str, given: str, names: Sequence[str], in_list: bool) -> str:
    """Return what is wrong with the name of a class, where one is wanted or a list of them."""
    added = f"add one with --{key}+=NAME"
    name = given.rpartition(".")[2]
    if in_list and name in names:
        return f"{key} is a list; {added.replace('NAME', name)}."
    near = did_you_mean(name, names)
    told = f"{key}: there is no class {given!r}" + (f"; the classes are {', '.join(names)}" if not near else "")
    return f"{told}{f'; {added}' if in_list else ''}.{near}"


def _plain(type_name: str) -> str:
    """Return a type as people write it: ``float``, ``null``, ``'text' or 'linear'``."""
    if type_name.startswith("<class"):
        name = type_name.split("'")[1].rpartition(".")[2]
        return "null" if name == "NoneType" else name
    return " or ".join(type_name.removeprefix("typing.Literal[").removesuffix("]").split(", "))


def _near(told: str, keys: Iterable[str]) -> str:
    """Return a suggestion for the name that an error complains of, or for the value that is none of a few."""
    if match := re.search(r"expected (.*'.*)\. Got value: ([\w.-]+)$", told):
        likeness = 0.6 if match[1].startswith("'") else 0.8  # fp16 isn't bf16
        return did_you_mean(match[2], re.findall(r"'([^']+)'", match[1]), likeness=likeness)
    if match := re.search(r"class_path '([\w.]+)\.(\w+)': Option '([\w.]+)' is not accepted", told):
        return did_you_mean(match[3], parameters_of(getattr(sys.modules[match[1]], match[2])))
    if match := re.search(r"module '([\w.]+)' has no attribute '(\w+)'", told):
        content = vars(sys.modules[match[1]])
        return did_you_mean(match[2], (name for name, value in content.items() if isinstance(value, type)))
    if match := re.search(r"option '([\w.-]+)", told):
        return near_key(match[1], keys)
    return ""


def near_key(name: str, keys: Iterable[str], dashes: str = "") -> str:
    """Return a suggestion for an unknown key: what other tools call so, the one key that ends so, or the nearest.

    Args:
        name: What the person wrote, whole.
        keys: The keys there are.
        dashes: What stands before a key where it is written.

    Example:
        >>> near_key("model.learning_rate", []), near_key("file", ["data.init_args.file", "ckpt_path"], "--")
        (' Did you mean model.lr?', ' Did you mean --data.init_args.file?')
    """
    keys = [*keys]
    ends = [key for key in keys if key.rpartition(".")[2] == name]
    meant = ours(name)
    if keys and meant not in keys:  # another verb's
        meant = ends[0] if len(ends) == 1 else None
    if meant is not None:
        return f" Did you mean {dashes}{meant}?"
    if "." not in name:
        last = get_close_matches(name, [key.rpartition(".")[2] for key in keys], n=1)
        keys = [f"{dashes}{key}" for key in keys if key.rpartition(".")[2] in last]
        return f" Did you mean {' or '.join(keys)}?" if keys else ""
    return did_you_mean(f"{dashes}{name}", [f"{dashes}{key}" for key in keys], limit=2, likeness=0.7)


MISTAKES = (
    "`val_check_interval`",  # longer than an epoch
    "Found more than one stateful callback",
    "conditioned on metric",  # of early stopping, that isn't logged
    "pip install",  # a callback's or a logger's package that isn't there
)
"""What Lightning tells of a person's mistake with an error that bugs have too."""


def is_mistake(error: Exception) -> bool:
    """Return whether an error of Lightning's tells of a person's mistake, though its class doesn't say so.

    Args:
        error: Any.
    """
    return any(words in str(error) for words in MISTAKES)


def refusal(error: Exception) -> StarftError:
    """Return our own sentence from the causes of an error, or else its heart."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, StarftError):
            return type(cause)(str(cause))
        cause = cause.__cause__
    told = one_sentence(error)
    if re.fullmatch(r"No supported \w+ backend found!", told):
        return ConfigError(f"{told[:-1]} on this machine; give --trainer.accelerator cpu, or auto.")
    return ConfigError(told)
