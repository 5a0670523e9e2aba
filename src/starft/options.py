"""The parser of verbs that take plain words and options: a mistake is one sentence."""

from argparse import ArgumentParser
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

    def error(self, message: str) -> NoReturn:
        """Raise the parser's message.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{message[:1].upper()}{message[1:]}; see `{self.prog} --help`.")
