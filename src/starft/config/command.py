"""A command is a typed function: its signature and docstring are its options and their help."""

import ast
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from inspect import Parameter, signature
from pathlib import Path
from threading import Lock
from typing import Any, get_args, get_origin

from docstring_parser import parse
from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter, Namespace

from starft.config.early_checks import ELSEWHERE
from starft.config.parser import prepare_parser
from starft.config.parser_errors import one_sentence
from starft.errors import ConfigError
from starft.files.addresses import address_of, shown
from starft.safe_text import say
from starft.wording import did_you_mean

OVERRIDES = "overrides"
"""The parameter of a command that takes options with a dot in their name, which change its config."""


PARSING = Lock()
"""Held while source is parsed: Python 3.11 counts the depth of all threads' parsing together, and trips over it."""


WRITTEN = ("out", "to")
"""Parameters that name what a command writes."""


class Paragraphs(DefaultHelpFormatter):
    """Help whose paragraphs stay apart."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n\n".join(fill(paragraph, width, indent) for paragraph in text.split("\n\n"))


USAGE = """usage: {prog} VERB [options]

{about}

verbs:
{verbs}

`{prog} VERB --help` tells a verb's options.
"""


def chosen_verb(prog: str, about: str, verbs: Mapping[str, str], words: Sequence[str]) -> str | None:
    """Return the verb of a command that has several; None where its help was asked for, which is shown then.

    Args:
        prog: The command's words, such as ``starft prompts``.
        about: What it is for.
        verbs: What each of them does.
        words: Those behind ``prog``.

    Raises:
        ConfigError: There is no such verb.
    """
    verb = words[0] if words else "--help"
    if verb in ("--help", "-h"):
        width = max(map(len, verbs))
        listed = "\n".join(f"  {name:<{width}}  {does}" for name, does in verbs.items())
        say(USAGE.format(prog=prog, about=about, verbs=listed).rstrip(), lines=True)
        return None
    if verb not in verbs:
        near = did_you_mean(verb, verbs)
        raise ConfigError(f"`{prog}` has no verb {verb!r}; its verbs are {', '.join(verbs)}.{near}")
    return verb


def run_command(function: Callable[..., int], prog: str, words: Sequence[str], sets: Sequence[str] = ()) -> int:
    """Call a command's function with the options that a person gave, and return its exit status.

    Args:
        function: Typed, with a Google docstring.
        prog: The command's words, such as ``starft soup``.
        words: The options behind them.
        sets: Options that the command sets itself, so that they can't change its config.

    Raises:
        ConfigError: An option can't be used.
    """
    takes = signature(function).parameters
    options, overrides = _parsed(function, prog, words, sets)
    _refuse_remote_outputs(options)
    given = {name: options[name] for name in takes if name != OVERRIDES}
    return function(**given, **({OVERRIDES: tuple(overrides)} if OVERRIDES in takes else {}))


def _refuse_remote_outputs(options: Namespace) -> None:
    """Refuse an address where a file or folder of this machine is to be written: it would be one called ``s3:``."""
    for name in WRITTEN:
        if isinstance(path := options.get(name), Path) and address_of(path) is not None:
            raise ConfigError(
                f"--{name} {shown(path)} is remote, and this command writes to this machine; give a path here, and "
                "copy what is there when the command has ended."
            )


def check_command(module: str, prog: str, words: Sequence[str], name: str = "command") -> None:
    """Look at the options of a command, and show its help, before its module is loaded with all it needs.

    Args:
        module: Its name.
        prog: The command's words, such as ``starft soup``.
        words: The options behind them.
        name: Of the function.

    Raises:
        ConfigError: An option can't be used.
    """
    with PARSING:
        command, sets = _outline(module, name)
    _parsed(command, prog, words, sets)


def _outline(module: str, name: str) -> tuple[Callable[..., int], Sequence[str]]:
    """Return a function of a module without its work, read off the source, and the options that the module ``SETS``."""
    spec = find_spec(module)
    source = getattr(spec.loader, "get_source", lambda _: None)(module) if spec is not None else None
    body = ast.parse(source or "").body
    (command,) = (node for node in body if isinstance(node, ast.FunctionDef) and node.name == name)
    command.body = command.body[:1]
    bound: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, ast.ImportFrom):
            bound |= {alias.asname or alias.name: node for alias in node.names}
        elif isinstance(node, ast.Assign):
            bound |= {target.id: node for target in node.targets if isinstance(target, ast.Name)}
    needed: list[ast.stmt] = [command, *([bound["SETS"]] if "SETS" in bound else [])]
    for node in needed:  # grows on the way
        names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        needed += [bound[part] for part in names if part in bound and bound[part] not in needed]
    inside: dict[str, Any] = {}
    exec(compile(ast.Module(sorted(needed, key=body.index), []), module, "exec"), inside)  # our own source
    return inside[name], inside.get("SETS", ())


def _parsed(
    function: Callable[..., int], prog: str, words: Sequence[str], sets: Sequence[str]
) -> tuple[Namespace, list[str]]:
    """Return a command's options, and those that change its config."""
    parser, takes = parser_of(function, prog), signature(function).parameters
    own, overrides = split_words(words, sets) if OVERRIDES in takes else ([*words], [])
    try:
        return parser.parse_args(own), overrides
    except ArgumentError as error:
        option_of = {action.dest: text for action in parser._actions for text in action.option_strings[-1:]}
        keys = [text.removeprefix("--") for text in option_of.values()]
        keys += [key for key in ELSEWHERE if OVERRIDES in takes and "." in key and key not in sets]
        if any(word.partition("=")[0] in ("--config", "--from") for word in own):
            keys = [key for key in keys if key != "config"]  # a file without an option is something else
        sentence = one_sentence(error, keys)
        key = sentence.partition(":")[0]
        sentence = option_of.get(key, key if key in takes else key[:1].upper() + key[1:]) + sentence.removeprefix(key)
        raise ConfigError(sentence if sentence.endswith("?") else f"{sentence} See `{prog} --help`.") from error


def parser_of(function: Callable[..., int], prog: str) -> ArgumentParser:
    """Return the parser of a command.

    What has no default is required, and given by its place unless it is keyword-only; a bool is a flag; a list takes
    several words. Option names have dashes, but for Lightning's own ``--ckpt_path``.

    Args:
        function: Typed, with a Google docstring.
        prog: The command's words.
    """
    docstring = parse(function.__doc__ or "")
    helps = {param.arg_name: " ".join((param.description or "").split()) for param in docstring.params}
    about = [docstring.short_description or "", *(docstring.long_description or "").split("\n\n")]
    if OVERRIDES in helps:
        about.append(f"Options with a dot, such as --data.init_args.NAME VALUE: {helps[OVERRIDES]}")
    prepare_parser()
    parser = ArgumentParser(
        prog=prog,
        description="\n\n".join(filter(None, about)),
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=Paragraphs,
    )
    for name, parameter in signature(function, eval_str=True).parameters.items():
        if name != OVERRIDES:
            _add(parser, name, parameter, helps[name])
    return parser


def _add(parser: ArgumentParser, name: str, parameter: Parameter, help_text: str) -> None:
    required = parameter.default is Parameter.empty
    how: dict[str, Any] = {"type": parameter.annotation, "help": help_text}
    if get_origin(parameter.annotation) is list:
        how |= {"type": get_args(parameter.annotation)[0], "nargs": "+" if required else "*"}
        how |= {} if required else {"action": "extend"}
    if required and parameter.kind is not Parameter.KEYWORD_ONLY:
        parser.add_argument(name, **how)
        return
    option = f"--{name}" if name.startswith("ckpt_path") else f"--{name.rstrip('_').replace('_', '-')}"
    if parameter.annotation is bool:
        parser.add_argument(option, action="store_true", help=help_text)
    elif required:
        parser.add_argument(option, dest=name, required=True, **how)
    else:
        parser.add_argument(option, dest=name, default=parameter.default, **how)


def split_words(words: Sequence[str], sets: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return a command's own words, and the options to hand on, which have a dot in their name, as ``--name=value``.

    Args:
        words: All options.
        sets: Names with a dot, or without, that can't be handed on, as the command sets them.

    Raises:
        ConfigError: One of these is given.
    """
    own: list[str] = []
    passed: list[str] = []
    at = 0
    while at < len(words):
        name, equals, _ = words[at].partition("=")
        if not (name.startswith("--") and "." in name):
            own.append(words[at])
            at += 1
        elif equals or at + 1 == len(words) or words[at + 1].startswith("--"):
            passed.append(words[at])
            at += 1
        else:
            passed.append(f"{words[at]}={words[at + 1]}")
            at += 2
    for word in [*own, *passed]:
        option = word.partition("=")[0].removeprefix("--")
        if word.startswith("--") and option in sets:
            raise ConfigError(f"{option} is set by this command itself; leave it out.")
    return own, passed
