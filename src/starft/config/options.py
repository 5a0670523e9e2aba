"""The parser of verbs that take plain words and options: a mistake is one sentence."""

from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import NoReturn

from starft.errors import ConfigError


class OptionParser(ArgumentParser):
    """An `ArgumentParser` that raises what it would exit with.

    Args:
        prog: The command's words.
        description: What it does.
    """

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)
        self.register("type", Path, path_from_text)

    def error(self, message: str) -> NoReturn:
        """Raise the parser's message.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{message[:1].upper()}{message[1:]}; see `{self.prog} --help`.")


def path_from_text(text: str) -> Path:
    """Return a path that a person gave; an empty one, as of a shell's variable without a value, isn't the folder here.

    Args:
        text: An option's value.

    Raises:
        ArgumentTypeError: It is empty.
    """
    if text == "":
        raise ArgumentTypeError("the path is empty; give one, or leave it out")
    return Path(text)
