"""``starft prompts VERB``: plain functions whose signature and docstring are their help."""

import inspect
import os
from collections.abc import Callable, Sequence
from importlib import import_module

from docstring_parser import parse
from jsonargparse import ArgumentError, ArgumentParser

from starft.config.parser import prepare_parser
from starft.config.words import split_words
from starft.errors import ConfigError
from starft.safe_text import say
from starft.wording import did_you_mean

VERBS = {
    "generate": ("starft.prompting.generate", "generate", "ask a language model for spurious labels, write a pool"),
    "check": ("starft.prompting.pools_at_hand", "check", "tell everything that is wrong with a pool"),
    "list": ("starft.prompting.pools_at_hand", "list_at_hand", "list the pools at hand and the queries"),
    "rank": ("starft.prompting.rank_command", "rank", "rank a pool's phrases by how they go with your data's labels"),
    "server": (
        "starft.prompting.server",
        "server",
        "tell what a server can do: models, forms of answer, speed",
    ),
}
"""Verb -> a module, imported only then, its function, and what that does."""

OVERRIDES = "overrides"
"""The parameter of a command that takes options with a dot in their name, which change its config."""

USAGE = """usage: starft prompts VERB [options]

Spurious labels by a language model.

verbs:
{verbs}

`starft prompts VERB --help` tells a verb's options.
"""


def run(words: Sequence[str]) -> int:
    """Run one of the verbs.

    Args:
        words: "prompts", the verb and its options.

    Raises:
        ConfigError: The verb or its options can't be used.
    """
    verb, rest = (words[1] if len(words) > 1 else "--help"), list(words[2:])
    if verb in ("--help", "-h"):
        told = "\n".join(f"  {name:<9} {does}" for name, (_, _, does) in VERBS.items())
        say(USAGE.format(verbs=told).rstrip(), lines=True)
        return 0
    if verb not in VERBS:
        known = ", ".join(VERBS)
        raise ConfigError(f"`starft prompts` has no verb {verb!r}; its verbs are {known}.{did_you_mean(verb, VERBS)}")
    if "--offline" in rest:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when open_clip is imported: no look for a newer tokenizer
    module, name, _ = VERBS[verb]
    function = getattr(import_module(module), name)
    parser = parser_of(function, f"starft prompts {verb}")
    takes = inspect.signature(function).parameters
    rest, overrides = split_words(rest, ()) if OVERRIDES in takes else (rest, [])
    try:
        options = parser.parse_args(rest)
    except ArgumentError as error:
        lines = " ".join(str(error).split())
        raise ConfigError(f"{lines.rstrip('.')}; see `starft prompts {verb} --help`.") from error
    given = {key: options[key] for key in takes if key != OVERRIDES}
    return int(function(**given, **({OVERRIDES: tuple(overrides)} if OVERRIDES in takes else {})))


def parser_of(function: Callable[..., int], prog: str) -> ArgumentParser:
    """Return the parser of a command: what has no default is required, a bool is a flag.

    Args:
        function: Typed, with a Google docstring.
        prog: The command's words.
    """
    told = parse(function.__doc__ or "")
    helps = {param.arg_name: " ".join((param.description or "").split()) for param in told.params}
    about = " ".join(filter(None, (told.short_description, told.long_description))).replace("\n", " ")
    if OVERRIDES in helps:
        about += f" Options with a dot, such as --data.init_args.NAME VALUE: {helps[OVERRIDES]}"
    prepare_parser()
    parser = ArgumentParser(prog=prog, description=about, exit_on_error=False, allow_abbrev=False)
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        if name == OVERRIDES:
            continue
        option = f"--{name.replace('_', '-')}"
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            parser.add_argument(option, dest=name, type=parameter.annotation, required=True, help=helps[name])
        elif parameter.default is parameter.empty:
            parser.add_argument(name, type=parameter.annotation, help=helps[name])
        elif parameter.annotation is bool:
            parser.add_argument(option, action="store_true", help=helps[name])
        else:
            parser.add_argument(option, type=parameter.annotation, default=parameter.default, help=helps[name])
    return parser
