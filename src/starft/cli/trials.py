"""The trials of ``starft tune``: of many short ones first, those that the rule likes best in full, each once.

That is successive halving (Jamieson and Talwalkar, AISTATS 2016) in two rounds. A short trial has a whole schedule of
its own, warm-up included: a long one that is cut off would be judged while its learning rate and its weights are still
high, and one with the whole warm-up might never reach the rate that it stands for.
"""

import math
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from starft.cli.single_run import Run, stops_told
from starft.config.space import Space, is_pull, lengths, options_of, warmup
from starft.errors import ConfigError, StarftError, Stopped
from starft.evaluation.rules import Candidate, Rule
from starft.files.yaml_reader import seed_of
from starft.reporting.console import Console
from starft.runs.layout import CHECKPOINTS
from starft.runs.validation import Validation, read_validation
from starft.safe_text import say, visible
from starft.training.module import FinetuneModule

FEWEST_EPOCHS = 2
"""Of a short trial: a weight that falls from epoch to epoch is 0 in the last one."""
WARMUP: int = signature(FinetuneModule).parameters["warmup_steps"].default
FINALISTS = 2
"""Trials that run in full at least."""
PART = 0.25
"""Short trials have this part of the length, and this part of the trials runs in full: half of a grid's cost."""
FEW = 4
"""Of so many trials short ones would save a quarter at most, and hide strong weights, which learn more slowly."""


@dataclass(frozen=True)
class Trial:
    """A place in the space.

    Args:
        title: What messages call it.
        values: Tried key -> value.
        full: Its run in full length.
        short: Its short run; None where it isn't shortened.
        pull: How strongly it is drawn to the frozen model; None where no such weight is tried.
    """

    title: str
    values: Mapping[str, Any]
    full: Run
    short: Run | None
    pull: float | None = None

    @property
    def first(self) -> Run:
        """What is run before trials are chosen from."""
        return self.short or self.full

    def candidate(self, validation: Validation) -> Candidate:
        """Return what a rule sees of it.

        Args:
            validation: Of one of its runs.
        """
        return Candidate(self.title, validation.metrics, validation.samples, self.pull)


def part_of(trials: int, short: float | None, bounded: bool = False) -> float:
    """Return the length of the first trials, as a part of the whole.

    Args:
        trials: How many there are.
        short: That is asked for; None where none is.
        bounded: Whether there is a budget, of which long trials may leave nothing for the last ones.
    """
    return short if short is not None else 1.0 if trials <= FEW and not bounded else PART


def claim_of(content: Mapping[str, Any], tried: Space, short: float | None) -> dict[str, Any]:
    """Return what all searches of one folder have in common.

    Args:
        content: What the config's file holds.
        tried: The tried keys, with all values.
        short: Length of the first trials that is asked for. None and 1 go with the usual one: they make no other.
    """
    return {**content, "tried": tried, "short": short if short not in (None, 1) else PART}


def make_trials(
    config: Path,
    content: Mapping[str, Any],
    options: Sequence[str],
    grid: Sequence[Mapping[str, Any]],
    folder: Path,
    part: float,
) -> list[Trial]:
    """Return the trials of some places in the space.

    Args:
        config: Its file.
        content: What the file holds.
        options: Of the command line, for every trial.
        grid: Tried key -> value, for each trial.
        folder: Of the trials.
        part: Of the whole length, for short runs; 1 makes none.
    """
    seed, trials = seed_of(content), []
    for number, (point, pull) in enumerate(zip(grid, pulls(grid), strict=True), 1):
        title, own = f"trial {number}", (*options, *options_of(point, content))
        here = folder / f"trial-{number:03}"
        whole = lengths(content, own)
        some = {
            key: min(number, max(FEWEST_EPOCHS if key.endswith("max_epochs") else 1, round(number * part)))
            for key, number in whole.items()
        }
        shorter = (*own, *(f"--{key}={number}" for key, number in some.items() if number < whole[key]))
        steps = warmup(content, own, WARMUP)
        if steps and shorter != own:  # of several bounds any may end the run, and less warm-up is the greater risk
            left = max(some[key] / whole[key] for key in whole)
            shorter = (*shorter, f"--model.warmup_steps={max(1, round(steps * left))}")

        def run(name: str, words: tuple[str, ...], title: str = title, here: Path = here) -> Run:
            return Run(title, config, seed, here / name, True, words, "validate")

        short = run("short", shorter) if shorter != own else None
        trials.append(Trial(title, point, run("full", own), short, pull))
    return trials


def pulls(grid: Sequence[Mapping[str, Any]]) -> list[float | None]:
    """Return how strongly each trial is drawn to the frozen model: its weight.

    The weights of several terms have units of their own, so each counts as a part of the largest that is tried.

    Args:
        grid: Tried key -> value, for each trial.
    """
    weights = [{key: _number(value) for key, value in point.items() if is_pull(key)} for point in grid]
    largest = {key: max(item[key] for item in weights) or 1.0 for key in weights[0]} if weights else {}
    if len(largest) == 1:
        largest = dict.fromkeys(largest, 1.0)
    return [sum(value / largest[key] for key, value in item.items()) if item else None for item in weights]


class Search:
    """Carries out trials as far as the budget goes, and asks a rule which are worth their full length.

    Args:
        trials: In the order in which they are tried.
        rule: Chooses.
        part: Of the trials, that are run in full.
        budget: Seconds of training and validation in all; None sets no bound.
        execute: Does what is missing of a run.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        rule: Rule,
        part: float,
        budget: float | None,
        execute: Callable[[Run], None],
    ) -> None:
        self.trials, self.rule, self.part, self.budget, self._execute = trials, rule, part, budget, execute
        self.results: dict[Run, Validation] = {}
        self._later = 0
        self._console = Console(160)

    def choose(self) -> Trial:
        """Run what is missing, and return the chosen trial, which has run in full.

        Raises:
            ConfigError: The budget holds no trial, or no trial gave a number.
            Stopped: A run was asked to stop.
        """
        self._read_done([trial.full for trial in self.trials if trial.short is not None and not trial.short.done])
        in_full = [trial for trial in self.trials if self._needs_no_short(trial)]
        others = [trial for trial in self.trials if trial not in in_full]
        number = max(FINALISTS, math.ceil(len(others) * self.part))
        if len(others) <= number:
            in_full, others = list(self.trials), []
        for trial in in_full:
            _remove_begun(trial.short)
        runs = [trial.first for trial in others]
        self._carry_out(runs, number)
        ranked = self._ranked([(trial, trial.first) for trial in others]) if self._finite(runs) or not in_full else []
        finalists = ranked[:number]
        if ranked and self.rule.near_the_best and self._most_accurate(ranked) not in finalists:
            finalists = [*finalists[:-1], self._most_accurate(ranked)]  # what the others must be near to
        chosen_from = [*in_full, *finalists]
        self._carry_out([trial.full for trial in chosen_from])
        for trial in ranked:
            if self._finite([item.full for item in chosen_from]):
                break
            if trial not in chosen_from:  # what was finite when it was short need not be so in full
                chosen_from = [*chosen_from, trial]
                self._carry_out([trial.full])
        return self._ranked([(trial, trial.full) for trial in chosen_from])[0]

    def _needs_no_short(self, trial: Trial) -> bool:
        """Return whether a trial has no short run, or was run in full without one by a search of few trials."""
        return trial.short is None or (trial.full in self.results and not trial.short.done)

    def _finite(self, runs: Sequence[Run]) -> bool:
        return any(run in self.results and not self.results[run].failure for run in runs)

    def _most_accurate(self, trials: Sequence[Trial]) -> Trial:
        return max(trials, key=lambda trial: self.rule.id_accuracy(trial.candidate(self.results[trial.first])))

    def _ranked(self, runs: Sequence[tuple[Trial, Run]]) -> list[Trial]:
        scored = {trial.title: trial for trial, run in runs if run in self.results and not self.results[run].failure}
        if not scored:
            why = next(self.results[run].failure for _, run in runs if run in self.results)
            raise ConfigError(f"No trial gave a finite number, so none is chosen; the first says: {why}")
        seen = [trial.candidate(self.results[run]) for trial, run in runs if trial.title in scored]
        return [scored[item.title] for item in self.rule.ranked(seen)]

    def _carry_out(self, runs: Sequence[Run], later: int = 0) -> None:
        """Run what is free; then wait for what another process was at, and take up what was left by one that died.

        Args:
            runs: What is to be done.
            later: So many runs in full come after them.
        """
        self._later = later
        for waits in (False, True):
            for run in runs:
                self._read_done(runs)  # what other processes did counts in the budget
                if run not in self.results and (self._fits(run) or (waits and _lock_of(run).is_file())):
                    self._take(run, runs, waits)
        self._read_done(runs)

    def _take(self, run: Run, runs: Sequence[Run], waits: bool) -> None:
        run.folder.parent.mkdir(parents=True, exist_ok=True)
        lock, start = FileLock(_lock_of(run)), time.monotonic()
        try:
            with stops_told(run.title):
                lock.acquire(timeout=-1 if waits else 0)
        except Timeout:
            return
        try:
            if not run.done and self._fits(run):
                self._console.print(self._progress(run, runs), style="bold")
                with stops_told(run.title):
                    self._execute(run)
        except StarftError as error:
            trial = run.folder.parent
            if all(path.name.startswith(".") for path in trial.iterdir()):  # so that the folder takes mended values
                shutil.rmtree(trial, ignore_errors=True)
            if isinstance(error, Stopped) or not self.results:
                raise
            failure = Validation(failure=str(error), seconds=time.monotonic() - start)
            self.results[run] = failure  # for now: the same command tries it again
            say(f"Note: {error} The other trials go on.", file=sys.stderr)
        finally:
            lock.release()

    def _read_done(self, runs: Sequence[Run]) -> None:
        for run in runs:
            if run not in self.results and run.done:
                self._read(run)

    def _read(self, run: Run) -> None:
        result = read_validation(run.folder)
        if not result.failure:
            seen = self._trial_of(run).candidate(result)
            self.rule.id_accuracy(seen)  # what it can't choose by is refused after the first trial
            self.rule.value(seen)
            self._check_same_images(seen)
        self.results[run] = result
        if run.folder.name == "short":  # with its optimizer a ViT-L takes 5 GB
            shutil.rmtree(run.folder / CHECKPOINTS, ignore_errors=True)
        first = not result.failure and sum(not item.failure for item in self.results.values()) == 1
        whole = self._seconds("full") if run.folder.name != "full" else 0.0
        if self.budget is not None and first and result.seconds + whole > self.budget:
            raise ConfigError(
                f"The budget of {self.budget:g} s holds not one trial: the first took {result.seconds:.0f} s, and one "
                f"in full length takes about {self._seconds('full'):.0f} s; "
                f"give --budget {math.ceil(result.seconds + whole)}s or more."
            )

    def _check_same_images(self, seen: Candidate) -> None:
        """Refuse to compare accuracies on different images."""
        before = next(((run, item) for run, item in self.results.items() if not item.failure), None)
        if before is None:
            return
        for name, columns in before[1].samples.items():
            own = seen.samples.get(name, {})
            if not all(np.array_equal(columns[column], own.get(column, ())) for column in ("position", "label")):
                raise ConfigError(
                    f"{self._trial_of(before[0]).title} and {seen.title} were validated on different images of {name}, "
                    "so they can't be compared: the data have changed, or a tried key changes them; "
                    "give another --out, or leave that key out."
                )

    def _fits(self, run: Run) -> bool:
        """Return whether a run fits the budget, with one in full length after it where this is a short one."""
        full = run.folder.name == "full"
        have_one = any(item.folder.name == run.folder.name for item in self.results)
        if self.budget is None or not have_one:
            return True
        needed = self._seconds("full") + (0 if full else self._seconds("short"))
        return sum(item.seconds for item in self.results.values()) + needed <= self.budget

    def _seconds(self, name: str) -> float:
        """Return how long a run takes, by those that are done: the mean of its own length, or of the other's."""
        times = {"short": self.part, "full": 1.0}
        for other in (name, *times):
            own = [
                item.seconds
                for run, item in self.results.items()
                if run.folder.name == other and item.seconds and not item.failure
            ]
            if own:
                return sum(own) / len(own) * times[name] / times[other]
        return 0.0

    def _trial_of(self, run: Run) -> Trial:
        return next(item for item in self.trials if run in (item.full, item.short))

    def _progress(self, run: Run, runs: Sequence[Run]) -> str:
        trial = self._trial_of(run)
        name, left = run.folder.name, sum(item not in self.results for item in runs)
        seconds = left * self._seconds(name)
        seconds += self._later * self._seconds("full")
        values = ", ".join(f"{key} {value}" for key, value in trial.values.items())
        about = f"; about {duration(seconds)} left" if seconds else ""
        return visible(f"{runs.index(run) + 1}/{len(runs)} {name}  {run.title}: {values}{about}")


def duration(seconds: float) -> str:
    """Return a time as one says it.

    Args:
        seconds: Not negative.

    Example:
        >>> duration(50), duration(600), duration(9000)
        ('50 s', '10 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _lock_of(run: Run) -> Path:
    return run.folder.parent / f".{run.folder.name}.taken"


def _remove_begun(run: Run | None) -> None:
    """Remove the checkpoints of a short run that was begun and isn't needed any more, unless a process is at it."""
    if run is not None and (run.folder / CHECKPOINTS).is_dir():
        with suppress(Timeout), FileLock(_lock_of(run), timeout=0):
            shutil.rmtree(run.folder / CHECKPOINTS, ignore_errors=True)


def _number(value: Any) -> float:
    """Return a weight as the parser of options reads it; 0 of what is none, which a run refuses."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0
