"""One command with a mutated config, as far as its first step, and what came of it."""

import random
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from fakes.mutated import Mutation, mutated, whole
from starft.__main__ import main
from starft.errors import StarftError
from starft.training.module import FinetuneModule
from test_configs import CONFIGS, EPOCHS, ON_CPU, ONE_STEP, QUIET, TINY, name_of, smallest, verb_of

LONGEST = 60
"""Seconds until a command hangs."""
REACHED = "The first step was reached."


@dataclass(frozen=True)
class Outcome:
    """What came of a command.

    Args:
        mutation: What was done to its config.
        sentence: What it ended with, or nothing.
        wrong: What is wrong with that, or nothing.
    """

    mutation: Mutation
    sentence: str
    wrong: str


@cache
def configs() -> list[Path]:
    """All shipped configs; of ImageNet's, whose 80 templates of 1000 classes take their time, one."""
    return [path for path in CONFIGS if path.parent.name != "imagenet" or path.stem == "ce"]


class _Hang(BaseException):
    pass


@contextmanager
def _bounded(seconds: int) -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise _Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome_of(
    config: Path,
    kind: str,
    draw: random.Random,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    for_real: bool = False,
) -> Outcome:
    """Run a command with a config to which something was done, up to its first step.

    Args:
        config: A shipped one.
        kind: What is done to it.
        draw: Where.
        folder: An empty one.
        capsys: Hears what is said.
        for_real: Make that step, and all that follows.
    """
    data = [f"data.init_args.{one}" for one in smallest(config, folder / "data")]
    model = TINY if config.parent.name != "mini" else []
    short = [*ONE_STEP, f"--trainer.max_epochs={EPOCHS.get(name_of(config), 1)}"] if verb_of(config) == "fit" else []
    options = [*data, *model, *ON_CPU, *short, *QUIET]
    text, mutation = mutated(whole(config, options, folder / "run"), draw, kind)
    path = folder / "mutated.yaml"
    path.write_text(text, encoding="utf-8")
    capsys.readouterr()

    def reached(*given: Any, **named: Any) -> None:
        raise StarftError(REACHED)

    where = f"{config.parent.name}/{config.stem}, {mutation}: "
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for_real = for_real and mutation.name not in ("max_epochs", "epochs")  # it might go on for days
        for step in () if for_real else ("training_step", "test_step"):
            patch.setattr(FinetuneModule, step, reached)
        try:
            with _bounded(LONGEST):
                status = main([verb_of(config), f"--config={path}"])
        except _Hang:
            return Outcome(mutation, "", f"{where}hangs")
        except Exception as error:  # this is what is looked for
            return Outcome(mutation, "", f"{where}{type(error).__name__}: {str(error)[:300]}")
    said = capsys.readouterr().err
    sentences = [line for line in said.splitlines() if line.startswith("starft: ")]
    sentence = sentences[-1].removeprefix("starft: ") if sentences else ""
    taken = status == 0 or sentence == REACHED
    without_effect = verb_of(config) != "fit" and (mutation.name, mutation.after) == ("max_epochs", -1)  # no bound
    wrong = ""
    if status not in (0, 2) or "Traceback" in said:
        wrong = f"{where}ended with {status}: {said[-300:]}"
    elif not taken and len(sentences) != 1:
        wrong = f"{where}said {len(sentences)} sentences: {said[-300:]}"
    elif len(sentence) > 1000:
        wrong = f"{where}said {len(sentence)} characters: {sentence[:300]}"
    elif taken and mutation.cant_be_meant and not without_effect:
        wrong = f"{where}taken"
    return Outcome(mutation, sentence, wrong)
