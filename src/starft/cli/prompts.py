"""``starft prompts VERB``: plain functions whose signature and docstring are their help."""

import os
from collections.abc import Sequence
from importlib import import_module

from starft.config.command import check_command, chosen_verb, run_command

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


def run(words: Sequence[str]) -> int:
    """Run one of the verbs.

    Args:
        words: "prompts", the verb and its options.

    Raises:
        ConfigError: The verb or its options can't be used.
    """
    about = {name: does for name, (_, _, does) in VERBS.items()}
    verb, rest = chosen_verb("starft prompts", "Spurious labels by a language model.", about, words[1:]), words[2:]
    if verb is None:
        return 0
    if "--offline" in rest:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when open_clip is imported: no look for a newer tokenizer
    module, name, _ = VERBS[verb]
    check_command(module, f"starft prompts {verb}", rest, name)
    return run_command(getattr(import_module(module), name), f"starft prompts {verb}", rest)
