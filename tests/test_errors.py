"""Errors a person can act on: their kinds, near names, and the sentence and status they end in."""

import os
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from starft.__main__ import VERBS, main
from starft.config.parser_errors import one_sentence
from starft.errors import (
    ConfigError,
    PoolError,
    RunFolderError,
    StarftError,
    Stopped,
    Terminated,
    WeightsError,
    check_between,
)
from starft.wording import did_you_mean


@pytest.mark.parametrize("kind", [ConfigError, PoolError, WeightsError, RunFolderError, Stopped])
def test_every_kind_is_a_starft_error(kind: type[StarftError]) -> None:
    assert issubclass(kind, StarftError)


@pytest.mark.parametrize("kind", [ConfigError, PoolError])
def test_bad_values_are_value_errors_too(kind: type[StarftError]) -> None:
    """So that code around the library needn't know starft, and jsonargparse tells them as a parser's error."""
    with pytest.raises(ValueError, match="one sentence"):
        raise kind("one sentence")


def test_a_stop_carries_its_status() -> None:
    stop = Stopped("Stopped after step 3.", 143)
    assert str(stop) == "Stopped after step 3."
    assert stop.status == 143


@pytest.mark.parametrize(
    ("name", "known", "told"),
    [
        ("ce", ["ce", "flyp"], " Did you mean ce?"),
        ("startf", ["starft", "flyp", "zeroshot"], " Did you mean starft?"),
        ("wrld", ["world", "word", "q"], " Did you mean word or world?"),
        ("abcd", ["abc1", "abc2", "abc3", "abc4"], None),
        ("qqq", ["starft", "flyp"], ""),
        ("anything", [], ""),
        ("", ["starft"], ""),
    ],
)
def test_did_you_mean(name: str, known: list[str], told: str | None) -> None:
    said = did_you_mean(name, iter(known))
    if told is None:
        assert said.count(" or ") == 2, "three names at most"
    elif " or " in told:
        assert sorted(said.strip(" ?").split(" mean ")[1].split(" or ")) == ["word", "world"]
    else:
        assert said == told


def test_the_limit_of_near_names() -> None:
    assert did_you_mean("abcd", ["abc1", "abc2", "abc3"], limit=1).count("abc") == 1


# how the command ends


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], int]], list[str]]:
    """Return what makes a verb of a function, for as long as the test runs."""

    def make(work: Callable[[], int]) -> list[str]:
        module = ModuleType("starft_test_verb")
        module.run = lambda words: work()  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(VERBS, "work", (module.__name__, "work"))
        return ["work"]

    return make


def raising(error: BaseException) -> Callable[[], int]:
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (ConfigError("lr must be at least 0; got -1."), 2, "lr must be at least 0; got -1."),
        (RunFolderError("runs/x isn't empty."), 2, "runs/x isn't empty."),
        (Stopped("Stopped after step 3; continue.", 143), 143, "Stopped after step 3; continue."),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (Terminated(), 143, "Interrupted."),
        (
            OSError(28, os.strerror(28), "runs/x/last.ckpt"),
            2,
            "No space left on device (runs/x/last.ckpt); free the disk or give another place, and run it again.",
        ),
        (
            PermissionError(13, os.strerror(13)),
            2,
            "Permission denied; free the disk or give another place, and run it again.",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_a_persons_mistake_is_one_sentence_and_a_status(
    verb: Callable[[Callable[[], int]], list[str]],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    said: str,
) -> None:
    assert main(verb(raising(error))) == status
    captured = capsys.readouterr()
    assert captured.err == f"starft: {said}\n"
    assert captured.out == ""


@pytest.mark.parametrize("error", [RuntimeError("a bug"), ValueError("a bug"), OSError("no number")])
def test_a_bug_keeps_its_traceback(verb: Callable[[Callable[[], int]], list[str]], error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        main(verb(raising(error)))
    assert caught.value is error


def test_debugging_brings_the_traceback_back(
    verb: Callable[[Callable[[], int]], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = verb(raising(ConfigError("lr must be at least 0.")))
    assert main(words) == 2
    monkeypatch.setenv("STARFT_DEBUG", "1")
    with pytest.raises(ConfigError, match="lr must be at least 0"):
        main(words)


def test_a_verb_that_ends_well(verb: Callable[[Callable[[], int]], list[str]]) -> None:
    assert main(verb(lambda: 0)) == 0


def test_a_sentence_of_others_ends_once() -> None:
    assert one_sentence(ValueError("No supported gpu backend found!")) == "No supported gpu backend found!"
    assert one_sentence(ValueError("it is of no use")) == "it is of no use."


@pytest.mark.parametrize(
    ("value", "told"), [(0, "texts must be at least 1; got 0."), (11, "texts must be at most 10; got 11.")]
)
def test_a_number_outside_of_its_limits(value: int, told: str) -> None:
    check_between("texts", 1, 1, 10)
    with pytest.raises(ConfigError) as error:
        check_between("texts", value, 1, 10)
    assert str(error.value) == told
