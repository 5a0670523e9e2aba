"""What a run stands on: whatever changes is named, whatever is damaged is refused, and a mere copy is neither."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from starft.__main__ import main
from starft.data.facts import SAMPLED, TableFacts, changes, facts_of, load_facts, others, save_facts
from starft.data.source import ImageTable
from starft.errors import RunFolderError, WeightsError
from starft.files.digests import SUMS, check_export, checked_meanwhile, checked_on_error, write_sums
from starft.inference.classifier import load
from starft.losses import CrossEntropy
from starft.runs.checkpoint_files import WholeCheckpointIO
from starft.runs.checkpoints import CheckpointFacts, check_checkpoint, opened_checkpoint
from starft.runs.layout import MANIFEST, UNFINISHED
from starft.runs.manifest import (
    check_listed,
    file_problem,
    list_digest,
    listed_states,
    read_manifest,
    replace_listed_file,
    write_manifest,
)
from starft.runs.manifest_callback import basis_changes, check_run_files, write_basis
from starft.runs.results import read_results
from starft.training.module import FinetuneModule

Sets = dict[str, TableFacts]


def tables(root: Path) -> dict[str, ImageTable]:
    """Twelve images in three splits, each file as long as the others."""
    for number in range(12):
        (root / f"{number:02}.jpg").write_bytes(b"%02d" % number + bytes(98))
    cuts = {"train": range(6), "val/id": range(6, 8), "test/id": range(8, 12)}
    return {
        name: ImageTable(
            root,
            tuple(f"{n:02}.jpg" for n in numbers),
            np.array([n % 2 for n in numbers]),
            np.array([0 for _ in numbers]),
        )
        for name, numbers in cuts.items()
    }


def look(given: dict[str, ImageTable]) -> Sets:
    return {name: facts_of(table) for name, table in given.items()}


def rewritten(path: Path, content: bytes) -> None:
    """Replace a file, with a time of its own whatever the clock's steps are."""
    before = path.stat().st_mtime_ns
    path.write_bytes(content)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def longer(root: Path, given: dict[str, ImageTable]) -> None:
    rewritten(root / "03.jpg", b"longer" * 99)
    rewritten(root / "09.jpg", b"longer" * 99)


def of_the_same_size(root: Path, given: dict[str, ImageTable]) -> None:
    rewritten(root / "03.jpg", bytes(100))


def with_the_time_kept(root: Path, given: dict[str, ImageTable]) -> None:
    """As ``cp -p`` and ``rsync -a`` do, or an archive whose files all have one time."""
    before = (root / "03.jpg").stat()
    (root / "03.jpg").write_bytes(bytes(100))
    os.utime(root / "03.jpg", ns=(before.st_atime_ns, before.st_mtime_ns))


def reordered(root: Path, given: dict[str, ImageTable]) -> None:
    given["train"] = given["train"].take(np.arange(6)[::-1])


def relabelled(root: Path, given: dict[str, ImageTable]) -> None:
    given["train"].labels[:2] = 1 - given["train"].labels[:2]


def regrouped(root: Path, given: dict[str, ImageTable]) -> None:
    groups = given["test/id"].groups
    assert groups is not None
    groups[1] = 1


def exchanged(root: Path, given: dict[str, ImageTable]) -> None:
    given["train"], given["test/id"] = given["test/id"], given["train"]


def fewer(root: Path, given: dict[str, ImageTable]) -> None:
    given["train"] = given["train"].take(np.arange(3))


def trained_on_a_test_image(root: Path, given: dict[str, ImageTable]) -> None:
    given["train"] = ImageTable(
        root, (*given["train"].paths, "11.jpg"), np.array([0, 1, 0, 1, 0, 1, 1]), np.zeros(7, int)
    )
    given["test/id"] = given["test/id"].take(np.arange(3))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (longer, ["2 of 12 images changed, first 03.jpg"]),
        (of_the_same_size, ["1 of 12 images changed, first 03.jpg"]),
        (with_the_time_kept, ["1 of 12 images changed, first 03.jpg"]),
        (reordered, ["rows of train were reordered"]),
        (relabelled, ["labels of 2 images changed, first 00.jpg"]),
        (regrouped, ["groups of 1 image changed, first 09.jpg"]),
        (
            exchanged,
            ["train and test/id images are exchanged: 6 of train are in test/id now, first 00.jpg, "
             "and 4 of test/id in train"],
        ),
        (fewer, ["3 of 12 images are gone, first 03.jpg"]),
        (trained_on_a_test_image, ["1 image of test/id is in train now, first 11.jpg"]),
    ],
)  # fmt: skip
def test_what_changed_among_the_images_is_named(
    change: Callable[[Path, dict[str, ImageTable]], None], named: list[str], tmp_path: Path
) -> None:
    given = tables(tmp_path)
    before = look(given)
    change(tmp_path, given)
    now = look(given)
    assert any(before[name].digest() != now[name].digest() for name in before), "or nobody looks further"
    assert changes(before, now).other == tuple(named)


def test_a_copy_of_the_data_is_no_change(tmp_path: Path) -> None:
    """Another root, other times; the same paths and contents."""
    (tmp_path / "a").mkdir()
    before = look(tables(tmp_path / "a"))
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copyfile)
    for path in (tmp_path / "b").iterdir():
        os.utime(path, ns=(1, 1))
    moved = {
        name: ImageTable(tmp_path / "b", facts.paths, facts.labels, facts.groups) for name, facts in before.items()
    }
    found = changes(before, look(moved))
    assert (found.other, found.notes) == ((), ())


def test_what_is_unsure_in_a_large_set_is_told(tmp_path: Path) -> None:
    count = SAMPLED + 2
    for number in range(count):
        (tmp_path / str(number)).write_bytes(b"x")
    table = ImageTable(tmp_path, tuple(map(str, range(count))), np.zeros(count, int))
    before = {"train": facts_of(table)}
    for number in range(count):
        os.utime(tmp_path / str(number), ns=(1, 1))
    found = changes(before, {"train": facts_of(table)})
    assert found.other == ()
    assert found.notes == (
        "2 images have another time of change and the same size as before, as copies have; "
        f"{SAMPLED} others of that kind were looked into",
    )


def test_another_test_set_of_the_same_name_is_told_from_a_changed_one(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    before, same = look(tables(tmp_path / "a")), look(tables(tmp_path / "b"))
    (tmp_path / "c" / "new.jpg").write_bytes(b"x")
    new = {"test/id": facts_of(ImageTable(tmp_path / "c", ("new.jpg",), np.array([0])))}
    assert others(before, new) == ["test/id"]
    assert others(before, same) == []


def test_images_of_the_training_set_in_a_test_set_are_named(tmp_path: Path) -> None:
    given = tables(tmp_path)
    before = look(given)
    found = changes(before, {"test/id": facts_of(given["train"])})
    assert found.other == (
        "6 images of train are in test/id now, first 00.jpg",
        "4 of 4 images are gone from test/id, first 08.jpg",
    )


def test_facts_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    given = tables(tmp_path)
    given["odd"] = ImageTable(tmp_path, (os.fsdecode(b"\xff.jpg"), "pack#0", "pack#1"), np.arange(3), packed=True)
    given["none"] = ImageTable(tmp_path, (), np.zeros(0, dtype=np.int64))
    facts = look(given)
    save_facts(tmp_path / "facts.npz", facts)
    again = load_facts(tmp_path / "facts.npz")
    assert {name: one.digest() for name, one in again.items()} == {name: one.digest() for name, one in facts.items()}
    assert again["odd"].files == facts["odd"].files
    (tmp_path / "facts.npz").write_bytes(b"PK")
    assert load_facts(tmp_path / "facts.npz") == {}


def basis(**given: Any) -> dict[str, Any]:
    pool = {"name": "backgrounds", "sha256": "a", "templates": 55}
    captions = {"val/id": {"class names": "c", "templates": "t"}}
    whole = {"versions": {"torch": "2.6"}, "weights": "w", "pretrained": "mini", "pool": pool, "drawn_by": {"seed": 0}}
    return whole | {"captions": captions} | given


@pytest.mark.parametrize(
    ("now", "named"),
    [
        (basis(), []),
        (basis(weights="v"), ["the pre-trained weights are others than those it began with"]),
        (
            basis(weights="v", pretrained="a.pt"),
            ["the pre-trained weights are others than those it began with (mini, and now a.pt)"],
        ),
        (
            basis(pool={"name": "backgrounds", "sha256": "b", "templates": 54}),
            ["pool backgrounds was edited (55 templates then, 54 now)"],
        ),
        (
            basis(pool={"name": "other", "sha256": "b", "templates": 9}),
            ["pool backgrounds is now other (55 templates then, 9 now)"],
        ),
        (basis(drawn_by={"seed": 1}), ["the images are drawn by seed 1, not 0"]),
        (
            basis(captions={"val/id": {"class names": "c", "templates": "u"}, "test/new": {"class names": "d"}}),
            ["templates of val/id are others"],
        ),
    ],
)
def test_what_changed_beside_the_images_is_named(now: dict[str, Any], named: list[str]) -> None:
    assert list(basis_changes(basis(), now, fits=True).other) == named


def test_another_version_is_told_and_no_more() -> None:
    found = basis_changes(basis(), basis(versions={"torch": "2.7"}), fits=True)
    assert (found.other, found.notes) == ((), ("torch was 2.6 and is 2.7",))


# --- digests of files -------------------------------------------------------------------------------------------------


def flip(path: Path, at: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


def a_run(folder: Path) -> Path:
    """A run folder with a manifest that lists a config."""
    folder.mkdir()
    (folder / "config.yaml").write_text("model: {lr: 1}\n", encoding="utf-8")
    write_manifest(folder, {"versions": {}})
    replace_listed_file(folder / "config.yaml", b"model: {lr: 1}\n")
    return folder


def test_a_folder_of_checkpoints_may_be_a_link_to_another_disk(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    (tmp_path / "disk").mkdir()
    (run / "checkpoints").symlink_to(tmp_path / "disk")
    path = run / "checkpoints" / "last.ckpt"
    for weights in ({"a": 1}, {"a": 2}):  # Lightning asks for the real path
        WholeCheckpointIO(run).save_checkpoint(weights, tmp_path / "disk" / "last.ckpt")
    assert len(read_manifest(run)["files"]["checkpoints/last.ckpt"]) == 2
    assert file_problem(path) == ""
    (tmp_path / "disk" / "last.ckpt").write_bytes(b"others")
    assert "isn't as the run wrote it" in file_problem(path)


@pytest.mark.parametrize("change", ["edited", "flipped", "gone"])
def test_a_config_that_is_not_the_runs_is_noticed(
    change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = a_run(tmp_path / "run")
    check_run_files(run / "checkpoints" / "last.ckpt", fits=True)
    if change == "edited":
        (run / "config.yaml").write_text("model: {lr: 2}\n", encoding="utf-8")
    elif change == "flipped":
        flip(run / "config.yaml", 3)
    else:
        (run / "config.yaml").unlink()
    with pytest.raises(RunFolderError, match=r"config\.yaml is(n't as the run wrote it| missing)"):
        check_run_files(run / "checkpoints" / "last.ckpt", fits=True)
    check_run_files(run / "checkpoints" / "last.ckpt", fits=False)
    assert "config.yaml is" in capsys.readouterr().err


def test_a_file_and_its_digest_are_never_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill between the two leaves the old file, which is known."""
    run = a_run(tmp_path / "run")
    before = (run / "config.yaml").read_bytes()
    list_digest(run, run / "config.yaml", "0" * 64)
    assert file_problem(run / "config.yaml") == ""
    assert (run / "config.yaml").read_bytes() == before
    replace_listed_file(run / "config.yaml", b"new")
    assert file_problem(run / "config.yaml") == ""
    (run / "config.yaml").unlink()
    replace_listed_file(run / "other.yaml", b"")
    assert list(read_manifest(run)["files"]) == ["other.yaml"], "what is gone is left out"


def test_every_flip_in_a_manifest_is_noticed(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    whole = (run / MANIFEST).read_bytes()
    for at in range(0, len(whole), 5):
        flip(run / MANIFEST, at, at % 8)
        try:
            read_manifest(run)
        except RunFolderError:
            continue
        finally:
            flipped = (run / MANIFEST).read_bytes()
            (run / MANIFEST).write_bytes(whole)
        assert json.loads(flipped) == json.loads(whole), f"byte {at}"  # a space that nobody reads


@pytest.fixture(scope="module")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One as runs write them, of a kilobyte of weights."""
    import torch  # noqa: PLC0415

    path = tmp_path_factory.mktemp("small") / "checkpoints" / "last.ckpt"
    facts = {"model_name": "m", "head": "text", "class_names": ["a", "b"], "templates": ["{}"], "twin": "t"}
    generator = torch.Generator().manual_seed(0)
    moments = [{"state": {0: {"exp_avg": torch.rand(256, generator=generator)}}}]
    state = {"w": torch.rand(256, generator=generator)}
    checkpoint = {"state_dict": state, "starft": facts, "optimizer_states": moments}
    WholeCheckpointIO().save_checkpoint(checkpoint, path)
    return path


def read_whole(path: Path) -> tuple[CheckpointFacts, dict[str, Any]]:
    facts = check_checkpoint(path)
    return facts, WholeCheckpointIO().load_checkpoint(path)["state_dict"]


def read_weights(path: Path) -> tuple[CheckpointFacts, dict[str, Any]]:
    """As `load` does; the file is rewritten next, so nothing of it may stay mapped."""
    with opened_checkpoint(path) as (facts, state):
        return facts, {name: values.clone() for name, values in state.items()}


@pytest.mark.slow
@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("read", [read_whole, read_weights])
def test_flipped_bytes_in_a_checkpoint_are_refused(
    listed: bool, read: Callable[[Path], Any], small_checkpoint: Path, tmp_path: Path
) -> None:
    """Beside a manifest each one is that is read, a third where weights alone are; else each that changes what is."""
    path = tmp_path / "checkpoints" / "last.ckpt"
    shutil.copytree(small_checkpoint.parent, path.parent)
    if listed:
        write_manifest(tmp_path, {})
        WholeCheckpointIO(tmp_path).save_checkpoint(WholeCheckpointIO().load_checkpoint(small_checkpoint), path)
    whole = path.read_bytes()
    facts, state = read(path)
    draw, refusals, passed = random.Random(0), [], 0
    for _ in range(200):
        at, bit = draw.randrange(len(whole)), draw.randrange(8)
        flip(path, at, bit)
        try:
            now = read(path)
        except WeightsError as error:
            refusals.append(str(error))
        else:
            passed += 1
            assert now[1]["w"].equal(state["w"]), f"byte {at}, bit {bit}"
            assert now[0] == facts, f"byte {at}, bit {bit}"
        path.write_bytes(whole)
    assert (passed == 0) == (listed and read is read_whole)
    assert not listed or all(f"{path} isn't as the run wrote it" in refusal for refusal in refusals)


def test_the_digests_of_weights_go_with_those_of_their_files(tmp_path: Path) -> None:
    """What a model is loaded from has one of its own; a file that came without one is hashed whole."""
    run = a_run(tmp_path / "run")
    path = run / "checkpoints" / "last.ckpt"
    states = []
    for number in range(3):
        WholeCheckpointIO(run).save_checkpoint({"state_dict": {}, "starft": {"model_name": f"m{number}"}}, path)
        states.append(listed_states(path)[0])
    assert listed_states(path) == states[:0:-1], "the last one, and the one before"
    write_basis(run, {"versions": {}}, {})
    assert listed_states(path) == states[:0:-1], "a run that goes on knows them too"
    assert len(read_manifest(run)["states"]) == 2
    replace_listed_file(path, b"of somebody else's")
    assert listed_states(path) == []
    assert listed_states(run / "config.yaml") == []


def test_what_is_damaged_is_told_before_what_came_of_it(tmp_path: Path) -> None:
    def damaged(path: Path) -> None:
        raise WeightsError(f"{path} is damaged")

    for checked in (checked_meanwhile, checked_on_error):
        with pytest.raises(WeightsError, match="is damaged"), checked(damaged, tmp_path):
            raise KeyError("w")
        with pytest.raises(KeyError), checked(lambda path: None, tmp_path):
            raise KeyError("w")
    with pytest.raises(WeightsError, match="is damaged"), checked_meanwhile(damaged, tmp_path):
        pass


def test_the_checkpoint_before_the_last_one_may_be_brought_back(small_checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    path.parent.mkdir()
    write_manifest(tmp_path, {})
    replace_listed_file(path, small_checkpoint.read_bytes())
    replace_listed_file(path, b"a later one")
    shutil.copy(small_checkpoint, path)
    assert check_listed(path)


def test_a_training_does_not_start_from_weights_that_are_not_as_their_run_wrote_them(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "weights.pt"
    path.parent.mkdir()
    write_manifest(tmp_path, {})
    replace_listed_file(path, b"weights")
    path.write_bytes(b"others")
    with pytest.raises(WeightsError, match=r"weights\.pt isn't as the run wrote it.*goes into a folder of its own"):
        FinetuneModule(CrossEntropy(), "starft-mini", pretrained=str(path))


def test_a_damaged_result_is_told(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    replace_listed_file(run / "results.json", b'{"eval_sets": {}}')
    read_results(run / "results.json")
    (run / "results.json").write_bytes(b'{"eval_sets": {} }')
    with pytest.raises(
        ValueError, match=r"results\.json isn't as the run wrote it: its SHA-256 isn't the one in manifest"
    ):
        read_results(run / "results.json")


@pytest.mark.parametrize("change", ["flip", "gone", "sums", "empty"])
def test_an_export_that_is_not_as_it_was_written_is_refused(change: str, tmp_path: Path) -> None:
    (tmp_path / "open_clip_model.safetensors").write_bytes(bytes(99))
    (tmp_path / "starft.json").write_text("{}", encoding="utf-8")
    (tmp_path / "README.md").write_text("card", encoding="utf-8")
    write_sums(tmp_path)
    (tmp_path / "README.md").write_text("a card may be edited", encoding="utf-8")
    check_export(tmp_path)
    if change == "flip":
        flip(tmp_path / "open_clip_model.safetensors", 9)
    elif change == "gone":
        (tmp_path / "starft.json").unlink()
    elif change == "sums":
        flip(tmp_path / SUMS, 9)
    else:
        (tmp_path / SUMS).write_text("", encoding="utf-8")
    with pytest.raises(WeightsError, match=r"The export .* is damaged: .*write it again with `starft export`"):
        load(tmp_path)
    with pytest.raises(WeightsError, match="is damaged"):
        check_export(tmp_path)


# --- runs -------------------------------------------------------------------------------------------------------------

SMALL = [f"--data.init_args.{one}" for one in ("train_size=24", "val_size=12", "test_size=12", "batch_size=12")]
SMALL += ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]


DRAWN_BY = {"task": "species", "shortcut": "scene", "home_share": 0.95, "train_size": 24, "val_size": 12, "seed": 0}


@pytest.mark.slow
def test_a_run_keeps_its_manifest_true_and_goes_on_with_the_same_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained, tested before its end, refused with another pool and another rate, moved, gone on with, damaged."""
    pool = tmp_path / "mine.json"
    templates = ["{} on a lake", "{} in the snow", "{} in a forest"]
    shape = {"schema_version": 1, "name": "mine", "templates": templates}
    shape |= {"description": "scenes", "provenance": {"source": "curated", "created": "2026-01-01T00:00:00Z"}}
    pool.write_text(json.dumps(shape), encoding="utf-8")
    run = tmp_path / "run"

    def starft(verb: str, *options: str, goes_on: bool = True) -> tuple[int, str]:
        """Run a command; return its status and what it complains of."""
        words = ["--config=mini/starft", f"--trainer.default_root_dir={run}", f"--model.pool={pool}", *SMALL]
        last = [f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}"] if goes_on else []
        return main([verb, *words, *last, *options]), capsys.readouterr().err

    assert starft("fit", "--trainer.max_epochs=1", goes_on=False)[0] == 0
    manifest = read_manifest(run)
    assert {"config.yaml", "pool.json", "manifest.npz", "checkpoints/last.ckpt"} <= manifest["files"].keys()
    assert manifest["drawn_by"] == DRAWN_BY
    assert not (run / ".lock").exists()
    config = (run / "config.yaml").read_bytes()

    pool.write_text(json.dumps(shape | {"templates": templates[:2]}), encoding="utf-8")
    (run / UNFINISHED).touch()
    status, complaint = starft("fit", "--trainer.max_epochs=2")
    assert status == 2
    assert complaint.splitlines()[-1] == (
        f"starft: The run in {run} would go on with something else than it began with: pool mine was edited (3 "
        "templates then, 2 now). Bring that back as it was, or start a new run in another folder, without --ckpt_path."
    )
    status, complaint = starft("test")
    assert status == 0
    assert "Note: Since the run began: pool mine was edited (3 templates then, 2 now)." in complaint
    assert "hasn't ended" in complaint
    assert "results.json" in read_manifest(run)["files"]
    results = (run / "results.json").read_bytes()
    pool.write_text(json.dumps(shape), encoding="utf-8")
    status, complaint = starft("fit", "--trainer.max_epochs=2", "--model.lr=1e-3")
    assert status == 2
    assert "starft: A run goes on with the options that it had: model.lr 0.0006 (given is 0.001). " in complaint
    assert (run / "results.json").read_bytes() == results

    run = Path(shutil.move(run, tmp_path / "moved"))  # a run folder may be moved
    status, complaint = starft("fit", "--trainer.max_epochs=2")
    assert status == 0
    aside = "results.json is results-1.json, samples.npz is samples-1.npz, samples is samples-1.\n"
    assert f"kept apart: {aside}" in complaint
    assert (run / "results-1.json").read_bytes() == results
    assert (run / "config.yaml").read_bytes() == config
    assert yaml.safe_load((run / "config-2.yaml").read_text(encoding="utf-8"))["trainer"]["max_epochs"] == 2
    assert not (run / UNFINISHED).exists()

    flip(run / "checkpoints" / "last.ckpt", 4000)
    status, complaint = starft("test")
    assert status == 2
    assert "isn't as the run wrote it" in complaint
    flip(run / "checkpoints" / "last.ckpt", 4000)
    status, complaint = starft("test")
    assert status == 0
    assert "hasn't ended" not in complaint
