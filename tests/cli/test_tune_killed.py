"""Real processes: a search that is killed outright goes on to the same choice, and two at once share its trials."""

import csv
import os
import random
import re
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch

from fakes.processes import forking, hear_signals
from fakes.tuned import GRID, WEIGHT, FakeTrials
from starft.__main__ import main
from starft.cli import tune

pytestmark = pytest.mark.slow

CAMPAIGN = "KILLS" in os.environ
"""`make test-faults` kills searches that train, each run in a process of its own; here runs are sleeps."""
KILLS = 10
SIZES = [f"--data.init_args.{one}" for one in ("train_size=48", "val_size=12", "test_size=12", "batch_size=12")]
TRAINER = ["--trainer.max_epochs=3", "--checkpoint.every_n_train_steps=2", "--trainer.enable_progress_bar=false"]
TRAINED = [f"--grid={WEIGHT}=1,4,16", "--short=0.25", *SIZES, *TRAINER]
RUNS = 3 + 2 if CAMPAIGN else 6 + 2
"""Short ones, and two in full."""

DEADLINE = 1200
"""Seconds of a search on a machine that does much beside."""

Start = Callable[[Path], BaseProcess]
Result = list[dict[str, Any]]


def search(folder: str, log: str) -> None:
    """What the process does: the search, and its output goes into a file."""
    hear_signals()
    os.chdir(folder)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for output in (1, 2):
        os.dup2(file, output)
    torch.set_num_threads(1)
    if not CAMPAIGN:
        vars(tune).update(finish_apart=FakeTrials(pause=0.05), check_run=lambda words: None)
    sys.exit(main(["tune", "--config=mini/starft", "--out=out", *(TRAINED if CAMPAIGN else GRID)]))


@pytest.fixture(scope="module")
def start() -> Start:
    """Start a search in a folder; return it when it has its imports behind it."""
    numbers = iter(range(1000))

    def started(folder: Path) -> BaseProcess:
        folder.mkdir(exist_ok=True)
        log = folder.parent / f"{folder.name}-{next(numbers)}.log"
        process = forking().Process(target=search, args=(str(folder), str(log)))
        process.start()
        while process.is_alive() and not log.exists():
            time.sleep(0.01)
        return process

    return started


@pytest.fixture(scope="module")
def undisturbed(start: Start, tmp_path_factory: pytest.TempPathFactory) -> tuple[float, Result]:
    """Seconds and result of the search when nobody kills it."""
    folder = tmp_path_factory.mktemp("undisturbed") / "search"
    process, begin = start(folder), time.monotonic()
    process.join(DEADLINE)
    assert process.exitcode == 0, "\n".join(log.read_text() for log in folder.parent.glob("*.log"))
    return time.monotonic() - begin, result(folder)


def result(folder: Path) -> Result:
    """What was tried and what is chosen; only seconds may differ."""
    with (folder / "out" / "trials.csv").open(encoding="utf-8", newline="") as file:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]


def done(folder: Path) -> dict[str, tuple[int, int]]:
    """The finished runs; a file that is written again has another inode."""
    found = {path: path.stat() for path in folder.glob("out/trials/*/*/validation.json")}
    return {str(path): (stat.st_ino, stat.st_mtime_ns) for path, stat in found.items()}


def test_a_search_that_is_killed_chooses_the_same_and_runs_no_finished_trial_again(
    start: Start, undisturbed: tuple[float, Result], tmp_path: Path
) -> None:
    seconds, expected = undisturbed
    draw = random.Random(int(os.environ.get("FAULTS_SEED", "0")))
    kills, searches = 0, 0
    while kills < KILLS:
        searches += 1
        folder, process, before = tmp_path / f"search-{searches}", None, {}
        while process is None or process.exitcode != 0:
            process = start(folder)
            process.join(draw.uniform(0.1, 0.9) * seconds if kills < KILLS else DEADLINE)
            if process.is_alive():
                process.kill()
                process.join(DEADLINE)
                kills += 1
            after = done(folder)
            assert before.items() <= after.items(), "a finished run was made again"
            before = after
            assert process.exitcode in (0, -9), "\n".join(log.read_text() for log in tmp_path.glob("*.log"))
        assert result(folder) == expected
        assert len(before) == RUNS
    print(f"{kills} kills of {searches} searches")


@pytest.mark.parametrize("kill", [False, True], ids=["two", "one is killed"])
def test_two_processes_share_the_trials(
    kill: bool, start: Start, undisturbed: tuple[float, Result], tmp_path: Path
) -> None:
    seconds, expected = undisturbed
    folder = tmp_path / "shared"
    first, second = start(folder), start(folder)
    if kill:
        first.join(0.4 * seconds)
        first.kill()
    first.join(DEADLINE)
    second.join(DEADLINE)
    logs = [path.read_text() for path in sorted(tmp_path.glob("*.log"))]
    assert (first.exitcode, second.exitcode) in ((0, 0), (-9, 0)), "\n".join(logs)
    assert result(folder) == expected
    made = re.findall(r"^\d/\d (short|full) +(trial \d)", "\n".join(logs), re.M)
    assert len({*made}) == RUNS
    assert kill or len(made) == RUNS, "none was made twice"
