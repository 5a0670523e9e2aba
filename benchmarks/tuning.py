"""What the rules of ``starft tune`` cost: the choice of each beside the best of the whole grid, on test sets.

Run it: ``python -m benchmarks.tuning``. For each seed every trial runs in full, and of more than four short before, as
tune runs them (``--short 0.25`` asks for it of fewer, too). Test sets score the full ones, for the regret alone: points
of accuracy that a rule's choice lies below the best of the grid. Each rule chooses by tune's own engine from what has
run; ``short`` 1 is its choice with the whole grid in full. One JSON line a rule and seed, then the means;
``processor_share`` is the processor time of the runs that tune makes over that of the whole grid in full. A study that
was stopped goes on by the same command, and ``starft tune --config OUT/seed-0.yaml --out OUT/seed-0``, with the same
``--short`` where one was given, chooses from its trials.

``--world weak`` asks the same on another embedded world, around the settings that the config has there.

``--engine 60`` runs `starft tune` itself on so many values of one key, and says what it takes beside its runs.
"""

import argparse
import copy
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from starft.__main__ import main as starft
from starft.cli import audit, tune
from starft.cli.single_run import Run, finish, finish_apart, run_cli
from starft.cli.trials import Search, Trial, claim_of, make_trials, part_of
from starft.cli.tune_rule import frozen_predictions, make_rule
from starft.config.space import Space, default_space, in_order, is_pull, points, read_space
from starft.errors import ConfigError, PoolError, RunFolderError
from starft.evaluation.rules import RULES
from starft.files.atomic import load_json, replace_file
from starft.files.shipped import with_shipped_configs
from starft.files.yaml_reader import dump_yaml, read_yaml
from starft.mini.worlds import WORLDS
from starft.runs.comparison_folder import claim_runs, open_comparison
from starft.runs.layout import AUDIT, CHECKPOINTS, LAST, RESULTS
from starft.runs.results import read_results

QUIET = ("--trainer.enable_progress_bar=false",)
QUOTED = ("id/acc", "ood/acc", "style/acc", "groups/worst_group_acc")
TOLERANCE = 0.01
"""That of tune's default."""


class Stopwatch:
    """Does work once, and keeps how many processor seconds it took.

    Args:
        path: Of the file that holds them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds: dict[str, float] = load_json(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def once(self, name: str, folder: Path, work: Callable[[], object]) -> None:
        """Do work that leaves a folder, anew where it was stopped in the middle."""
        if name in self.seconds:
            return
        shutil.rmtree(folder, ignore_errors=True)
        start = time.process_time()
        work()
        self.seconds[name] = round(time.process_time() - start, 2)
        replace_file(self.path, json.dumps(self.seconds).encode())
        print(f"{self.path}: {name} took {self.seconds[name]} s", file=sys.stderr, flush=True)


def name_of(run: Run) -> str:
    """Return what the stopwatch calls a run."""
    return f"{run.folder.parent.name}/{run.folder.name}"


@dataclass(frozen=True)
class Study:
    """The whole grid of a config with one seed.

    Args:
        config: Its file, with the seed.
        tried: The grid.
        folder: Of the trials, as tune has it.
        options: For every run.
        short: Of the first trials, as tune's option; None takes tune's own length.
    """

    config: Path
    tried: Space
    folder: Path
    options: tuple[str, ...]
    short: float | None

    @property
    def content(self) -> dict[str, Any]:
        """What the config holds."""
        return dict(read_yaml(self.config))

    @property
    def part(self) -> float:
        """How long the first trials are."""
        return part_of(len(points(self.tried, None)), self.short)

    def trials(self, part: float) -> list[Trial]:
        """Return the trials as tune makes them."""
        grid = points(self.tried, None)
        return make_trials(self.config, self.content, self.options, grid, self.folder / "trials", part)

    def carry_out(self, audits: bool) -> None:
        """Run what is missing: every trial short, where tune does, and in full, the tests, the audit for its rule."""
        open_comparison(self.folder, tune.STATE, "search of `starft tune`")
        claim = claim_of(self.content, self.tried, self.short)
        claim_runs(self.folder / "trials", claim, self.options, "trial-*")
        watch, trials = self.watch, self.trials(self.part)
        for run in dict.fromkeys([*(trial.first for trial in trials), *(trial.full for trial in trials)]):
            watch.once(name_of(run), run.folder, lambda run=run: finish(run))  # type: ignore[misc]
        for run in (trial.full for trial in trials):
            last = run.folder / CHECKPOINTS / LAST
            if last.is_file() and not (run.folder / RESULTS).is_file():
                run_cli(["test", *run.words, f"--ckpt_path={last}"])
            if (run.folder / RESULTS).is_file():
                shutil.rmtree(run.folder / CHECKPOINTS, ignore_errors=True)  # with its optimizer it is large
        out, kinds = self.folder / AUDIT, ("--data.", "--model.model_name=", "--model.pretrained=")
        own = tuple(option for option in self.options if option.startswith(kinds))
        if audits:
            try:
                watch.once(AUDIT, out, lambda: audit.data(config=str(self.config), out=out, overrides=own))
            except PoolError as error:  # then its rule is refused
                print(error, file=sys.stderr)

    @property
    def watch(self) -> Stopwatch:
        """What the runs took so far."""
        return Stopwatch(self.folder.with_suffix(".json"))

    def tested(self) -> dict[str, dict[str, float]]:
        """Return what test sets say of each trial, in %; a trial whose loss wasn't finite is left out."""
        files = {trial.title: trial.full.folder / RESULTS for trial in self.trials(self.part)}
        metrics = {title: read_results(file).metrics for title, file in files.items() if file.is_file()}
        return {title: {name: 100 * found[name] for name in QUOTED} for title, found in metrics.items()}

    def choice(self, rule: str, part: float) -> tuple[Trial, float]:
        """Return what a rule chooses from what has run, and the processor seconds of what tune runs for that."""
        pulls, seconds = any(map(is_pull, self.tried)), 0.0
        found = self.folder / AUDIT
        chooser = make_rule(rule, pulls, self.config, self.content, self.options, TOLERANCE, found)
        watch = self.watch
        if chooser.reads_frozen:
            out = self.folder / "frozen"
            given = (self.config, self.options, out, chooser.setting.id_set)
            watch.once("frozen", out, lambda: frozen_predictions(*given, finish))
            chooser.frozen = frozen_predictions(*given, finish)
            seconds += watch.seconds["frozen"]
        if rule == "inferred_groups":
            seconds += watch.seconds[AUDIT]
        search = Search(self.trials(part), chooser, part, None, finish)
        chosen = search.choose()
        return chosen, seconds + sum(watch.seconds[name_of(run)] for run in search.results)

    def row(self, rule: str, part: float) -> dict[str, Any]:
        """Return the row of a rule."""
        start = {"row": "choice", "rule": rule, "short": part}
        try:
            chosen, seconds = self.choice(rule, part)
        except (ConfigError, RunFolderError) as error:
            return {**start, "refused": str(error)}
        tested = self.tested()
        best = {name: max(scores[name] for scores in tested.values()) for name in QUOTED}
        regret = {name: round(best[name] - tested[chosen.title][name], 2) for name in QUOTED}
        share = round(seconds / self.grid_seconds(), 3)
        return {**start, "chosen": dict(chosen.values), "regret": regret, "processor_share": share}

    def grid_seconds(self) -> float:
        """Return the processor seconds of the whole grid in full."""
        return sum(self.watch.seconds[name_of(trial.full)] for trial in self.trials(self.part))

    def grid_row(self) -> dict[str, Any]:
        """Return what the grid holds: its best, and what a choice at random would cost on average."""
        tested = self.tested()
        best = {name: round(max(scores[name] for scores in tested.values()), 2) for name in QUOTED}
        mean = {
            name: round(best[name] - float(np.mean([scores[name] for scores in tested.values()])), 2) for name in best
        }
        seconds = self.watch.seconds
        short = sum(seconds[name_of(trial.short)] for trial in self.trials(self.part) if trial.short is not None)
        each = [
            {**trial.values, **{name: round(value, 2) for name, value in tested[trial.title].items()}}
            for trial in self.trials(self.part)
            if trial.title in tested
        ]
        took = {"full": round(self.grid_seconds(), 1), "short": round(short, 1)}
        return {"row": "grid", "best": best, "regret_at_random": mean, "processor_seconds": took, "trials": each}


def on_world(method: str, content: dict[str, Any], world: str) -> dict[str, Any]:
    """Return what a config holds on an embedded world.

    Args:
        method: Name of the config, such as ``starft``.
        content: What it holds itself.
        world: Its name.
    """
    content = copy.deepcopy(content)
    for key, value in WORLDS[world].point(method, content).items():
        *parts, last = key.split(".")
        there: Any = content
        for part in parts:
            there = there[int(part) if isinstance(there, list) else part]
        there[last] = value
    return content


def means(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the means of each rule over the seeds."""
    found = []
    for rule, part in dict.fromkeys((row["rule"], row["short"]) for row in rows if "regret" in row):
        own = [row for row in rows if (row["rule"], row["short"]) == (rule, part) and "regret" in row]
        regret = {name: round(float(np.mean([row["regret"][name] for row in own])), 2) for name in QUOTED}
        share = round(float(np.mean([row["processor_share"] for row in own])), 3)
        seeds = [row["seed"] for row in own]
        found.append({"row": "mean", "rule": rule, "short": part, "seeds": seeds, "regret": regret} | {"share": share})
    return found


def children() -> tuple[float, float]:
    """Return the processor seconds of this process's children, and of those that these waited for."""
    own = waited = 0.0
    for pids in Path("/proc/self/task").glob("*/children"):
        for pid in pids.read_text(encoding="utf-8").split():
            words = Path("/proc", pid, "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            own += sum(map(int, words[11:13])) / os.sysconf("SC_CLK_TCK")
            waited += sum(map(int, words[13:15])) / os.sysconf("SC_CLK_TCK")
    return own, waited


def engine(config: str, trials: int, out: Path, options: Sequence[str]) -> dict[str, Any]:
    """Run tune itself on values of the first key of a config's space; return what it takes beside its runs."""
    key, values = next(iter(default_space(read_yaml(Path(config)), ()).items()))
    grid = ",".join(f"{values[0] * (1 + at / trials):.6g}" for at in range(trials))
    mebibytes, runs = [], 0

    def noted(run: Run) -> None:
        nonlocal runs
        finish_apart(run)
        runs += 1
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        mebibytes.append(next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")))

    before, start = children(), time.process_time()
    with patch.object(tune, "finish_apart", noted):
        code = starft(["tune", f"--config={config}", f"--grid={key}={grid}", f"--out={out}", *QUIET, *options])
    here, after = time.process_time() - start, children()
    own, of_runs = here + after[0] - before[0], after[1] - before[1]
    return {
        **{"row": "engine", "status": code, "trials": trials, "runs": runs},
        **{"own_processor_seconds": round(own, 2), "of_them_imports_to_fork_from": round(after[0] - before[0], 2)},
        **{"processor_seconds_of_runs": round(of_runs, 1), "own_share": round(own / (own + of_runs), 4)},
        "resident_mib": [round(mebibytes[at]) for at in (0, len(mebibytes) // 2, -1)] if mebibytes else [],
    }


def main() -> None:
    """Print all rows."""
    parser = argparse.ArgumentParser(description="Measure the rules of `starft tune`.", allow_abbrev=False)
    parser.add_argument("--config", default="mini/starft")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--world", choices=WORLDS, default="scenes")
    parser.add_argument("--grid", action="append", default=[], help="as tune takes it; else the config's default space")
    parser.add_argument("--short", type=float, default=None, help="as tune takes it; else as tune does without it")
    parser.add_argument("--rules", nargs="+", default=[*RULES])
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/tuning"))
    parser.add_argument("--engine", type=int, default=0, help="measure tune's own share of so many trials instead")
    given, overrides = parser.parse_known_args()
    if given.engine and given.world != "scenes":
        parser.error("--engine runs the config as it is; leave --world out.")
    if given.short is not None and not 0 < given.short <= 1:
        parser.error(f"--short must lie in (0, 1]; got {given.short}.")
    torch.set_num_threads(1)
    config = with_shipped_configs(["tune", "--config", given.config])[2]
    short = [] if given.short is None else [f"--short={given.short}"]
    given.out.mkdir(parents=True, exist_ok=True)
    if given.engine:
        with redirect_stdout(sys.stderr):
            row = engine(config, given.engine, given.out / "engine", [*overrides, *short])
        print(json.dumps(row), flush=True)
        return
    rows: list[dict[str, Any]] = []
    for seed in given.seeds:
        content = on_world(Path(config).stem, dict(read_yaml(Path(config))), given.world) | {"seed_everything": seed}
        own = given.out / f"seed-{seed}.yaml"
        replace_file(own, dump_yaml(content).encode())
        tried = in_order(read_space(given.grid, None) or default_space(content, overrides), content)
        study = Study(own, tried, given.out / f"seed-{seed}", tuple(overrides), given.short)
        with redirect_stdout(sys.stderr):
            study.carry_out("inferred_groups" in given.rules)
            choices = [study.row(rule, part) for rule in given.rules for part in dict.fromkeys((study.part, 1))]
        rows += [{**choice, "seed": seed} for choice in choices]
        for row in ({**study.grid_row(), "seed": seed}, *rows[-len(choices) :]):
            print(json.dumps(row), flush=True)
    for row in means(rows):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
