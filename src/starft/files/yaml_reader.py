"""The one reader of YAML: bounded in depth and size, each key once, and texts that stay what a person wrote."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

import yaml

from starft.errors import ConfigError

DEEPEST = 50
"""Levels of lists and mappings in each other."""
LARGEST = 1_000_000
"""Characters and values of a file, aliases written out; a megabyte takes seconds to read."""
TAGS = {None, "!", *(f"tag:yaml.org,2002:{kind}" for kind in ("str", "map", "seq"))}
"""Types that a file may write out; of all others the value itself tells its type."""


class NotTaken(yaml.YAMLError):
    """Valid YAML that isn't taken."""


class TooDeep(NotTaken):
    """Valid YAML with too many lists and mappings in each other."""


LISTS = tuple("[{-?")
"""What a list or mapping on a line of its own may begin with."""


class _Loader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
    """Reads YAML 1.2's values: ``on``, ``yes``, ``007``, ``1_000`` and ``12:30`` are texts, and so is every key.

    Where an option is a number or a truth value, its parser makes one of the text, as it does on the command line.
    """

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  # PyYAML's own

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping whose plain keys are texts."""
        self.flatten_mapping(node)
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                key.tag = "tag:yaml.org,2002:str"
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


_NUMBER = r"[-+]?(?:0|[1-9][0-9]*)"
for _kind, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("int", _NUMBER, "-+0123456789"),
    ("float", rf"{_NUMBER}(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?", "-+0123456789"),
    ("float", r"[-+]?\.[0-9]+(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+."),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), list(_first))


class _Dumper(yaml.SafeDumper):
    """Puts quotes around each text that some reader of YAML would take for something else."""


_Dumper.yaml_implicit_resolvers = {
    first: [*yaml.SafeDumper.yaml_implicit_resolvers.get(first, ()), *_Loader.yaml_implicit_resolvers.get(first, ())]
    for first in {*yaml.SafeDumper.yaml_implicit_resolvers, *_Loader.yaml_implicit_resolvers}
}


def _write_enum(dumper: yaml.SafeDumper, value: Enum) -> yaml.Node:
    return dumper.represent_data(value.value)


_Dumper.add_multi_representer(Enum, _write_enum)  # defaults of Lightning's classes have some


def load_yaml(text: str) -> Any:
    """Return what a text holds.

    Args:
        text: One YAML document.

    Raises:
        NotTaken: It is too deep or too large, has a key twice, an alias inside of what it names, or a type of its own.
        yaml.YAMLError: It isn't valid YAML.
    """
    try:
        check_yaml(text)
        return yaml.load(text, Loader=_Loader)  # a safe one
    except yaml.YAMLError:
        raise
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, half of a surrogate pair
        why = " ".join(str(error).split())[:80]
        raise NotTaken(f"holds a value that can't be read ({why}); mend that place") from error


def read_yaml(path: Path, what: str = "config", error: type[Exception] = ConfigError) -> Any:
    """Return what a file holds.

    Args:
        path: A YAML file in UTF-8.
        what: What messages call it.
        error: What is raised.

    Raises:
        ConfigError: Or what is given as ``error``: the file can't be read, or what it holds isn't taken.
        FileNotFoundError: There is no such file.
    """
    return parse_yaml(read_bytes(path, what, error), f"The {what} {path}", error)


def read_bytes(path: Path, what: str, error: type[Exception] = ConfigError) -> bytes:
    """Return the bytes of a file, of which there aren't too many.

    Args:
        path: A regular file.
        what: What messages call it.
        error: What is raised.
    """
    try:
        mode = path.stat().st_mode
        if not S_ISREG(mode) and not S_ISDIR(mode):  # a pipe waits for ever, a device may never end
            raise error(f"The {what} {path} isn't a regular file; give a YAML file.")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise
    except OSError as problem:
        raise error(f"The {what} {path} can't be read: {problem.strerror}; give a YAML file.") from problem
    if len(content) > LARGEST:
        raise error(f"The {what} {path} is larger than {LARGEST:,} bytes; give a smaller one.")
    return content


def parse_yaml(content: bytes, where: str, error: type[Exception] = ConfigError) -> Any:
    """Return what the content of a file holds.

    Args:
        content: YAML in UTF-8.
        where: Starts each message, such as ``The config a.yaml``.
        error: What is raised.
    """
    try:
        return load_yaml(content.decode("utf-8-sig"))
    except NotTaken as problem:
        raise error(f"{where} {problem}.") from problem
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        mark = getattr(problem, "problem_mark", None)
        at = f" at line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise error(f"{where} isn't valid YAML{at}; mend that place.") from problem


def dump_yaml(data: Any, width: int = 80) -> str:
    """Return YAML that any reader takes for the same data.

    Args:
        data: Plain values, lists and mappings.
        width: Of a line, where it can be broken.
    """
    text: str = yaml.dump(
        data, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False, width=width
    )
    return text


def seed_of(config: Mapping[str, Any]) -> int:
    """Return the seed of a run from its config, as the parser of options would read it; 0 where there is none.

    Args:
        config: What its file holds.
    """
    seed = config.get("seed_everything")
    if isinstance(seed, str) and seed.isdecimal():
        return int(seed)
    return seed if type(seed) is int else 0


@dataclass
class _Open:
    """A list or mapping that is being read."""

    anchor: str | None
    keys: dict[str, int] | None
    size: int = 1
    items: int = 0


def check_yaml(text: str, into_texts: bool = True) -> None:
    """Go through a text without building anything, and refuse what would be too much, or isn't plain.

    Args:
        text: One YAML document.
        into_texts: Whether the texts that it holds may be YAML for a parser of options, and are looked at too.

    Raises:
        NotTaken: As for `load_yaml`.
        yaml.YAMLError: It isn't valid YAML.
        ValueError: It can't be written as UTF-8.
    """
    anchored: dict[str | None, int] = {}
    stack = [_Open(None, None)]
    event: Any
    for event in yaml.parse(text, Loader=_Loader):
        line, top = event.start_mark.line + 1, stack[-1]
        if getattr(event, "tag", None) not in TAGS:
            raise NotTaken(f"holds the type {event.tag} at line {line}, which isn't taken; write the plain value")
        if isinstance(event, yaml.CollectionEndEvent):
            size, anchor = stack.pop().size, top.anchor
        elif isinstance(event, yaml.ScalarEvent):
            size, anchor = 1 + len(event.value), event.anchor
            if top.keys is not None and top.items % 2 == 0 and event.value != "<<":
                _note_key(top.keys, event.value, line)
            _check_text(event.value if into_texts else "")
        elif isinstance(event, yaml.AliasEvent):
            if any(outer.anchor == event.anchor for outer in stack):
                raise NotTaken(f"has the alias *{event.anchor} inside of what it names, at line {line}; write it out")
            size, anchor = anchored.get(event.anchor, 1), None
        elif not isinstance(event, yaml.CollectionStartEvent):
            continue
        top.items += 1
        if isinstance(event, yaml.CollectionStartEvent):
            stack.append(_Open(event.anchor, {} if isinstance(event, yaml.MappingStartEvent) else None))
            if len(stack) > DEEPEST + 1:
                raise TooDeep(f"is nested more than {DEEPEST} levels deep, at line {line}; make it flatter")
            continue
        stack[-1].size += size
        if anchor is not None:
            anchored[anchor] = size
        if sum(outer.size for outer in stack) > LARGEST:
            raise NotTaken(
                f"holds more than {LARGEST:,} characters, aliases written out, at line {line}; make it smaller"
            )


def _check_text(text: str) -> None:
    """Refuse a text of YAML that is too deep."""
    if len(text) <= DEEPEST or text[0] not in LISTS:
        return
    try:
        check_yaml(text, into_texts=False)
    except TooDeep:
        raise
    except (yaml.YAMLError, ValueError):
        return


def _note_key(keys: dict[str, int], key: str, line: int) -> None:
    if key in keys:
        lines = f"in line {line}" if keys[key] == line else f"in lines {keys[key]} and {line}"
        raise NotTaken(f"has the key {key[:80]!r} twice, {lines}; keep one")
    keys[key] = line


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value of a config with its dotted key; lists of plain values are values, items of others are numbered.

    Args:
        value: Of the config.
        key: Where it stands.

    Example:
        >>> dict(leaves({"a": [1, 2], "b": [{"c": 2}], "d": {}}))
        {'a': [1, 2], 'b.0.c': 2, 'd': {}}
    """
    if isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        value = dict(enumerate(value))
    if not isinstance(value, Mapping) or not value:
        yield key, value
        return
    for name, below in value.items():
        yield from leaves(below, f"{key}.{name}" if key else str(name))
