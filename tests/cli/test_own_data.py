"""A user's own images from beginning to end: train, test, predict; what stops a run, and what it skips."""

import csv
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from fakes.own_images import CLASSES, PLACES, write_jpeg, write_table
from fakes.processes import command
from starft.__main__ import main
from starft.runs.checkpoints import CheckpointFacts, unlike_classes
from starft.training.module import FinetuneModule
from starft.training.stopping import StopSafely

CONFIGS = Path(__file__).parents[2] / "lightning_configs" / "csv"
SMALL = [
    "--model.model_name=starft-mini",
    "--model.pretrained=mini",
    "--trainer.accelerator=cpu",
    "--trainer.precision=32-true",
    "--trainer.log_every_n_steps=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--data.init_args.batch_size=7",
    "--checkpoint.monitor=null",  # one checkpoint to write, not two
]
Words = Callable[..., list[str]]


@pytest.fixture
def words(tmp_path: Path) -> Words:
    """A command on 40 images in four groups, 28 of them in train."""
    table = write_table(tmp_path / "shoes")

    def made(
        verb: str, *options: str, config: str = "ce", workers: int = 0, run: str = "run", epochs: int = 1
    ) -> list[str]:
        return [
            verb,
            f"--config={CONFIGS / config}.yaml",
            f"--data.init_args.file={table}",
            f"--data.init_args.num_workers={workers}",
            f"--trainer.default_root_dir={tmp_path / run}",
            f"--trainer.max_epochs={epochs}",
            *SMALL,
            *options,
        ]

    return made


def spoil(folder: Path, count: int) -> None:
    """Make that many images of ``count`` groups unreadable, one a group."""
    for number in range(count):
        (folder / "shoes" / "images" / f"{number:03}.jpg").write_text("no image")


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_train_test_predict(words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words("fit")) == 0
    said = capsys.readouterr()
    run = tmp_path / "run"
    assert said.out.splitlines()[-1] == (
        f"Next: starft test --config {run}/config.yaml --ckpt_path {run}/checkpoints/last.ckpt"
    )
    assert "shortcuts can't be measured" not in said.err, "its groups show them"
    assert "Note: The warm-up is 10 steps, the run 4: the learning rate never reaches its peak;" in said.err
    last = f"--ckpt_path={tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}"
    assert main(words("test", last)) == 0
    told = capsys.readouterr().out
    assert "Test metric" not in told, "Lightning's table says the same once more"
    names = [f"{label}, {place}" for label in CLASSES for place in PLACES]
    assert all(name in told for name in [*names, "worst group", "95 % interval"])
    found = json.loads((tmp_path / "run" / "results.json").read_text())["eval_sets"]["id"]
    assert [(group["name"], group["n"]) for group in found["groups"]] == [(name, 2) for name in names]
    assert {"acc", "worst_group_acc", "adjusted_acc", "group_mean_acc"} <= set(found["metrics"])

    new = tmp_path / "new"
    for number in range(5):
        write_jpeg(new / "in" / f"{number}.jpg", number)
    assert main(words("predict", last, f"--data.init_args.predict={new}")) == 0
    said = capsys.readouterr()
    assert f"Predictions: {run}/predictions.csv (5 images)" in said.out.splitlines()
    assert "No --ckpt_path" not in said.err
    assert main(words("predict", last, f"--data.init_args.predict={new}")) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"starft: {run}/predictions.csv exists already; move it away or give another --trainer.default_root_dir."
    ]
    assert main(words("predict", f"--data.init_args.predict={new}", run="untrained")) == 0
    assert "Note: No --ckpt_path is given: the pre-trained model predicts." in capsys.readouterr().err.splitlines()
    predicted = rows(tmp_path / "run")
    assert [row["path"] for row in predicted] == [f"{new}/in/{number}.jpg" for number in range(5)]
    assert all(row["label"] in CLASSES and 0.5 <= float(row["probability"]) <= 1 for row in predicted)
    same = {Path(row["path"]).name: row["label"] for row in predicted}
    other = words("predict", last, f"--data.init_args.predict={tmp_path / 'shoes' / 'images'}", workers=1, run="more")
    assert main(other) == 0, "a second time, into another folder"
    again = {row["path"]: row["label"] for row in rows(tmp_path / "more")}
    assert len(again) == 40
    (tmp_path / "run" / "predictions.csv").unlink()
    (tmp_path / "shoes" / "shoes.csv").unlink()  # new images need no training data
    assert main(words("predict", last, f"--data.init_args.predict={new}")) == 0
    assert rows(tmp_path / "run") == predicted
    assert all(again[f"{tmp_path}/shoes/images/00{number}.jpg"] == same[f"{number}.jpg"] for number in range(5))


@pytest.mark.slow
def test_a_checkpoint_of_other_classes_is_tested_with_a_note(
    words: Words, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "last.ckpt"
    torch.save(torch.load(checkpoint) | {"pytorch-lightning_version": L.__version__, "global_step": 1}, path)
    assert main(words("test", f"--ckpt_path={path}", config="flyp")) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "The checkpoint" in line]
    assert notes == [
        "Note: The checkpoint was trained on duck, gull, crow; the data have boot, sandal, and are scored with the "
        "zero-shot head of their own names."
    ]
    own = CheckpointFacts("starft-mini", "text", ("boot", "sandal"), ("a {}",))
    assert unlike_classes(own, ("boot", "sandal")) == ""


@pytest.mark.slow
def test_a_bad_image_stops_the_run_with_its_path(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(tmp_path, 40)
    assert main(words("fit", "--trainer.num_sanity_val_steps=0", workers=1)) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith(f"starft: The image {tmp_path}/shoes/images/")
    assert told[-1].endswith(
        "isn't an image of a known format; mend or remove it, or set data.init_args.on_bad_image to skip."
    )
    assert not any("Traceback" in line for line in told)
    assert not (tmp_path / "run").exists(), "nothing was saved, and the same command works when it is mended"


@pytest.mark.slow
def test_images_without_attributes_lead_to_the_audit(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_table(tmp_path / "shoes", images=16, attribute=False)
    run = tmp_path / "run"
    command = f"`starft audit data --config {run / 'config.yaml'}`"
    note = f"Note: no image has an attribute or a group, so shortcuts can't be measured; {command} looks for them."
    assert main(words("fit", "--trainer.max_epochs=1")) == 0
    assert capsys.readouterr().err.splitlines().count(note) == 1
    assert main(words("test", f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}")) == 0
    assert capsys.readouterr().err.splitlines().count(note) == 1
    assert main(["report", str(run), "--out", str(tmp_path / "report.md")]) == 0
    assert "so shortcuts can't be measured. To look for them:" in (tmp_path / "report.md").read_text()


@pytest.mark.slow
def test_skip_goes_on_and_counts(words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Four of 40 images are bad: the steps are as many, the sizes as large; no metric counts them."""
    spoil(tmp_path, 4)
    skip = "--data.init_args.on_bad_image=skip"
    steps: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        step = FinetuneModule.training_step

        def noted(self: FinetuneModule, batch: Any, batch_idx: int) -> Any:
            steps.append(len(batch["label"]))
            return step(self, batch, batch_idx)

        patch.setattr(FinetuneModule, "training_step", noted)
        assert main(words("fit", skip, workers=1, config="flyp")) == 0
    assert steps == [7, 7, 7, 7]
    fitted = capsys.readouterr().err
    last = f"--ckpt_path={tmp_path / 'run' / 'checkpoints' / 'last.ckpt'}"
    assert main(words("test", skip, last, workers=1, config="flyp")) == 0
    tested = capsys.readouterr().err
    counted = sum(int(line.split()[0]) for line in (fitted + tested).splitlines() if " skipped, as on_bad" in line)
    assert counted == 4, "each bad image is in one split, and told once"
    groups = json.loads((tmp_path / "run" / "results.json").read_text())["eval_sets"]["id"]["groups"]
    in_test = sum(int(line.split()[0]) for line in tested.splitlines() if " skipped, as on_bad" in line)
    assert sum(group["n"] for group in groups) == 8 - in_test


@pytest.mark.slow
def test_augmented_training_is_the_same_with_workers_and_after_a_stop(words: Words, tmp_path: Path) -> None:
    """Two epochs of four steps at once; and with a worker, stopped in the middle of the second and continued."""
    assert main(words("fit", run="whole", epochs=2, config="flyp")) == 0
    on_train_batch_end = StopSafely.on_train_batch_end

    def signalled(self: StopSafely, trainer: Any, *args: Any) -> None:
        if trainer.global_step == 6:
            signal.raise_signal(signal.SIGTERM)
        on_train_batch_end(self, trainer, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StopSafely, "on_train_batch_end", signalled)
        assert main(words("fit", run="parts", epochs=2, config="flyp", workers=1)) == 143
    last = {run: tmp_path / run / "checkpoints" / "last.ckpt" for run in ("whole", "parts")}
    assert torch.load(last["parts"], weights_only=True)["global_step"] == 6
    again = words("fit", f"--ckpt_path={last['parts']}", run="parts", epochs=2, config="flyp", workers=1)
    assert main(again) == 0
    whole, parts = (torch.load(last[run], weights_only=True) for run in ("whole", "parts"))
    assert whole["global_step"] == parts["global_step"] == 8
    assert all(torch.equal(value, parts["state_dict"][key]) for key, value in whole["state_dict"].items())


@pytest.mark.slow
def test_a_signal_to_all_processes_of_a_run_stops_it_safely(words: Words, tmp_path: Path) -> None:
    """As a terminal, ``timeout`` and schedulers send it: to the workers too."""
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    complaints = tmp_path / "complaints.txt"
    process = command(words("fit", "--checkpoint.every_n_train_steps=1", workers=2, epochs=500), complaints)
    assert process.pid is not None
    try:
        deadline = time.monotonic() + 120
        while not last.exists() and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGTERM)
        process.join(60)
    finally:
        process.kill()
    told = complaints.read_text(encoding="utf-8")
    assert process.exitcode == 143, told
    assert "Traceback" not in told
    reached = torch.load(last, weights_only=True)["global_step"]
    assert told.splitlines()[-1].startswith(f"starft: Stopped after step {reached};")
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # no worker is left


@pytest.mark.slow
def test_bad_data_are_refused_before_the_model_trains(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(*_: object) -> None:
        raise AssertionError("a step was begun")

    monkeypatch.setattr(FinetuneModule, "training_step", trained)
    (tmp_path / "shoes" / "images" / "007.jpg").unlink()
    (tmp_path / "shoes" / "images" / "002.jpg").unlink()
    assert main(words("fit")) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(f"starft: CSV: in train 1 of 28 images is missing below {tmp_path}/shoes (images/00")
    assert not (tmp_path / "run").exists(), "the folder is given back"
