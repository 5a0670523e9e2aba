"""Runs of one config with one seed, each made once: started, taken up where it was stopped, or left alone when done."""

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing import get_context, get_start_method, parent_process, resource_tracker, set_start_method
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread, current_thread, main_thread
from types import FrameType
from typing import Any, Literal

import lightning as L
from filelock import FileLock

from starft.cli.fit import StarftCLI, main
from starft.errors import AllTrained, ConfigError, NotFiniteError, StarftError, Stopped, Terminated
from starft.evaluation.kept_predictions import KeptPredictions
from starft.runs.layout import CHECKPOINTS, LAST, RESULTS, VALIDATION
from starft.runs.validation import write_failure, write_validation
from starft.signals import STOPS, sigterm_as_ctrl_c, stop_signals_blocked

QUIET = ("--trainer.enable_model_summary=false",)


@dataclass(frozen=True)
class Run:
    """One config with one seed.

    Args:
        title: What messages call the config.
        config: Its file.
        seed: Of everything.
        folder: The run folder.
        trains: Whether there is something to train; otherwise it is only tested.
        options: Of the command line, for fit and test.
        scored_on: The test sets, or the validation sets; a loss that isn't finite is a result there.
    """

    title: str
    config: Path
    seed: int
    folder: Path
    trains: bool = True
    options: tuple[str, ...] = ()
    scored_on: Literal["test", "validate"] = "test"

    @property
    def done(self) -> bool:
        """Whether it has been trained and scored."""
        return (self.folder / (RESULTS if self.scored_on == "test" else VALIDATION)).is_file()

    @property
    def words(self) -> tuple[str, ...]:
        """The options of its commands."""
        own = (
            f"--config={self.config}",
            f"--seed_everything={self.seed}",
            f"--trainer.default_root_dir={self.folder}",
        )
        return (*own, *QUIET, *self.options)


def run_for_each_seed(
    title: str,
    config: Path,
    content: Mapping[str, Any],
    folder: Path,
    seeds: Sequence[int],
    options: Sequence[str] = (),
) -> list[Run]:
    """Return the run of each seed; where no seed changes anything, one run stands for all.

    Args:
        title: What messages call the config.
        config: Its file.
        content: What the file holds.
        folder: Of its runs.
        seeds: At least one.
        options: Of the command line.
    """
    own, alike = list(seeds), not trains(content) and _starts_from_weights(content, options)
    if alike:
        done = sorted(
            int(path.parent.name[5:]) for path in folder.glob(f"seed-*/{RESULTS}") if path.parent.name[5:].isdigit()
        )
        own = [*(seed for seed in seeds if seed in done), *done, *seeds][:1] * len(seeds)
    return [Run(title, config, seed, folder / f"seed-{seed}", trains(content), tuple(options)) for seed in own]


def _starts_from_weights(content: Mapping[str, Any], options: Sequence[str]) -> bool:
    """Return whether the model isn't drawn at random, by the seed."""
    model = content.get("model") or {}
    given = [option.partition("=")[2] for option in options if option.startswith("--model.pretrained=")]
    pretrained = given[-1] if given else model.get("pretrained", "")
    return pretrained not in (None, "null") and model.get("head_start") != "probe"


def trains(config: Mapping[str, Any]) -> bool:
    """Return whether a config asks for training; with ``max_epochs`` or ``max_steps`` 0 it is only tested.

    Args:
        config: What its own file holds, whatever options are given beside it.
    """
    trainer = config.get("trainer") or {}
    return trainer.get("max_epochs") != 0 and trainer.get("max_steps") != 0


def finish(run: Run) -> None:
    """Train and test, in this process, what is missing of a run; another process that is at it is waited for.

    Args:
        run: What to run.

    Raises:
        StarftError: It is refused, or it was stopped.
    """
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(run.folder.parent / f".{run.folder.name}.lock"):
        if run.done:
            return
        start = time.monotonic()
        try:
            _finish(run)
        except NotFiniteError as error:
            if run.scored_on == "test":
                raise
            write_failure(run.folder, str(error), time.monotonic() - start)


def _finish(run: Run) -> None:
    last = run.folder / CHECKPOINTS / LAST
    if not run.trains:
        _command([run.scored_on, *run.words])
        return
    if last.is_file():
        with suppress(AllTrained):  # stopped before its test
            _command(["fit", *run.words, f"--ckpt_path={last}"])
    else:
        _command(["fit", *run.words])  # one that was killed before its first checkpoint begins anew there
    _command([run.scored_on, *run.words, f"--ckpt_path={last}"])


class _OneOfMany(StarftCLI):
    """A run whose last checkpoint is scored next, whatever a person does; a validation is written down."""

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Build the trainer; keep the predictions of a validation."""
        trainer = super().instantiate_trainer(**kwargs)
        if self.subcommand == "validate":
            self._kept = KeptPredictions()
            trainer.callbacks.append(self._kept)  # type: ignore[attr-defined]
        return trainer

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """Leave out Lightning's table of a validation, which repeats every number for every loader."""
        quiet = {"verbose": False} if subcommand == "validate" else {}
        return super()._prepare_subcommand_kwargs(subcommand) | quiet

    def after_validate(self) -> None:
        """Write what validation found."""
        samples = self._kept.samples()  # of all processes, so all take part
        if self.trainer.is_global_zero:
            training = (self._cost.told or {}).get("seconds", 0.0)
            seconds = training + time.monotonic() - self._start
            metrics = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
            write_validation(self.folder, metrics, samples, seconds)

    def after_fit(self) -> None:
        """Tell neither a best checkpoint nor a next command."""


def run_cli(words: list[str]) -> None:
    """Carry out one command of a run.

    Args:
        words: The verb and its options.
    """
    main(words, _OneOfMany)


def _command(words: list[str]) -> None:
    if parent_process() is not None:
        sys.argv[1:] = words  # where a strategy starts more processes, they carry out this command
    run_cli(words)


@contextmanager
def stops_told(what: str) -> Iterator[None]:
    """Tell how to go on where a block is stopped by a signal.

    Args:
        what: Is run in the block.

    Raises:
        Stopped: It was asked to stop.
    """
    try:
        with sigterm_as_ctrl_c():
            yield
    except (Stopped, KeyboardInterrupt) as stop:
        message = f"Stopped while running {what}; give the same command again to go on."
        status = stop.status if isinstance(stop, Stopped) else 143 if isinstance(stop, Terminated) else 130
        raise Stopped(message, status) from stop


def finish_apart(run: Run) -> None:
    """Do what `finish` does in a process of its own, whose peak memory is that of this run alone.

    On Linux the process is forked from one that has imported everything and done nothing, so it starts at once: three
    of them took 11 processor seconds to start, and 29 where each imported anew. It stops, with its work saved, where
    this process is told to stop, or dies.

    Args:
        run: What to run.

    Raises:
        StarftError: It is refused, it was stopped, or it broke.
    """
    context = get_context("forkserver" if sys.platform == "linux" else "spawn")
    if sys.platform == "linux":
        context.set_forkserver_preload(["starft.cli.preloaded"])
    ours, theirs = context.Pipe(duplex=False)
    given = (run, theirs, Path.cwd(), get_start_method())
    process = context.Process(target=_apart, args=given)  # type: ignore[attr-defined]
    with _passing_stops_on(process) as output:
        if sys.platform != "win32":
            resource_tracker.ensure_running()  # its start lets the signals in again
        with stop_signals_blocked():
            process.start()
        theirs.close()
        process.join()
        try:
            answer = ours.recv()
        except EOFError:  # nothing to tell
            answer = None
        ours.close()
    if isinstance(answer, OSError):
        raise answer
    if output:
        raise Stopped("", 128 + output[0])
    if answer is not None:
        told, status = answer
        raise Stopped(told, status) if status != 2 else ConfigError(f"{run.title}, seed {run.seed}: {told}")
    if process.exitcode:
        how = f"was killed by signal {-process.exitcode}" if process.exitcode < 0 else "broke (its error is above)"
        raise StarftError(f"{run.title}, seed {run.seed} {how}; give the same command again to go on.")


@contextmanager
def _passing_stops_on(process: BaseProcess) -> Iterator[list[int]]:
    """Note the signals that stop a command, and send each on as SIGTERM.

    A terminal sends Ctrl-C to both processes. SIGTERM on top of it changes nothing, where a second Ctrl-C would stop
    the run at once.
    """
    output: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        output.append(number)
        if process.pid is not None:
            process.terminate()

    listens = current_thread() is main_thread()
    before = {number: signal.signal(number, note) for number in STOPS if listens}
    try:
        yield output
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _apart(run: Run, told: Connection, folder: Path, start_method: str) -> None:
    os.chdir(folder)
    set_start_method(start_method, force=True)  # else each data worker would be a new Python that imports torch
    Thread(target=_stop_with_parent, daemon=True).start()
    sys.modules["__main__"].__spec__ = find_spec("starft.__main__")  # what `_command` gives words to
    answer: object = None
    try:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)  # from here on somebody hears them
        finish(run)
    except KeyboardInterrupt:
        answer = ("", 130)
    except Stopped as stop:
        answer = (str(stop), stop.status)
    except StarftError as error:
        answer = (str(error), 2)
    except OSError as error:
        answer = error
    parent = parent_process()
    if parent is not None and parent.is_alive():
        told.send(answer)


def _stop_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
