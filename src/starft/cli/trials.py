"""The trials of ``starft tune``: short ones first, those that the rule likes best in full, each once.

That is successive halving (Jamieson and Talwalkar, AISTATS 2016) in two rounds. A short trial has a whole schedule of
its own: a long one that is cut off would be judged while its learning rate and its weights are still high.
"""

import math
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from starft.cli.single_run import Run, stops_told
from starft.config.space import is_pull, length, options_of
from starft.errors import ConfigError, StarftError, Stopped
from starft.evaluation.rules import Candidate, Rule
from starft.reporting.console import Console
from starft.runs.layout import CHECKPOINTS
from starft.runs.validation import Validation, read_validation
from starft.safe_text import say, visible

FEWEST_EPOCHS = 2
"""Of a short trial: a weight that falls from epoch to epoch is 0 in the last one."""
FINALISTS = 2
"""Trials that run in full at least."""


@dataclass(frozen=True)
class Trial:
    """A place in the space.

    Args:
        title: What messages call it.
        values: Tried key -> value.
        full: Its run in full length.
        short: Its short run; None where it isn't shortened.
    """

    title: str
    values: Mapping[str, Any]
    full: Run
    short: Run | None

    @property
    def first(self) -> Run:
        """What is run before trials are chosen from."""
        return self.short or self.full

    def candidate(self, validation: Validation) -> Candidate:
        """Return what a rule sees of it.

        Args:
            validation: Of one of its runs.
        """
        weights = [float(value) for key, value in self.values.items() if is_pull(key) and _is_number(value)]
        return Candidate(self.title, validation.metrics, validation.samples, sum(weights) if weights else None)


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
    seed = content.get("seed_everything")
    trials = []
    for number, point in enumerate(grid, 1):
        title, own = f"trial {number}", (*options, *options_of(point, content))
        here = folder / f"trial-{number:03}"
        whole = length(content, own)
        fewest = FEWEST_EPOCHS if whole and whole[0].endswith("max_epochs") else 1
        steps = max(fewest, round(whole[1] * part)) if whole else 0
        shorter = (*own, f"--{whole[0]}={steps}") if whole and steps < whole[1] else None

        def run(name: str, words: tuple[str, ...], title: str = title, here: Path = here) -> Run:
            return Run(title, config, seed if type(seed) is int else 0, here / name, True, words, "validate")

        trials.append(Trial(title, point, run("full", own), run("short", shorter) if shorter else None))
    return trials


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
        self._console = Console(160)

    def choose(self) -> Trial:
        """Run what is missing, and return the chosen trial, which has run in full.

        Raises:
            ConfigError: The budget holds no trial, or no trial gave a number.
            Stopped: A run was asked to stop.
        """
        self._carry_out([trial.first for trial in self.trials])
        ranked = self._ranked([(trial, trial.first) for trial in self.trials])
        if all(trial.short is None for trial in self.trials):
            return ranked[0]
        finalists = ranked[: self._finalists]
        if self.rule.near_the_best and self._most_accurate(ranked) not in finalists:
            finalists = [*finalists[:-1], self._most_accurate(ranked)]  # what the others must be near to
        self._carry_out([trial.full for trial in finalists])
        return self._ranked([(trial, trial.full) for trial in finalists])[0]

    @property
    def _finalists(self) -> int:
        return max(FINALISTS, math.ceil(len(self.trials) * self.part))

    def _most_accurate(self, trials: Sequence[Trial]) -> Trial:
        return max(trials, key=lambda trial: self.rule.id_accuracy(trial.candidate(self.results[trial.first])))

    def _ranked(self, runs: Sequence[tuple[Trial, Run]]) -> list[Trial]:
        scored = {trial.title: trial for trial, run in runs if run in self.results and not self.results[run].failure}
        if not scored:
            why = next(self.results[run].failure for _, run in runs if run in self.results)
            raise ConfigError(f"No trial gave a finite number, so none is chosen; the first says: {why}")
        seen = [trial.candidate(self.results[run]) for trial, run in runs if trial.title in scored]
        return [scored[item.title] for item in self.rule.ranked(seen)]

    def _carry_out(self, runs: Sequence[Run]) -> None:
        """Run what is free; then wait for what another process was at, and take up what was left by one that died."""
        for waits in (False, True):
            for run in runs:
                if run in self.results:
                    continue
                if not run.done:
                    if not self._fits(run):
                        break
                    self._take(run, runs, waits)
                if run.done and run not in self.results:
                    self._read(run)

    def _take(self, run: Run, runs: Sequence[Run], waits: bool) -> None:
        run.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(run.folder.parent / f".{run.folder.name}.taken")
        try:
            lock.acquire(timeout=-1 if waits else 0)
        except Timeout:
            return
        try:
            if not run.done:
                self._console.print(self._progress(run, runs), style="bold")
                with stops_told(run.title):
                    self._execute(run)
        except StarftError as error:
            trial = run.folder.parent
            if all(path.name.startswith(".") for path in trial.iterdir()):  # so that the folder takes mended values
                shutil.rmtree(trial, ignore_errors=True)
            if isinstance(error, Stopped) or not self.results:
                raise
            self.results[run] = Validation(failure=str(error))  # for now: the same command tries it again
            say(f"Note: {error} The other trials go on.", file=sys.stderr)
        finally:
            lock.release()

    def _read(self, run: Run) -> None:
        result = self.results[run] = read_validation(run.folder)
        if not result.failure:
            self.rule.value(
                self._trial_of(run).candidate(result)
            )  # what it can't choose by is refused after the first trial
        if run.folder.name == "short":  # with its optimizer a ViT-L takes 5 GB
            shutil.rmtree(run.folder / CHECKPOINTS, ignore_errors=True)
        whole = self._seconds("full")
        spent = sum(item.seconds for item in self.results.values())
        needed = spent if run.folder.name == "full" else spent + whole
        if self.budget is not None and len(self.results) == 1 and needed > self.budget:
            raise ConfigError(
                f"The budget of {self.budget:g} s holds not one trial: the first took {spent:.0f} s, and one in full "
                f"length takes about {whole:.0f} s; give --budget {math.ceil(needed)}s or more."
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
            own = [item.seconds for run, item in self.results.items() if run.folder.name == other and item.seconds]
            if own:
                return sum(own) / len(own) * times[name] / times[other]
        return 0.0

    def _trial_of(self, run: Run) -> Trial:
        return next(item for item in self.trials if run in (item.full, item.short))

    def _progress(self, run: Run, runs: Sequence[Run]) -> str:
        trial = self._trial_of(run)
        name, left = run.folder.name, sum(item not in self.results for item in runs)
        seconds = left * self._seconds(name)
        if name == "short":
            seconds += self._finalists * self._seconds("full")
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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
