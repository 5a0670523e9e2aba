"""The words of a command that runs others: its own options, and those that it hands on."""

from collections.abc import Sequence

from starft.errors import ConfigError


def split_words(words: Sequence[str], ours: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return a command's own words, and the options to hand on, which have a dot in their name, as ``--name=value``.

    Args:
        words: All options.
        ours: Names with a dot, or without, that can't be handed on, as the command sets them.

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
        if word.startswith("--") and option in ours:
            raise ConfigError(f"{option} is set by this command itself; leave it out.")
    return own, passed
