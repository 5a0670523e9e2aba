"""Flipped bytes and kills, by the dozen: nothing damaged passes for whole, nothing is lost. `make test-faults` runs it.

Seeded; ``FAULTS_SEED`` gives another seed, ``FLIPS`` and ``KILLS`` other numbers (50 a file, 30 in all).
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import pandas as pd
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from fakes.own_images import write_jpeg
from fakes.processes import forking
from starft.__main__ import main
from starft.checkpoints import WholeCheckpointIO, check_checkpoint
from starft.classifier import load
from starft.digests import check_export, read_manifest
from starft.errors import StarftError
from starft.reporting.run_reading import find_runs

SEED = int(os.environ.get("FAULTS_SEED", "0"))
FLIPS, KILLS = int(os.environ.get("FLIPS", "50")), int(os.environ.get("KILLS", "30"))
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


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained and tested, and its exports."""
    folder = tmp_path_factory.mktemp("world")
    run = folder / "run"
    assert main(command("fit", run, *FIT)) == 0
    assert main(command("test", run, f"--ckpt_path={last(run)}", "--save_samples=npz")) == 0
    linear = folder / "linear"
    words = [
        "fit",
        "--config=mini/ce",
        f"--trainer.default_root_dir={linear}",
        *SMALL,
        *QUIET,
        "--trainer.max_epochs=1",
    ]
    assert main(words) == 0
    for form in ("open_clip", "head", "onnx", "hf"):
        assert main(["export", str(last(linear)), "--to", str(folder / form), "--format", form]) == 0
    for number in range(40):
        write_jpeg(folder / "images" / f"{number}.jpg", number)
    return folder


# --- flips ------------------------------------------------------------------------------------------------------------


def by_load(path: Path) -> bool:
    """Whether a checkpoint or an export is refused, in a sentence that says that its bytes changed."""
    try:
        load(path, "cpu")
    except StarftError as error:
        return "isn't as it was written" in str(error) or "isn't as the run wrote it" in str(error)
    return False


def by_report(run: Path) -> bool:
    return any("isn't as the run wrote it" in problem for problem in find_runs([run])[0].problems)


def by_manifest(run: Path) -> bool:
    try:
        return not read_manifest(run)
    except StarftError:
        return True


FILES: dict[str, tuple[str, Callable[[Path], bool], str]] = {
    "checkpoint": ("run/checkpoints/last.ckpt", by_load, "run/checkpoints/last.ckpt"),
    "open_clip": ("open_clip/open_clip_model.safetensors", by_load, "open_clip"),
    "open_clip's head": ("open_clip/head.safetensors", by_load, "open_clip"),
    "open_clip's config": ("open_clip/open_clip_config.json", by_load, "open_clip"),
    "open_clip's classes": ("open_clip/starft.json", by_load, "open_clip"),
    "head": ("head/head.safetensors", by_load, "head"),
    "onnx": ("onnx/model.onnx", by_load, "onnx"),
    "hf": ("hf/model.safetensors", by_load, "hf"),
    "results": ("run/results.json", by_report, "run"),
    "samples": ("run/samples.npz", by_report, "run"),
    "pool": ("run/pool.json", by_report, "run"),
    "config": ("run/config.yaml", by_report, "run"),
    "manifest": ("run/manifest.json", by_manifest, "run"),
}


@pytest.mark.parametrize("name", FILES)
def test_flipped_bytes(name: str, world: Path) -> None:
    file, noticed, given = FILES[name]
    path, silent = world / file, []
    whole = path.read_bytes()
    draw = random.Random(f"{SEED} {name}")
    assert not noticed(world / given), "whole, it is taken"  # head, hf and onnx are refused for another reason
    for _ in range(FLIPS):
        at, bit = draw.randrange(len(whole)), draw.randrange(8)
        with path.open("r+b") as opened:
            opened.seek(at)
            opened.write(bytes([whole[at] ^ 1 << bit]))
        if not noticed(world / given) and not (name == "manifest" and same_json(path, whole)):
            silent.append((at, bit))
        with path.open("r+b") as opened:
            opened.seek(at)
            opened.write(whole[at : at + 1])
    print(f"{name}: {FLIPS} flips, {len(silent)} silent")
    assert silent == []


def same_json(path: Path, whole: bytes) -> bool:
    """A space between two values that became another space."""
    return bool(json.loads(path.read_bytes()) == json.loads(whole))


def test_flipped_bytes_in_a_checkpoint_alone(world: Path, tmp_path: Path) -> None:
    """Without a manifest nearby only what is read counts."""
    path = tmp_path / "alone" / "mine.ckpt"
    path.parent.mkdir()
    shutil.copy(last(world / "run"), path)
    expected = WholeCheckpointIO().load_checkpoint(path)["state_dict"]
    draw, size, refused = random.Random(f"{SEED} alone"), path.stat().st_size, 0
    for _ in range(FLIPS):
        at, bit = draw.randrange(size), draw.randrange(8)
        with path.open("r+b") as opened:
            opened.seek(at)
            byte = opened.read(1)
            opened.seek(at)
            opened.write(bytes([byte[0] ^ 1 << bit]))
        try:
            check_checkpoint(path)
        except StarftError:
            refused += 1
        else:
            state = WholeCheckpointIO().load_checkpoint(path)["state_dict"]
            assert all(torch.equal(value, expected[key]) for key, value in state.items()), f"byte {at}, bit {bit}"
        with path.open("r+b") as opened:
            opened.seek(at)
            opened.write(byte)
    print(f"a checkpoint alone: {FLIPS} flips, {refused} refused, the others change nothing that is read")


# --- kills ------------------------------------------------------------------------------------------------------------


def work(words: list[str], log: str) -> None:
    with Path(log).open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        torch.set_num_threads(1)
        sys.exit(main(words))


def start(words: Sequence[str], log: Path) -> BaseProcess:
    process = forking().Process(target=work, args=(list(words), str(log)))
    process.start()
    return process


def whole(words: Sequence[str], log: Path) -> float:
    """Run a command to its end; return its seconds."""
    begin = time.monotonic()
    process = start(words, log)
    process.join(DEADLINE)
    told = log.read_text() if log.is_file() else ""
    assert process.exitcode == 0, f"{words[0]} ended with {process.exitcode}: {told[-2000:]}"
    assert "Traceback" not in told, told
    return time.monotonic() - begin


def killed(words: Sequence[str], log: Path, after: float) -> bool:
    """Start a command and kill it; return whether it came too late."""
    process = start(words, log)
    process.join(after)
    late = process.exitcode is not None
    if process.pid is not None and not late:
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return late


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
        state = WholeCheckpointIO().load_checkpoint(last(self.run))["state_dict"]
        return {key: value.double().sum().item() for key, value in state.items()}


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


SHARES: dict[type[Case], int] = {Fit: 9, Score: 5, Predict: 4, Export: 4, Report: 3, Compare: 3, Prompts: 2}
"""Kills of each, of 30."""


@pytest.fixture(scope="module")
def undisturbed(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[type[Case]], tuple[float, object]]:
    """Seconds and result of each command when nobody kills it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    known: dict[type[Case], tuple[float, object]] = {}

    def made(kind: type[Case]) -> tuple[float, object]:
        if kind not in known:
            case = kind(world, folder / kind.__name__)
            start(["--version"], case.folder / "log").join()  # what forks the others has its imports behind it
            seconds = whole(case.words(), case.folder / "log")
            known[kind] = (seconds, case.result())
        return known[kind]

    return made


def each() -> Iterator[tuple[type[Case], int]]:
    for kind, share in SHARES.items():
        for number in range(round(share * KILLS / sum(SHARES.values()))):
            yield kind, number


@pytest.mark.parametrize(("kind", "number"), tuple(each()), ids=lambda value: getattr(value, "__name__", str(value)))
def test_kills(
    kind: type[Case],
    number: int,
    world: Path,
    undisturbed: Callable[[type[Case]], tuple[float, object]],
    tmp_path: Path,
) -> None:
    seconds, expected = undisturbed(kind)
    after = random.Random(f"{SEED} {kind.__name__} {number}").uniform(0.2, 1.0) * seconds
    for attempt in range(8):  # the machine was busier when the command was timed
        case = kind(world, tmp_path / f"case-{attempt}")
        if not killed(case.words(), case.folder / "log", after):
            break
        after /= 2
    else:
        pytest.fail("no kill came in time")
    left = sorted(path.name for path in case.folder.rglob("*.tmp"))
    case.between()
    whole(case.words(), case.folder / "log")
    assert case.result() == expected
    stale = list(case.run.rglob("*.ckpt.*.tmp")) if kind in (Fit, Compare) else []
    assert stale == [], "what a kill left half-written goes"
    print(f"{kind.__name__}: killed after {after:.1f} of {seconds:.1f} s; left {left}")
