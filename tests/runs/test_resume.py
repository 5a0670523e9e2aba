"""A run that was stopped and continued ends where one that wasn't stopped ends, to the last bit."""

import json
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from fakes.processes import command
from starft.__main__ import main
from starft.runs.layout import UNFINISHED
from starft.training.stopping import StopSafely

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SHORT = {"size": 24, "epochs": 2}
"""Four steps an epoch, for runs that are stopped at a chosen step."""
LONG = {"size": 120, "epochs": 1}
"""Thirty steps, for runs that are hit from outside."""


def words(config: str, folder: Path, size: int, epochs: int, *options: str) -> list[str]:
    return [
        "fit",
        f"--config={ROOT / 'lightning_configs' / 'mini' / config}.yaml",
        f"--data.init_args.train_size={size}",
        "--data.init_args.val_size=12",
        "--data.init_args.batch_size=6",
        f"--trainer.max_epochs={epochs}",
        "--trainer.check_val_every_n_epoch=1",
        "--trainer.log_every_n_steps=1",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
        f"--trainer.default_root_dir={folder}",
        *options,
    ]


def last(folder: Path) -> Path:
    return folder / "checkpoints" / "last.ckpt"


def final_state(folder: Path) -> dict[str, Any]:
    """What training is made of: weights, optimizer, schedule, step; not names of files and times."""
    checkpoint = torch.load(last(folder), weights_only=True)
    return {key: checkpoint[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step", "epoch")}


def differences(one: object, other: object, at: str = "") -> list[str]:
    """Where two nested states differ, to the last bit."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return [] if torch.equal(one, other) else [at]
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return [f"{at}: {sorted(map(str, one.keys() ^ other.keys()))}"]
        return [found for key in one for found in differences(one[key], other[key], f"{at}/{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [found for number, pair in pairs for found in differences(*pair, f"{at}/{number}")]
    return [] if one == other else [f"{at}: {one} != {other}"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of a run that was never stopped, made when first asked for."""
    made: dict[tuple[str, int, int], Path] = {}

    def run(config: str, size: int, epochs: int) -> Path:
        key = (config, size, epochs)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("whole") / "run"
            assert main(words(config, made[key], size, epochs)) == 0
        return made[key]

    return run


# Stopped at a chosen step, in this process


FOLLOWED = {"tracer": "weighted_average"}
"""Config -> its teacher that follows the student."""


@pytest.mark.parametrize(("config", "stop"), [("starft", 2), ("starft_ce", 4), ("tracer", 5)])
def test_stopped_at_a_step(
    config: str,
    stop: int,
    whole: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In the middle, at the end and at the start of an epoch."""
    run = tmp_path / "run"
    on_train_batch_end = StopSafely.on_train_batch_end

    def signalled(self: StopSafely, trainer: Any, *args: Any) -> None:
        if trainer.global_step == stop:
            signal.raise_signal(signal.SIGTERM)
        on_train_batch_end(self, trainer, *args)

    with monkeypatch.context() as patch:
        patch.setattr(StopSafely, "on_train_batch_end", signalled)
        assert main(words(config, run, **SHORT)) == 143
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"starft: Stopped after step {stop}; continue with the same command and --ckpt_path {last(run)}."
    )
    assert torch.load(last(run), weights_only=True)["global_step"] == stop
    assert json.loads((run / UNFINISHED).read_text(encoding="utf-8")) == {"step": stop, "steps": 8}
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "the process takes signals as before"
    first = (run / "logs" / "version_0" / "metrics.csv").read_bytes()

    assert main([*words(config, run, **SHORT), f"--ckpt_path={last(run)}"]) == 0
    assert not (run / UNFINISHED).exists()
    assert (run / "logs" / "version_0" / "metrics.csv").read_bytes() == first
    reference = whole(config, **SHORT)
    assert losses(run) == losses(reference)
    assert len(losses(run)) == 8
    ended, expected = final_state(run), final_state(reference)
    assert expected["global_step"] == 8
    assert ("linear_head" in expected["state_dict"]) == (config == "starft_ce")
    teachers = {key.split(".")[1] for key in expected["state_dict"] if key.startswith("teachers.")}
    assert teachers == ({FOLLOWED[config]} if config in FOLLOWED else set()), "teachers are compared"
    assert len(expected["optimizer_states"][0]["state"]) > 50, "the optimizer's moments are compared"
    assert differences(ended, expected) == []
    best, best_expected = (torch.load(f / "checkpoints" / "best.ckpt", weights_only=True) for f in (run, reference))
    assert differences(best["state_dict"], best_expected["state_dict"]) == []
    assert best["global_step"] == best_expected["global_step"]
    assert yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))["ckpt_path"] is None


def losses(folder: Path) -> dict[int, str]:
    """Step -> loss, over all parts of a run."""
    found = {}
    for path in sorted(folder.glob("logs/*/metrics.csv")):
        head, *rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()]
        step, loss = head.index("step"), head.index("train/loss")
        found |= {int(row[step]): row[loss] for row in rows if row[loss]}
    return found


def test_a_run_continued_with_other_settings_keeps_both_configs(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(words("starft_ce", run, size=12, epochs=1)) == 0
    before = (run / "config.yaml").read_bytes()
    assert main([*words("starft_ce", run, size=12, epochs=2), f"--ckpt_path={last(run)}"]) == 0
    assert (run / "config.yaml").read_bytes() == before
    assert yaml.safe_load((run / "config-2.yaml").read_text(encoding="utf-8"))["trainer"]["max_epochs"] == 2
    assert final_state(run)["global_step"] == 4


# Hit from outside, in a process of its own


def wait_for(path: Path, process: BaseProcess) -> None:
    deadline = time.monotonic() + 240
    while not path.exists():
        assert process.exitcode is None, "it ended before"
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)], ids=["sigterm", "kill-9"])
def test_hit_in_the_middle_of_an_epoch(
    number: signal.Signals, status: int, whole: Callable[..., Path], tmp_path: Path
) -> None:
    config = "starft_ce"
    run, complaints = tmp_path / "run", tmp_path / "complaints.txt"
    process = command([*words(config, run, **LONG), "--checkpoint.every_n_train_steps=3"], complaints)
    try:
        wait_for(last(run), process)
        assert process.pid is not None
        os.kill(process.pid, number)
        process.join(120)
    finally:
        process.kill()
    assert process.exitcode == status
    told = complaints.read_text(encoding="utf-8")
    reached = torch.load(last(run), weights_only=True)["global_step"]
    assert 3 <= reached < 20, "hit too late to be in the middle of an epoch"
    assert (run / "config.yaml").is_file()
    if status > 0:
        assert told.splitlines()[-1] == (
            f"starft: Stopped after step {reached}; continue with the same command and --ckpt_path {last(run)}."
        )
        assert "Traceback" not in told
        assert (run / "logs" / "version_0" / "metrics.csv").is_file()
    else:
        assert reached % 3 == 0

    assert main([*words(config, run, **LONG), f"--ckpt_path={last(run)}"]) == 0
    reference = whole(config, **LONG)
    assert final_state(reference)["global_step"] == 20
    assert differences(final_state(run), final_state(reference)) == []
    assert (run / "checkpoints" / "best.ckpt").is_file()
