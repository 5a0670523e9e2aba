"""``starft completion bash``: print a script that completes verbs, options and files in a shell."""

import os
import re
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from importlib import import_module
from io import StringIO
from typing import Any, Literal, get_args

from starft.cli import audit, prompts
from starft.config.command import run_command
from starft.errors import ConfigError
from starft.safe_text import say

Shell = Literal["bash", "zsh", "tcsh"]
OPTION = re.compile(r"^  (?:-\w\b.*?, )?(--[\w.-]+)(?: (?:\{([\w,]+)\}|\[?=?(\S)))?", re.MULTILINE)
"""An option in a help text, its choices, and the beginning of the name of its value."""

ALSO = {"predict": ["starft.cli.predict"]}
"""What else carries out a verb: `starft predict` with a checkpoint first has options of its own."""


def run(words: Sequence[str], modules: Mapping[str, str]) -> int:
    """Run ``starft completion``.

    Args:
        words: The verb and a shell.
        modules: The module of each verb.

    Raises:
        ConfigError: shtab, which writes the script, isn't installed.
    """

    def command(shell: Shell) -> int:
        """Print a script that completes the words of starft in your shell.

        Args:
            shell: The shell that you use.
        """
        try:
            import shtab  # noqa: PLC0415  # an extra
        except ModuleNotFoundError as error:
            raise ConfigError("Completion needs shtab; install it: pip install 'starft[completion]'.") from error
        say(shtab.complete(_parser(modules, shtab.FILE), shell), lines=True)
        return 0

    return run_command(command, "starft completion", words[1:])


def _parser(modules: Mapping[str, str], file: Mapping[str, Any]) -> ArgumentParser:
    """Return a parser with a subparser for each verb, made of the options that its help names.

    shtab leaves out subparsers without a help text.
    """
    parser = ArgumentParser(prog="starft")
    verbs = parser.add_subparsers()
    inner = {"prompts": list(prompts.VERBS), "audit": list(audit.VERBS), "data": ["check", "pack"]}
    for verb, module in modules.items():
        subparser = verbs.add_parser(verb, help=verb)
        if verb == "completion":
            subparser.add_argument("shell", choices=get_args(Shell))
        elif verb not in inner:
            _add_options(subparser, [verb], module, file)
        else:
            subverbs = subparser.add_subparsers()
            for name in inner[verb]:
                _add_options(subverbs.add_parser(name, help=name), [verb, name], module, file)
    return parser


def _add_options(parser: ArgumentParser, words: list[str], module: str, file: Mapping[str, Any]) -> None:
    for option, choices, value in _options(words, [module, *ALSO.get(words[0], [])]):
        if not value and not choices:
            parser.add_argument(option, action="store_true")
        elif choices:
            parser.add_argument(option, choices=choices)
        else:
            parser.add_argument(option).complete = file  # type: ignore[attr-defined]  # what shtab reads
    parser.add_argument("files", nargs="*").complete = file  # type: ignore[attr-defined]


def _options(words: list[str], modules: list[str]) -> Iterator[tuple[str, list[str], str]]:
    """Yield the options of a verb, their choices, and whether they take a value: a letter, or nothing."""
    output, columns = StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "200"  # an option's line isn't broken
    try:
        for module in modules:
            with redirect_stdout(output), suppress(SystemExit):
                import_module(module).run([*words, "--help"])
    finally:
        os.environ.pop("COLUMNS")
        os.environ.update({"COLUMNS": columns} if columns is not None else {})
    seen = {"--help"}
    for option, choices, value in OPTION.findall(output.getvalue()):
        if option not in seen:
            seen.add(option)
            yield option, choices.split(",") if choices else [], value
