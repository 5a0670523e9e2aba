"""Flipped bytes and kills, by the dozen: nothing damaged passes for whole, nothing is lost. `make test-faults` runs it.

Seeded; ``FAULTS_SEED`` gives another seed, ``FLIPS`` another number of flips than 50 a file, ``KILLS`` another
than 30: as many come at any moment, and at most as many between two changes of files.
"""

import json
import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from campaigns.killed_commands import (
    FIT,
    QUIET,
    SMALL,
    Case,
    Compare,
    Export,
    Fit,
    Predict,
    Prompts,
    Report,
    Score,
    Tune,
    command,
    kill_after,
    kill_at_change,
    last,
    run_to_its_end,
    start,
)
from fakes.own_images import write_jpeg
from starft.__main__ import main
from starft.errors import StarftError
from starft.files.digests import file_digest
from starft.inference.classifier import load
from starft.runs.checkpoint_files import WholeCheckpointIO
from starft.runs.checkpoints import check_checkpoint
from starft.runs.manifest import read_manifest
from starft.runs.run_reader import find_runs

SEED = int(os.environ.get("FAULTS_SEED", "0"))
FLIPS, KILLS = int(os.environ.get("FLIPS", "50")), int(os.environ.get("KILLS", "30"))


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


def by_check(path: Path) -> bool:
    """Whether a checkpoint is refused where training goes on from it, or where it is tested."""
    try:
        check_checkpoint(path, continues=True)
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
    "checkpoint": ("run/checkpoints/last.ckpt", by_check, "run/checkpoints/last.ckpt"),
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


def test_flipped_bytes_in_a_checkpoint_that_is_loaded(world: Path) -> None:
    """An optimizer's state isn't read where a model is loaded: what is flipped there changes no weight."""
    path = last(world / "run")
    expected, whole, refused = load(path, "cpu"), path.read_bytes(), 0
    draw = random.Random(f"{SEED} loaded")
    for _ in range(FLIPS):
        at, bit = draw.randrange(len(whole)), draw.randrange(8)
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        try:
            state = load(path, "cpu").clip.state_dict()
        except StarftError:
            refused += 1
        else:
            assert state.keys() == expected.clip.state_dict().keys()
            assert all(torch.equal(value, expected.clip.state_dict()[key]) for key, value in state.items()), (at, bit)
    path.write_bytes(whole)
    print(f"a checkpoint that is loaded: {FLIPS} flips, {refused} refused, the others change no weight")
    assert 0 < refused < FLIPS


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


SHARES: dict[type[Case], int] = {Fit: 8, Score: 5, Predict: 4, Export: 3, Report: 3, Compare: 3, Prompts: 2, Tune: 2}
"""Kills of each, of 30."""


@pytest.fixture(scope="module")
def undisturbed(
    world: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[type[Case]], tuple[float, int, object]]:
    """Seconds, changes and result of each command when nobody kills it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    known: dict[type[Case], tuple[float, int, object]] = {}

    def made(kind: type[Case]) -> tuple[float, int, object]:
        if kind not in known:
            case = kind(world, folder / kind.__name__)
            start(["--version"], case.folder).join()  # what forks the others has its imports behind it
            seconds, changes = run_to_its_end(case.words(), case.folder)
            known[kind] = (seconds, changes, case.result())
        return known[kind]

    return made


def each() -> Iterator[tuple[type[Case], int]]:
    for kind, share in SHARES.items():
        for number in range(round(share * KILLS / sum(SHARES.values()))):
            yield kind, number


def names(value: object) -> str:
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize(("kind", "number"), tuple(each()), ids=names)
def test_kills_at_any_moment(
    kind: type[Case],
    number: int,
    world: Path,
    undisturbed: Callable[[type[Case]], tuple[float, int, object]],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    seconds, _, expected = undisturbed(kind)
    after = random.Random(f"{SEED} {kind.__name__} {number}").uniform(0.1, 1.0) * seconds
    for attempt in range(8):  # the machine was busier when the command was timed
        case = kind(world, tmp_path / f"case-{attempt}")
        if kill_after(case.words(), case.folder, after):
            break
        after /= 2
    else:
        pytest.fail("no kill came in time")
    check_what_is_left(case, world, expected)
    record_property("check", f"kills of {kind.__name__} at any moment")


@pytest.mark.parametrize(("kind", "number"), tuple(each()), ids=names)
def test_kills_between_two_changes_of_files(
    kind: type[Case],
    number: int,
    world: Path,
    undisturbed: Callable[[type[Case]], tuple[float, int, object]],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    """A moment that is too short for a kill by the clock: a file is open, or not yet renamed."""
    _, changes, expected = undisturbed(kind)
    drawn = random.Random(f"{SEED} {kind.__name__}").sample(range(1, changes + 1), changes)
    if number >= len(drawn):
        pytest.skip("every change had its kill")
    case = kind(world, tmp_path / "case")
    assert kill_at_change(case.words(), case.folder, drawn[number])
    check_what_is_left(case, world, expected)
    record_property("check", f"kills of {kind.__name__} between two changes of files")


def digests(folder: Path) -> dict[str, str]:
    return {str(path): file_digest(path) for path in folder.rglob("*") if path.is_file()}


def check_what_is_left(case: Case, world: Path, expected: object) -> None:
    """Give a killed command again and compare what comes of it; nothing that it reads may have changed."""
    left = sorted(path.relative_to(case.folder).as_posix() for path in case.folder.rglob("*") if path.is_file())
    print(f"{type(case).__name__}: killed; left {', '.join(left) or 'nothing'}")
    before = digests(world)
    case.between()
    run_to_its_end(case.words(), case.folder)
    assert case.result() == expected
    assert not list(case.folder.rglob("*.ckpt.*.tmp")), "what a kill left half-written goes"
    assert digests(world) == before, "what a command only reads stays"
