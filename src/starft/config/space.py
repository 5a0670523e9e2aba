"""What ``starft tune`` tries: values of a config's keys, every combination once, and the options that make a trial."""

import copy
import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from yaml import YAMLError

from starft.errors import ConfigError
from starft.files.yaml_reader import NotTaken, leaves, load_yaml, read_yaml
from starft.wording import did_you_mean, quoted

Space = dict[str, list[Any]]
"""Dotted key -> the values that are tried."""

WEIGHT = ".weight"
"""End of the keys that say how strongly a model is drawn to the frozen one."""
KEY = re.compile(r"[A-Za-z_]\w*(\.\w+)*")
PLACE = re.compile(r"\.\d+(?=\.|$)")
"""A position in a list."""
RATES = (0.3, 1.0, 3.0)
WEIGHTS = (0.25, 0.5, 1.0, 2.0)
"""The default space lies around a config's own values: of published recipes the order of magnitude is known."""

MOST_PLACES = 100_000
"""Of a space; all are listed before some are drawn."""


def read_space(grid: Sequence[str], file: Path | None) -> Space:
    """Return the space that a person gave; empty where none is.

    Args:
        grid: ``KEY=VALUE,VALUE`` each.
        file: YAML, a mapping of keys to lists of values.

    Raises:
        ConfigError: Something else is given, or a key or value twice.
    """
    pairs: list[tuple[str, Any]] = []
    if file is not None:
        try:
            content = read_yaml(file, "space")
        except FileNotFoundError:
            raise ConfigError(f"The space {file} doesn't exist; check its path.") from None
        if not isinstance(content, dict) or not content:
            raise ConfigError(f"The space {file} must hold keys with lists of values, such as model.lr: [1e-5, 3e-5].")
        pairs += ((str(key), some) for key, some in content.items())
    for text in grid:
        key, equals, values = text.partition("=")
        if not (key and equals):
            raise ConfigError(f"--grid takes KEY=VALUE,VALUE, such as model.lr=1e-5,3e-5; got {text!r}.")
        pairs.append((key, _values(values)))
    space: Space = {}
    for key, some in pairs:
        if key in space:
            raise ConfigError(f"The key {key} is given twice; give all its values at once.")
        tried = some if isinstance(some, list) else []
        if not tried or "" in tried or len(set(map(_told, tried))) < len(tried):
            raise ConfigError(f"{key} needs a list of different values, one at least; got {quoted(some)}.")
        space[key] = tried
    return space


def _values(text: str) -> list[Any]:
    try:
        return list(load_yaml(f"[{text}]"))  # a value may have commas of its own, in brackets
    except (YAMLError, NotTaken):
        return [_value(word) if word.strip() else "" for word in text.split(",")]


def _told(value: Any) -> str:
    """Return what is equal for equal values: 1, 1.0 and the text 1 are one learning rate."""
    plain = _value(value) if isinstance(value, str) else value
    return json.dumps(int(plain) if isinstance(plain, float) and plain.is_integer() else plain, default=str)


def _value(text: str) -> Any:
    try:
        return load_yaml(text)
    except (YAMLError, NotTaken):
        return text


def default_space(content: Mapping[str, Any], options: Sequence[str]) -> Space:
    """Return values around the config's own: of the weights of its regularizers, and of its learning rate.

    What an option gives stays as it is given.

    Args:
        content: Of the config.
        options: Of the command line.
    """
    space: Space = {}
    for key, value in leaves(content):
        weight = key.startswith("model.regularizers.") and key.endswith(f"init_args{WEIGHT}")
        factors = RATES if key == "model.lr" else WEIGHTS if weight else ()
        if factors and isinstance(value, int | float) and value > 0 and not _given(key, options):
            space[key] = [float(f"{value * factor:.3g}") for factor in factors]
    return space


def nothing_to_try(path: Path, content: Mapping[str, Any]) -> str:
    """Return why a config's default space is empty, and what to do: its options or the config itself leave nothing.

    Args:
        path: Of the config.
        content: Of it.
    """
    given = ", ".join(default_space(content, ()))
    if not given:
        return f"The config {path} has no learning rate or weight to try; give --grid KEY=VALUE,VALUE."
    return (
        f"Nothing is left to try: {given} of {path} stays as the options say; leave those out, or give "
        "--grid KEY=VALUE,VALUE."
    )


def is_pull(key: str) -> bool:
    """Return whether the numbers of a key say how strongly a model is drawn to the frozen one.

    The objective's weight draws it to the data.

    Args:
        key: That is tried.
    """
    return key.endswith(WEIGHT) and not key.startswith("model.objective.")


def extremes(values: Sequence[Any]) -> set[str]:
    """Return the texts of the smallest and the largest fraction among some values, and of all that are no fractions.

    Args:
        values: Of one key.

    Example:
        >>> sorted(extremes([0.3, 0.1, 0.2, 8, "epoch"]))
        ['0.1', '0.3', '8', 'epoch']
    """
    fractions = [value for value in values if type(value) is float and math.isfinite(value)]
    between = {str(value) for value in fractions if min(fractions) < value < max(fractions)}
    return {str(value) for value in values} - between


def in_order(space: Space, content: Mapping[str, Any]) -> Space:
    """Return a space with its keys as they come in the config, others last: the order of options changes no trial.

    Args:
        space: What is tried.
        content: Of the config.
    """
    places = {key: at for at, (key, _) in enumerate(leaves(content))}
    return dict(sorted(space.items(), key=lambda item: (places.get(item[0], len(places)), item[0])))


def points(space: Space, trials: int | None) -> list[dict[str, Any]]:
    """Return the combinations of values, in a random order that is always the same.

    A search that ends early has then looked everywhere (Bergstra and Bengio, JMLR 2012), and more trials go on where
    fewer ended.

    Args:
        space: What is tried.
        trials: How many at most; None takes all.

    Raises:
        ConfigError: There are more than anybody can try.
    """
    if (places := math.prod(map(len, space.values()))) > MOST_PLACES:
        sizes = " x ".join(str(len(values)) for values in space.values())
        raise ConfigError(f"The space has {sizes} = {places} places, at most {MOST_PLACES}; try fewer values or keys.")
    grid = [dict(zip(space, values, strict=True)) for values in product(*space.values())]
    random.Random(0).shuffle(grid)
    return grid[:trials]


def options_of(point: Mapping[str, Any], content: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the options of the command line that set the keys of one trial.

    A list is given as a whole, since the parser takes no positions in it.

    Args:
        point: Key -> value.
        content: Of the config.
    """
    given: dict[str, Any] = {}
    for key, value in point.items():
        parts = key.split(".")
        at = next((at for at, part in enumerate(parts) if part.isdigit()), None)
        if at is None:
            given[key] = value
            continue
        name = ".".join(parts[:at])
        given.setdefault(name, copy.deepcopy(_at(content, parts[:at])))
        _at(given[name], parts[at:-1])[_place(parts[-1])] = value
    return tuple(f"--{key}={value if isinstance(value, str) else _json(value)}" for key, value in given.items())


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)  # YAML knows no halves of a character


def check_keys(space: Space, content: Mapping[str, Any], options: Sequence[str], sets: Sequence[str] = ()) -> None:
    """Refuse keys with a position in a list that isn't in the config, or no names, and those that something else sets.

    Keys without one are the parser's to check, which knows what may be left out of a config.

    Args:
        space: What is tried.
        content: Of the config.
        options: Of the command line.
        sets: Keys that every trial has its own value of.

    Raises:
        ConfigError: There is no such place, or it is taken.
    """
    known = [key for key, _ in leaves(content)]
    for key in space:
        if option := _given(key, options):
            raise ConfigError(f"{key} is tried and set by an option too, --{option}; leave one of them out.")
        if part := next((other for other in space if other.startswith(f"{key}.")), None):
            raise ConfigError(f"{key} and {part}, which is a part of it, can't both be tried; leave one of them out.")
        if any(_given(name, [key]) for name in sets):
            raise ConfigError(f"{key} is set by this command itself, for each trial; try values of another key.")
        parts = key.split(".")
        if KEY.fullmatch(key) and not any(part.isdigit() for part in parts):
            continue
        try:
            if not KEY.fullmatch(key):
                raise KeyError
            there = _at(content, parts[:-1])
            if not isinstance(there, dict | list) or (isinstance(there, list) and not parts[-1].isdigit()):
                raise KeyError
            if isinstance(there, list):
                there[int(parts[-1])]
        except (KeyError, IndexError, TypeError, ValueError):
            raise ConfigError(f"The config has no {key} to try values of.{did_you_mean(key, known, 1)}") from None


def lengths(content: Mapping[str, Any], options: Sequence[str]) -> dict[str, int]:
    """Return the keys that bound how long a config trains, and their values; what comes first ends it.

    Args:
        content: Of the config.
        options: Of the command line.
    """
    trainer = _section("trainer", content, options)
    numbers = {f"trainer.{key}": trainer.get(key) for key in ("max_steps", "max_epochs")}
    return {key: number for key, number in numbers.items() if isinstance(number, int) and number > 0}


def warmup(content: Mapping[str, Any], options: Sequence[str], default: int) -> int:
    """Return the steps of warm-up that a config asks for; 0 where that is no number of steps, which a run refuses.

    Args:
        content: Of the config.
        options: Of the command line.
        default: Where neither says it.
    """
    steps = _section("model", content, options).get("warmup_steps", default)
    return steps if isinstance(steps, int) and steps > 0 else 0


def _section(name: str, content: Mapping[str, Any], options: Sequence[str]) -> dict[str, Any]:
    """Return a section of a config as options leave it, but for what is nested in its keys."""
    section = dict(content.get(name) or {})
    for option in options:
        key, _, value = option.removeprefix("--").partition("=")
        if key.startswith(f"{name}."):
            section[key.removeprefix(f"{name}.")] = _value(value)
    return section


def _at(value: Any, parts: Sequence[str]) -> Any:
    for part in parts:
        value = value[_place(part) if isinstance(value, list) else part]
    return value


def _place(part: str) -> Any:
    return int(part) if part.isdigit() else part


def _given(key: str, options: Sequence[str]) -> str:
    """Return the name of an option that sets a key, or the list that it lies in; empty where none does.

    A trial gives such a list as a whole, so that what ``--LIST+=`` adds to it, or ``--LIST.NAME=`` changes in its last
    item, would be lost.
    """
    names = [option.removeprefix("--").partition("=")[0] for option in options]
    inside = f"{PLACE.split(key)[0]}." if PLACE.search(key) else None
    for name in names:
        if f"{key}.".startswith(f"{name.removesuffix('+')}.") or (inside and name.startswith(inside)):
            return name
    return ""
