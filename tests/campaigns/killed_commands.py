"""Commands that are killed, each in a process of its own, and what must be true when they are given again."""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from fakes.processes import forking, hear_signals
from starft.__main__ import main
from starft.clip.finite import tensors_in
from starft.files.digests import check_export
from starft.inference.classifier import load
from starft.runs.checkpoint_files import WholeCheckpointIO
from starft.runs.checkpoints import check_checkpoint, fingerprint
from starft.runs.run_reader import find_runs

SMALL = [f"--data.init_args.{one}" for one in ("train_size=48", "val_size=12", "test_size=12", "batch_size=12")]
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
FIT = ["--trainer.max_epochs=3", "--checkpoint.every_n_train_steps=2"]
DEADLINE = 600
POOL = {
    "schema_version": 1,
    "name": "scenes",
    "description": "scenes",
    "templates": ["{} on a lake", "{} in the snow", "{} in a forest", "{} in the city"],
    "provenance": {"source": "curated", "created": "2026-01-01T00:00:00Z"},
}


def command(verb: str, run: Path, *options: str) -> list[str]:
    return [verb, "--config=mini/starft", f"--trainer.default_root_dir={run}", *SMALL, *QUIET, *options]


def last(run: Path) -> Path:
    return run / "checkpoints" / "last.ckpt"


def work(words: list[str], folder: str, last_change: int | None) -> None:
    """Run a command in a process of its own; count the files that it makes, renames or removes in its folder.

    Args:
        words: The command.
        folder: Of the case; its log and the count lie beside it.
        last_change: The process is killed right before this change; null lets it live.
    """
    hear_signals()
    own, changes = os.getpid(), 0

    def hear(event: str, values: tuple[Any, ...]) -> None:
        nonlocal changes
        if is_change(event, values, folder) and os.getpid() == own:
            changes += 1
            if changes == last_change:
                os.kill(own, signal.SIGKILL)

    with log_of(Path(folder)).open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    sys.addaudithook(hear)
    status = main(words)
    count_of_changes(Path(folder)).write_text(str(changes))
    sys.exit(status)


def log_of(folder: Path) -> Path:
    return folder.with_suffix(".log")


def count_of_changes(folder: Path) -> Path:
    return folder.with_suffix(".changes")


def is_change(event: str, values: tuple[Any, ...], folder: str) -> bool:
    """Return whether what Python is about to do changes the files of a folder."""
    if event == "open":
        path, _, flags = values
        return str(path).startswith(folder) and bool((flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir") and str(values[0]).startswith(folder)


def start(words: Sequence[str], folder: Path, last_change: int | None = None) -> BaseProcess:
    process = forking().Process(target=work, args=(list(words), str(folder), last_change))
    process.start()
    return process


def run_to_its_end(words: Sequence[str], folder: Path) -> tuple[float, int]:
    """Run a command to its end; return its seconds, and how many changes it made."""
    begin = time.monotonic()
    process = start(words, folder)
    process.join(DEADLINE)
    told = log_of(folder).read_text() if log_of(folder).is_file() else ""
    assert process.exitcode == 0, f"{words[0]} ended with {process.exitcode}: {told[-2000:]}"
    assert "Traceback" not in told, told
    return time.monotonic() - begin, int(count_of_changes(folder).read_text())


def kill_after(words: Sequence[str], folder: Path, seconds: float) -> bool:
    """Start a command and kill it after some seconds; return whether that came before its end."""
    process = start(words, folder)
    process.join(seconds)
    process.kill()
    process.join(DEADLINE)
    return process.exitcode == -signal.SIGKILL


def kill_at_change(words: Sequence[str], folder: Path, change: int) -> bool:
    """Start a command and kill it right before it changes a file; return whether it came to that change."""
    process = start(words, folder, change)
    process.join(DEADLINE)
    return process.exitcode == -signal.SIGKILL


class Case:
    """A command that is killed, and what must be true after the same command was given again.

    Args:
        world: With a whole run.
        folder: To work in.
    """

    def __init__(self, world: Path, folder: Path) -> None:
        self.world, self.folder = world, folder
        folder.mkdir()
        self.run = folder / "run"

    def words(self) -> list[str]:
        """The command; after a kill, as a person would give it again."""
        raise NotImplementedError

    def between(self) -> None:
        """Look at what a kill left, and clear away what the sentence of the command asks to."""

    def result(self) -> object:
        """What the command was for."""
        raise NotImplementedError


class Fit(Case):
    def words(self) -> list[str]:
        go_on = [f"--ckpt_path={last(self.run)}"] if last(self.run).is_file() else []
        return command("fit", self.run, *FIT, *go_on)

    def between(self) -> None:
        for path in self.run.glob("checkpoints/*.ckpt"):
            check_checkpoint(path)

    def result(self) -> object:
        checkpoint = WholeCheckpointIO().load_checkpoint(last(self.run))
        moments = dict(tensors_in(checkpoint["optimizer_states"]))
        return fingerprint(checkpoint["state_dict"]), fingerprint(moments), checkpoint["lr_schedulers"]


class Scored(Case):
    def __init__(self, world: Path, folder: Path) -> None:
        super().__init__(world, folder)
        (self.run / "checkpoints").mkdir(parents=True)
        for name in ("manifest.json", "manifest.npz", "config.yaml", "pool.json", "checkpoints/last.ckpt"):
            shutil.copy(world / "run" / name, self.run / name)


class Score(Scored):
    def words(self) -> list[str]:
        return command("test", self.run, f"--ckpt_path={last(self.run)}", "--save_samples=npz")

    def between(self) -> None:
        if (self.run / "results.json").exists():
            assert not find_runs([self.run])[0].problems
            (self.run / "results.json").unlink()

    def result(self) -> object:
        return json.loads((self.run / "results.json").read_bytes())["eval_sets"]


class Predict(Case):
    def words(self) -> list[str]:
        checkpoint, out = last(self.world / "run"), self.folder / "out.csv"
        return [
            "predict",
            str(checkpoint),
            str(self.world / "images"),
            "--out",
            str(out),
            "--batch-size=2",
            "--workers=0",
        ]

    def between(self) -> None:
        out = self.folder / "out.csv"
        if out.exists():
            text = out.read_bytes()
            assert text.endswith(b"\n") or not text, "a torn row"
            out.unlink()

    def result(self) -> object:
        return pd.read_csv(self.folder / "out.csv").round(4).to_dict("list") | {"path": None}


class Export(Case):
    def words(self) -> list[str]:
        return ["export", str(last(self.world / "linear")), "--to", str(self.folder / "out")]

    def between(self) -> None:
        out = self.folder / "out"
        if out.exists():
            load(out, "cpu")
            shutil.rmtree(out)

    def result(self) -> object:
        check_export(self.folder / "out")
        return (self.folder / "out" / "SHA256SUMS").read_text()


class Report(Case):
    def words(self) -> list[str]:
        return ["report", str(self.world / "run"), "--out", str(self.folder / "out.html")]

    def between(self) -> None:
        out = self.folder / "out.html"
        if out.exists():
            assert out.read_text(encoding="utf-8").rstrip().endswith("</html>")

    def result(self) -> object:
        return len((self.folder / "out.html").read_bytes())


class Compare(Case):
    def words(self) -> list[str]:
        options = [*SMALL, *QUIET, "--trainer.max_epochs=2"]
        return ["compare", "--configs=mini/ce,mini/starft", f"--out={self.run}", *options]

    def between(self) -> None:
        for path in self.run.glob("*/seed-0/checkpoints/*.ckpt"):
            check_checkpoint(path)

    def result(self) -> object:
        held = json.loads((self.run / "results.json").read_bytes())["configs"]
        return {name: one["metrics"] for name, one in held.items()}


class Tune(Case):
    def words(self) -> list[str]:
        weights = "--grid=model.regularizers.0.init_args.weight=1,4,16"
        return [
            "tune",
            "--config=mini/starft",
            weights,
            f"--out={self.run}",
            *SMALL,
            *QUIET[:1],
            "--trainer.max_epochs=3",
        ]

    def between(self) -> None:
        for path in self.run.glob("trials/*/*/checkpoints/*.ckpt"):
            check_checkpoint(path)

    def result(self) -> object:
        rows = pd.read_csv(self.run / "trials.csv").drop(columns="seconds")
        assert (self.run / "chosen.yaml").is_file()
        return rows.astype(str).to_dict("list")


class Prompts(Case):
    def words(self) -> list[str]:
        pool = self.folder / "pool.json"
        if not pool.exists():
            pool.write_text(json.dumps(POOL), encoding="utf-8")
        out = ["--top", "2", "--out", str(self.folder / "out.json")]
        return ["prompts", "rank", str(pool), "--config=mini/starft", *out]

    def between(self) -> None:
        out = self.folder / "out.json"
        if out.exists():
            json.loads(out.read_bytes())
        for path in self.folder.glob("out.*"):
            path.unlink()

    def result(self) -> object:
        return json.loads((self.folder / "out.json").read_bytes())["templates"]
