"""Class names and templates as a config gives them: a list, a mapping, or a text file with one a line."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from starft.data.datasets.cells import canonical
from starft.data.problem_texts import some
from starft.errors import ConfigError
from starft.wording import did_you_mean

NAME_SUFFIXES = (".txt", ".text", ".lst", ".names")


def texts(given: Sequence[str] | str, what: str) -> tuple[str, ...]:
    """Return a list of texts.

    Args:
        given: A list; the path of a text file; or one text.
        what: The argument, for messages.

    Raises:
        ConfigError: The file can't be read, or there is nothing in it.
    """
    if isinstance(given, str) and not given.endswith(NAME_SUFFIXES):
        return (given,)
    if isinstance(given, str):
        path = Path(given)
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except FileNotFoundError as error:
            near = did_you_mean(
                path.name, (file.name for file in path.parent.glob("*") if file.suffix in NAME_SUFFIXES)
            )
            raise ConfigError(f"{what} names the file {given}, which doesn't exist; check its path.{near}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{what} names the file {given}, which isn't UTF-8 text; save it as UTF-8.") from error
        except OSError as error:
            raise ConfigError(
                f"{what} names {given}, which can't be read: {error.strerror}; give a text file."
            ) from error
        given = [line.strip() for line in lines if line.strip()]
    if not given:
        raise ConfigError(f"{what} is empty; give at least one.")
    return tuple(str(item) for item in given)


def class_list(
    given: Mapping[str, str] | Sequence[str] | str | None, values: Sequence[str], where: str
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the class names in label order, and the class of each value that may be met.

    Args:
        given: Names; or the name of each value; or a text file of names; None takes the values.
        values: What is met, sorted.
        where: The column or folder that holds them, for messages.

    Raises:
        ConfigError: The names can't be used.
    """
    if given is None:
        return tuple(values), {value: at for at, value in enumerate(values)}
    if isinstance(given, Mapping):
        meant = {_as_met(value, values): at for at, value in enumerate(given)}
        if len(meant) < len(given):
            raise ConfigError(
                f"class_names names one of {some([*map(str, given)])} twice, written in two ways; keep one of them."
            )
        return tuple(str(name) for name in given.values()), meant
    if isinstance(given, str) and not given.endswith(NAME_SUFFIXES):
        raise ConfigError(f"class_names must be a list, a mapping, or a file that ends in .txt; got {given!r}.")
    names = texts(given, "class_names")
    by_name = {_as_met(name, values): at for at, name in enumerate(names)}
    if any(value in by_name for value in values):
        return names, by_name
    return names, {str(at): at for at in range(len(names))}


def _as_met(given: object, values: Sequence[str]) -> str:
    """Return a value of a config as the data write it, where they have it in another way: 0.0 for 0, true for True."""
    written = str(given)
    return canonical(written) if written not in values and canonical(written) in values else written
