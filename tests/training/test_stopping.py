"""A signal to all processes of a command, as a terminal sends it, whatever its data workers are at: one sentence."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from fakes.own_images import write_table
from fakes.processes import forking, hear_signals
from fakes.signalling import LOADER, MARK, NUMBER, WHEN
from starft.__main__ import main
from starft.cli import single_run
from starft.errors import Stopped
from starft.signals import STOPS, stop_signals_blocked
from starft.training.stopping import StopBetweenBatches, StopSafely

CONFIG = Path(__file__).parents[2] / "lightning_configs" / "csv" / "ce.yaml"
SMALL = [
    "--trainer.accelerator=cpu",
    "--trainer.precision=32-true",
    "--trainer.log_every_n_steps=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.max_epochs=1",
    "--model.model_name=starft-mini",
    "--model.pretrained=mini",
    "--data.init_args.batch_size=7",
    "--data.init_args.num_workers=2",
    "--checkpoint.monitor=null",
]
WORKERS = "fork"
"""How a command starts its data workers where nobody says otherwise, up to Python 3.13."""
INT, TERM = signal.SIGINT, signal.SIGTERM
AGAIN = "starft: Stopped {}; give the same command again."


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Of 40 images whose workers send a signal."""
    return write_config(tmp_path, "Signalling")


def write_config(folder: Path, data: str) -> Path:
    keys = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    keys["data"]["class_path"] = f"fakes.signalling.{data}"
    keys["data"]["init_args"]["file"] = str(write_table(folder / "shoes"))
    path = folder / "ce.yaml"
    path.write_text(yaml.safe_dump(keys), encoding="utf-8")
    return path


def alone(words: list[str], folder: str, variables: dict[str, str], threads: int) -> None:
    """What the process does: the command, in a process group of its own, its complaints in a file."""
    os.setsid()
    hear_signals()
    os.chdir(folder)
    multiprocessing.set_start_method(WORKERS, force=True)
    os.environ |= variables
    single_run.get_context = lambda _: multiprocessing.get_context("fork")  # type: ignore[assignment]
    torch.set_num_threads(threads)
    os.dup2(os.open("complaints.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    sys.exit(main(words))


def run(words: list[str], folder: Path, loader: str = "", when: str = "", number: int = 0) -> tuple[int | None, str]:
    """Return exit status and complaints of a command whose workers send a signal to its process group."""
    mark = folder / "sent"
    variables = {LOADER: loader, WHEN: when, NUMBER: str(int(number)), MARK: str(mark)}
    process = forking().Process(target=alone, args=(words, str(folder), variables, torch.get_num_threads()))
    process.start()
    group = process.pid
    assert group is not None
    try:
        process.join(240)
        assert process.exitcode is not None, "it goes on as if nothing had been sent"
        deadline = time.monotonic() + 20
        while any_left(group):
            assert time.monotonic() < deadline, "a process is left"
            time.sleep(0.05)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
    if loader:
        assert mark.read_text(encoding="utf-8") == WORKERS
        mark.unlink()
    told = (folder / "complaints.txt").read_text(encoding="utf-8")
    assert "Traceback" not in told
    assert "DataLoader worker" not in told or loader == "", told
    return process.exitcode, told.splitlines()[-1]


def any_left(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def step(folder: Path) -> int:
    return int(torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loader", "when", "number", "status"),
    [
        ("val", "start", INT, 130),
        ("val", "read", TERM, 143),
        ("train", "start", TERM, 143),
        ("train", "read", INT, 130),
    ],
)
def test_a_training_that_is_stopped_as_its_workers_start(
    loader: str, when: str, number: int, status: int, config: Path, tmp_path: Path
) -> None:
    words, folder = ["fit", f"--config={config}", "--trainer.default_root_dir=run", *SMALL], tmp_path / "run"
    ended, told = run(words, tmp_path, loader, when, number)
    if loader == "val":
        assert told == AGAIN.format("before the first step")
        assert not folder.exists(), "the folder is given back"
    else:
        last = Path("run") / "checkpoints" / "last.ckpt"
        assert told == f"starft: Stopped after step 1; continue with the same command and --ckpt_path {last}."
        assert step(folder) == 1
        words = [*words, f"--ckpt_path={last}"]
    assert ended == status
    if when == "start":  # a stop leaves the same later
        assert run(words, tmp_path)[0] == 0
        assert step(folder) == 4


@pytest.mark.slow
@pytest.mark.parametrize(("when", "number", "status"), [("start", INT, 130), ("read", TERM, 143)])
def test_a_test_that_is_stopped_as_its_workers_start(
    when: str, number: int, status: int, config: Path, tmp_path: Path
) -> None:
    words = ["test", f"--config={config}", "--trainer.default_root_dir=run", *SMALL]
    assert run(words, tmp_path, "test", when, number) == (status, AGAIN.format("before the end"))
    assert not (tmp_path / "run").exists()
    if when == "start":
        assert run(words, tmp_path)[0] == 0
        assert (tmp_path / "run" / "results.json").is_file()


@pytest.mark.slow
def test_a_comparison_that_is_stopped_as_workers_start(config: Path, tmp_path: Path) -> None:
    """Its runs are forked here; tests/cli/test_compare.py has one of a process that imports anew."""
    words, folder = ["compare", f"--configs={config}", "--out=out", *SMALL], tmp_path / "out" / "ce" / "seed-0"
    told = "starft: Stopped while running ce, seed 0; give the same command again to go on."
    assert run(words, tmp_path, "val", "start", TERM) == (143, told)
    assert not folder.exists()
    assert run(words, tmp_path, "test", "start", INT) == (130, told)
    assert step(folder) == 4
    assert run(words, tmp_path)[0] == 0
    assert step(folder) == 4
    assert (tmp_path / "out" / "results.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(INT, 130), (TERM, 143)])
def test_workers_that_end_at_the_signal_end_the_run_in_a_sentence_too(number: int, status: int, tmp_path: Path) -> None:
    words = ["fit", f"--config={write_config(tmp_path, 'Unprotected')}", "--trainer.default_root_dir=run", *SMALL]
    assert run(words, tmp_path, "train", "start", number) == (status, AGAIN.format("before the first step"))
    assert run(words, tmp_path)[0] == 0
    assert step(tmp_path / "run") == 4


class Trainer:
    global_step, is_global_zero, predicting, default_root_dir = 6, True, False, "."
    state = SimpleNamespace(finished=False)


def left_by(error: BaseException, folder: Path, received: int | None, trained: bool = True) -> BaseException:
    """Return what a trainer's error becomes."""
    stop = StopSafely(folder)
    stop.received, stop._began = received, trained
    with pytest.raises((RuntimeError, TypeError, Stopped, KeyboardInterrupt)) as left, stop.heard(Trainer()):  # type: ignore[arg-type]
        raise error
    return left.value


def test_dead_workers_are_a_stop_where_one_was_asked_for(tmp_path: Path) -> None:
    dead = RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated. ")
    assert left_by(dead, tmp_path, None) is dead, "somebody else ended them"
    other = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    after = RuntimeError("Please call `iter(combined_loader)` first.")
    after.__context__ = dead
    assert str(left_by(after, tmp_path, TERM, trained=False)).startswith("Stopped before the first step")
    assert left_by(other, tmp_path, TERM) is other
    wrapped = TypeError("unsupported callable")  # as `inspect` makes of what torch raises inside of it
    assert left_by(wrapped, tmp_path, TERM) is wrapped
    wrapped.__context__ = dead
    assert str(left_by(wrapped, tmp_path, TERM, trained=False)).startswith("Stopped before the first step")
    again = "Stopped before the first step; give the same command again."
    assert str(left_by(dead, tmp_path, TERM, trained=False)) == again
    assert (
        str(left_by(dead, tmp_path, TERM)) == "Stopped in step 7, with its data workers; give the same command again."
    )
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.parent.mkdir()
    last.touch()
    stopped = left_by(dead, tmp_path, INT)
    assert isinstance(stopped, Stopped)
    assert stopped.status == 130
    assert str(stopped) == (
        f"Stopped in step 7, with its data workers; continue with the same command and --ckpt_path {last}."
    )


@pytest.mark.parametrize("error", [SystemExit(1), RuntimeError("DataLoader worker (pid 7) exited unexpectedly")])
def test_ctrl_c_stays_what_it_is_whatever_came_of_it(error: BaseException, tmp_path: Path) -> None:
    """Lightning makes an exit of it, and workers may die while it does."""
    ctrl_c = error.__context__ = KeyboardInterrupt()
    assert left_by(error, tmp_path, None) is ctrl_c


def test_what_python_can_only_print_of_workers_that_a_stop_ended_is_not_printed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As torch's error comes between the start of two workers, or of a thread."""
    dead = RuntimeError("DataLoader worker (pid 7) is killed by signal: Interrupt. ")
    lost = (dead, KeyError(threading.Thread()), KeyError("label"), KeyError())
    printed: list[BaseException] = []

    def hook(what: Any) -> None:
        printed.append(what.exc_value)

    def printed_after(received: int | None) -> list[BaseException]:
        printed.clear()
        stop = StopBetweenBatches()
        with suppress(Stopped), stop.heard(Trainer()):  # type: ignore[arg-type]
            stop.received = received
            for error in lost:
                sys.unraisablehook(SimpleNamespace(exc_value=error))  # type: ignore[arg-type]
        assert sys.unraisablehook is hook
        return list(printed)

    monkeypatch.setattr(sys, "unraisablehook", hook)
    assert printed_after(None) == [*lost], "nobody asked for a stop"
    assert printed_after(INT) == [*lost[2:]]


def test_a_signal_that_comes_at_the_very_end_is_told(tmp_path: Path) -> None:
    stop, trainer = StopBetweenBatches(), Trainer()
    trainer.state = SimpleNamespace(finished=True)
    with pytest.raises(Stopped, match="at the end: all is written"), stop.heard(trainer):  # type: ignore[arg-type]
        stop.received = TERM


def test_a_prediction_that_is_stopped_tells_what_lies_there(tmp_path: Path) -> None:
    """The same command refuses to write over it."""
    stop, trainer = StopBetweenBatches(), Trainer()
    trainer.predicting, trainer.default_root_dir, stop.received = True, str(tmp_path), INT
    with pytest.raises(Stopped, match="Stopped before the end; give the same command again"):
        stop.on_predict_batch_start(trainer)  # type: ignore[arg-type]
    (tmp_path / "predictions.csv").touch()
    with pytest.raises(Stopped, match=f"end; move {tmp_path}/predictions.csv away, which holds whole rows, and give"):
        stop.on_predict_batch_start(trainer)  # type: ignore[arg-type]


def test_a_worker_that_inherits_the_listener_ends_at_the_signal() -> None:
    """One of somebody's own, before torch has given it another: its parent would wait for it for ever."""
    stop, before = StopBetweenBatches(), {number: signal.getsignal(number) for number in STOPS}
    try:
        stop._listen()
        child = multiprocessing.get_context("fork").Process(target=signal.raise_signal, args=(TERM,))
        child.start()
        child.join()
        assert child.exitcode == -TERM
        signal.raise_signal(TERM)
        assert stop.received == TERM
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_workers_are_deaf_from_their_first_moment_on() -> None:
    """What comes while they start is heard here, when all of them are there."""
    heard: list[int] = []
    before = signal.signal(INT, lambda number, frame: heard.append(number))
    try:
        with stop_signals_blocked():
            signal.raise_signal(INT)
            child = multiprocessing.get_context("fork").Process(target=signal.raise_signal, args=(TERM,))
            child.start()
            child.join()
            assert heard == []
        assert (child.exitcode, heard) == (0, [INT])
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & STOPS
    finally:
        signal.signal(INT, before)
