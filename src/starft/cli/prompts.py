"""``starft prompts VERB``: plain functions whose signature and docstring are their help."""

import os
from collections.abc import Sequence
from importlib import import_module

from starft.config.command import run_command
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
        message = "\n".join(f"  {name:<9} {does}" for name, (_, _, does) in VERBS.items())
        say(USAGE.format(verbs=message).rstrip(), lines=True)
        return 0
    if verb not in VERBS:
        known = ", ".join(VERBS)
        raise ConfigError(f"`starft prompts` has no verb {verb!r}; its verbs are {known}.{did_you_mean(verb, VERBS)}")
    if "--offline" in rest:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when open_clip is imported: no look for a newer tokenizer
    module, name, _ = VERBS[verb]
    return run_command(getattr(import_module(module), name), f"starft prompts {verb}", rest)
