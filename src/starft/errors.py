"""Errors that a person can act on.

Whatever a user can get wrong ends in a `StarftError`: one sentence that names the value, the limit and what to do next.
The command line prints that sentence and exits with status 2.
"""

from collections.abc import Sequence

from starft.wording import ended, shortened

LONGEST = 8000
"""Characters of a message; what quotes a value bounds it by itself, with `shortened`."""


class StarftError(Exception):
    """A person's mistake, told in one sentence of `LONGEST` characters at most."""

    def __str__(self) -> str:
        """Return the sentence; whatever it quotes, a terminal can show it."""
        return shortened(super().__str__(), LONGEST)


class ConfigError(StarftError, ValueError):
    """An argument or a config value that can't be used."""


class DataError(StarftError):
    """Data that are missing, or that can't be used."""


class DataProblems(DataError):  # noqa: N818  # several at once
    """Everything that is wrong with some data, not only the first thing.

    Args:
        problems: Each a sentence without its period.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(ended("; ".join(problems)))
        self.problems = tuple(problems)


class PoolError(StarftError, ValueError):
    """A pool file that can't be used."""


class PromptError(StarftError):
    """A question that can't be put to a language model, or an answer that can't be used."""


class WeightsError(StarftError):
    """Weights or a checkpoint that can't be loaded."""


class AllTrained(WeightsError):  # noqa: N818  # the run is whole
    """A checkpoint to continue that has all epochs of its run already."""


class NotFiniteError(StarftError):
    """A loss, weights or predictions that hold a NaN or an infinity."""


class RunFolderError(StarftError):
    """A run folder that can't be written to, or that holds another run."""


def check_between(name: str, value: int, least: int, most: int) -> None:
    """Refuse a whole number outside of its limits: a run with far too much of something never ends.

    Args:
        name: What messages call it.
        value: What was given.
        least: The smallest that makes sense.
        most: The largest that can be meant.

    Raises:
        ConfigError: It is smaller or larger.
    """
    if value < least:
        raise ConfigError(f"{name} must be at least {least}; got {value}.")
    if value > most:
        raise ConfigError(f"{name} must be at most {most}; got {value}.")


class Terminated(KeyboardInterrupt):
    """SIGTERM, where it ends what a command is at as Ctrl-C does."""


class Stopped(StarftError):  # noqa: N818  # nothing went wrong
    """A run that was asked to stop and did, with everything saved.

    Args:
        message: What to do to continue.
        status: Exit status of the command.
        first: Whether this is the process that tells of the run; the others end in silence, with status 0.
    """

    def __init__(self, message: str, status: int, first: bool = True) -> None:
        super().__init__(message)
        self.status, self.first = status, first
