"""SPARE and George by hand: clusters, weights, groups, runs that go on from any checkpoint, two processes, refusals."""

import csv
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from numpy.typing import NDArray
from torch import Tensor

from fakes.processes import launched
from fakes.quiet_trainer import trainer
from starft.__main__ import main
from starft.callbacks import SPARE, George
from starft.callbacks.clusters import ClassClusters, ClusterTrainings, cluster_classes
from starft.callbacks.spare import weights_of
from starft.data.sampling import everything
from starft.errors import ConfigError
from starft.losses import CrossEntropy, GroupDRO
from starft.mini import MiniWorld
from starft.mini.splits import PictureSet, without_groups
from starft.training.module import FinetuneModule

SIZE, BATCH = 48, 16
STEPS = SIZE // BATCH


def by_value(rows: NDArray[np.float64], number: int) -> NDArray[np.int64]:
    """Cluster numbers below a bound by their size, and give the highest cluster to all beyond it."""
    return np.minimum(rows[:, 0].astype(np.int64), number - 1)


def test_clusters_by_hand() -> None:
    rows = np.array([[0.0], [2.0], [1.0], [0.0], [7.0], [1.0], [2.0], [7.0], [9.0]])
    labels = np.array([1, 1, 1, 1, 0, 1, 1, 0, -1])
    found = cluster_classes(rows, labels, by_value, most=4, seed=0)
    assert found.clusters.tolist() == [1, 3, 2, 1, 0, 2, 3, 0, -1], "class 0 is all of one kind, class 1 has three"
    assert found.classes == (0, 1, 1, 1)
    assert found.silhouettes == (0.0, 1.0, 1.0, 1.0), "no distance within a cluster"
    assert found.sizes.tolist() == [2, 2, 2, 2]


def test_weights_by_hand() -> None:
    found = ClassClusters(np.array([0, 1, 0, 0, -1, 2, 3, 2]), (0, 0, 1, 1), (0.9, 0.9, 0.5, 0.5))
    assert weights_of(found, None) == pytest.approx([1 / 6, 1 / 2, 1 / 6, 1 / 6, 0, 1 / 6, 2 / 3, 1 / 6])
    assert weights_of(found, 0.0) == pytest.approx([1 / 4, 1 / 4, 1 / 4, 1 / 4, 0, 1 / 3, 1 / 3, 1 / 3])
    assert weights_of(found, 3.0)[:2] == pytest.approx([1 / 30, 9 / 10])


class Unlabelled(MiniWorld):
    """Two kinds of bird whose training pictures have no groups."""

    def setup(self, stage: str) -> None:
        super().setup(stage)
        if isinstance(self.train_set, PictureSet):
            self.train_set = PictureSet(without_groups(self.train_set.rows))


def world(**given: Any) -> MiniWorld:
    return Unlabelled(**{"task": "kinds", "train_size": SIZE, "val_size": 12, "batch_size": BATCH} | given)


def module(callback: ClusterTrainings | None) -> FinetuneModule:
    objective = GroupDRO(eta=0.5) if isinstance(callback, George) else CrossEntropy()
    return FinetuneModule(objective, "starft-mini", "mini", head="linear", lr=2e-3, warmup_steps=2)


class Seen(L.Callback):
    """Notes the images of each step and their groups."""

    def __init__(self) -> None:
        self.index: list[list[int]] = []
        self.groups: list[list[int] | None] = []

    def on_train_batch_end(self, *args: Any) -> None:
        batch = args[3]
        self.index.append(batch["index"].tolist())
        self.groups.append(batch["group"].tolist() if "group" in batch else None)


def run(
    folder: Path, callback: ClusterTrainings, stop: Path | None = None
) -> tuple[dict[str, Tensor], Seen, MiniWorld]:
    """Train, keeping the checkpoint of every step and of every epoch's end."""
    steps = ModelCheckpoint(folder, "{step}", every_n_train_steps=1, save_top_k=-1, auto_insert_metric_name=False)
    ends = ModelCheckpoint(
        folder, "end-{epoch}", save_top_k=-1, save_on_train_epoch_end=True, auto_insert_metric_name=False
    )
    tuned, data, seen = module(callback), world(), Seen()
    made = trainer(folder, 2, callback, seen, *([steps, ends] if stop is None else []))
    made.fit(tuned, datamodule=data, ckpt_path=stop)
    return tuned.state_dict(), seen, data


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda: SPARE(1, 3), lambda: George(1, 3)], ids=["spare", "george"])
def test_a_run_of_two_trainings_goes_on_from_any_step(make: Any, tmp_path: Path) -> None:
    callback = make()
    whole, seen, data = run(tmp_path, callback)
    found = callback.found
    assert found.sizes.sum() == SIZE
    assert 2 < len(found.classes) <= 6, "some class has clusters"
    labels = np.array(data.train_set.labels)  # type: ignore[union-attr]
    assert np.array_equal(np.array(found.classes)[found.clusters], labels), "a cluster lies within a class"
    assert data._train_loader is not None
    draw = data._train_loader._shuffled.draw
    assert [at for step in seen.index[:STEPS] for at in step] == everything(SIZE).order(0, 0)
    assert [at for step in seen.index[STEPS:] for at in step] == draw.order(0, 1)
    assert draw.weights is not None
    if isinstance(callback, SPARE):
        assert draw.weights.tolist() == weights_of(found, None).tolist()
        assert seen.groups == [None] * 2 * STEPS
    else:
        assert draw.weights.tolist() == pytest.approx((1 / found.sizes[found.clusters]).tolist())
        assert seen.groups[:STEPS] == [[0] * BATCH] * STEPS, "one group of all images"
        assert seen.groups[STEPS:] == [found.clusters[step].tolist() for step in seen.index[STEPS:]]
        q = whole["terms.group_dro.q"]
        assert len(q) == 6
        assert (q > 0).tolist() == [True] * len(found.classes) + [False] * (6 - len(found.classes))
        assert len(q.unique()) > 2, "it follows the losses"
    for stop in ("end-0.ckpt", f"{STEPS + 1}.ckpt"):  # between the trainings, and within the second
        continued = make()
        state, *_ = run(tmp_path / "on", continued, tmp_path / stop)
        assert continued.result == callback.result
        assert all(torch.equal(state[name], whole[name]) for name in whole), stop
    with pytest.raises(
        ConfigError, match=rf"^The checkpoint's {callback.name} has epochs 1, clusters 3, .*, the config"
    ):
        run(tmp_path / "on", type(callback)(1, 3, 5), tmp_path / "end-0.ckpt")


@pytest.mark.slow
def test_georges_first_training_is_plain_fine_tuning(tmp_path: Path) -> None:
    plain, george = module(None), George(1, 3)
    trainer(tmp_path, 1).fit(plain, datamodule=world())
    run(tmp_path, george)
    held = torch.load(tmp_path / f"{STEPS}.ckpt", weights_only=True)["state_dict"]
    for name, value in plain.clip.state_dict().items():
        torch.testing.assert_close(held[f"clip.{name}"], value, rtol=1e-3, atol=1e-5, msg=name)


METHODS = {"spare": 2, "george": 3}
"""Config -> epochs of both trainings."""


def trained(folder: Path, batch_size: int, *options: str) -> dict[str, tuple[dict[str, Any], list[float]]]:
    """Return, by method, the clusters that the last checkpoint has, and the losses of all steps."""
    results = {}
    for name, epochs in METHODS.items():
        words = ["fit", f"--config=mini/{name}", "--data.init_args.train_size=48", "--data.init_args.val_size=12"]
        words += [f"--data.init_args.batch_size={batch_size}", f"--trainer.max_epochs={epochs}", *options]
        words += ["--checkpoint.monitor=null", "--trainer.limit_val_batches=0", "--trainer.log_every_n_steps=1"]
        words += ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
        assert main([*words, f"--trainer.default_root_dir={folder / name}"]) == 0
        callbacks = torch.load(folder / name / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
        (found,) = [state["found"] for state in callbacks.values() if "found" in state]
        with (folder / name / "logs" / "version_0" / "metrics.csv").open(encoding="utf-8") as file:
            losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
        results[name] = found, losses
    return results


@pytest.mark.slow
def test_two_processes_cluster_and_train_as_one_does(tmp_path: Path) -> None:
    devices = ("--config=common/ddp", "--trainer.devices=2", "--trainer.accelerator=cpu")
    alone = trained(tmp_path / "one", 16)
    first, second = launched(2, trained, tmp_path / "processes", tmp_path / "two", 8, *devices)
    assert first == second, "there is one run folder"
    for name, (found, losses) in alone.items():
        assert len(losses) == STEPS * METHODS[name]
        assert len(found["classes"]) > 2, "some class has clusters"
        assert [first[name][0][key] for key in ("of_image", "classes")] == [found["of_image"], found["classes"]], name
        assert first[name][1] == pytest.approx(losses, rel=1e-3), name


@pytest.mark.slow
def test_where_there_are_no_clusters_a_note_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SPARE, "cluster", lambda self, rows, number, seed: np.zeros(len(rows), dtype=np.int64))
    callback = SPARE(1)
    run(tmp_path, callback)
    assert callback.found.classes == (0, 1)
    assert "Note: After 1 epoch SPARE finds no clusters, so the second training goes by classes alone; " in (
        capsys.readouterr().err
    )


def test_george_trains_group_dro(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^George trains GroupDRO on its clusters, and the objective is CrossEntropy;"
    ):
        trainer(tmp_path, 2, George(1)).fit(module(None), datamodule=world())


def test_what_cant_be_weighed_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^Training images can't be upsampled on top of sampling class_balanced;"):
        trainer(tmp_path, 2, SPARE(1)).fit(module(None), datamodule=world(sampling="class_balanced"))
    with pytest.raises(
        ConfigError, match=r"^epochs of SPARE must be fewer than trainer\.max_epochs, .*; got 1 and 1\."
    ):
        trainer(tmp_path, 1, SPARE(1)).fit(module(None), datamodule=world())


def test_images_without_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^SPARE clusters the images of a class, and the data have captions and no"):
        SPARE(1).on_fit_start(trainer(tmp_path, 2), module(None))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: SPARE(0), r"epochs of SPARE must be at least 1; got 0\."),
        (lambda: SPARE(1, clusters=1), r"clusters of SPARE must be at least 2; got 1\."),
        (lambda: SPARE(1, power=-1.0), r"power of SPARE must lie in \[0, 10\], or be null; got -1\.0\."),
        (lambda: George(1, components=0), r"components of George must be at least 1; got 0\."),
    ],
)
def test_numbers_that_cant_be_used_are_told(make: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{sentence}$"):
        make()
