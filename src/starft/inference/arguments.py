"""Arguments of `Classifier` and `load`: what they must be, and sentences on what they are instead."""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

from starft.captions.templates import is_template
from starft.errors import ConfigError


def checked_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return class names.

    Args:
        names: As they were given.

    Raises:
        ConfigError: They aren't two texts at least, or one is empty.
    """
    value = checked_texts("Class names", "['duck', 'gull']", names)
    if not value or any(not name.strip() for name in value):
        raise ConfigError(f"Class names must be texts, two at least and none empty; got {list(value)}.")
    if len(value) == 1:
        raise ConfigError(
            f"There is one class, {value[0]!r}, so that every image is of it; give two class names at least."
        )
    return value


def checked_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Return caption templates.

    Args:
        templates: As they were given.

    Raises:
        ConfigError: They aren't texts with ``{}`` once in each.
    """
    value = checked_texts("Templates", "['a photo of a {}.']", templates)
    if not value or not all(map(is_template, value)):
        raise ConfigError(f"Templates must be a list of texts with {{}} once in each; got {list(value)}.")
    return value


def checked_texts(what: str, example: str, texts: Any) -> tuple[str, ...]:
    """Return a list of texts.

    Args:
        what: What messages call them.
        example: Such a list, as one writes it.
        texts: As it was given.

    Raises:
        ConfigError: It is something else.
    """
    if isinstance(texts, str | bytes | Mapping) or not isinstance(texts, Iterable):
        raise ConfigError(f"{what} must be a list of texts, such as {example}; got {kind_of(texts)}.")
    values = tuple(texts)
    if other := [text for text in values if not isinstance(text, str)]:
        raise ConfigError(f"{what} must be texts, such as {example}; got {kind_of(other[0])}.")
    return values


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """Return a whole number.

    Args:
        name: What messages call it.
        value: As it was given.
        least: What it must be at least.

    Raises:
        ConfigError: It is something else, or less.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ConfigError(f"{name} must be a whole number; got {kind_of(value)}.")
    number = int(value)
    if number < least:
        raise ConfigError(f"{name} must be at least {least}; got {number}.")
    return number


def kind_of(value: Any) -> str:
    """Return what a value is, in a few words.

    Args:
        value: Any.
    """
    if isinstance(value, str | int | float | None):
        return f"{value!r}"
    shape = getattr(value, "shape", None)
    name = f"{type(value).__module__}.{type(value).__name__}".removeprefix("builtins.")
    return f"a {name}" + (f" {tuple(shape)}" if shape is not None else "")
