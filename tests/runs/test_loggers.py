"""Loggers by config alone: what TensorBoard, MLflow and Weights & Biases hold after a training and its test."""

import csv
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonargparse import Namespace

from starft.__main__ import main
from starft.errors import ConfigError
from starft.runs import loggers
from starft.runs.loggers import flat, place, read_ids
from test_docs import SMALL

QUIET = [
    "--trainer.log_every_n_steps=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.accelerator=cpu",
]


def fit_and_test(logger: str, folder: Path) -> dict[str, float]:
    """Train for two steps and test, each by the command; the test is told another batch size. Return its metrics."""
    common = [f"--config=common/{logger}", f"--trainer.default_root_dir={folder}", *SMALL, *QUIET]
    assert main(["fit", "--config=mini/starft", *common]) == 0
    last = folder / "checkpoints" / "last.ckpt"
    again = ["--data.init_args.batch_size=6", f"--ckpt_path={last}"]
    assert main(["test", "--config=mini/starft", *common, *again]) == 0
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return {f"test/{name}/acc": one["metrics"]["acc"] for name, one in results["eval_sets"].items()}


def csv_losses(folder: Path) -> list[float]:
    """The losses of the CSV log, which must be there beside any logger; the test has a log of its own."""
    first, second = sorted(folder.glob("logs/*/metrics.csv"))
    assert "test/id/acc" in second.read_text(encoding="utf-8")
    with first.open(encoding="utf-8") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def check_config(values: dict[str, Any], read: Callable[[Any], Any] = lambda value: value) -> None:
    """Hold hyper-parameters that were read back to what the commands said; nothing of the logger is among them."""
    assert read(values["data.init_args.train_size"]) == 24
    assert read(values["seed_everything"]) == 0
    assert values["model.regularizers.0.class_path"] == "starft.losses.SpuriosityAlignment"
    assert read(values["model.regularizers.0.init_args.weight"]) == 5.0
    assert values["model.pool"] == "mini_scenes"
    assert not any(name.startswith("trainer.logger") for name in values)


@pytest.mark.slow
def test_tensorboard(tmp_path: Path) -> None:
    metrics = fit_and_test("tensorboard", tmp_path)
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    plugin = pytest.importorskip("tensorboard.plugins.hparams.plugin_data_pb2")
    events = reader.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [one.value for one in events.Scalars("train/loss")] == pytest.approx(csv_losses(tmp_path), rel=1e-6)
    for name, value in metrics.items():
        assert events.Scalars(name)[-1].value == pytest.approx(value, rel=1e-6)
    held = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    start = plugin.HParamsPluginData.FromString(held).session_start_info.hparams
    kinds = {name: getattr(value, value.WhichOneof("kind")) for name, value in start.items()}
    check_config(kinds)
    assert "_hparams_/experiment" not in events.summary_metadata, "no list of metrics, so TensorBoard shows all"
    assert read_ids(tmp_path) == {}


@pytest.mark.slow
def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    metrics = fit_and_test("mlflow", tmp_path / "run")
    client = pytest.importorskip("mlflow").MlflowClient(f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}")
    (experiment,) = (one for one in client.search_experiments() if one.name == "starft")
    (run,) = client.search_runs([experiment.experiment_id])
    assert read_ids(tmp_path / "run") == {"mlflow": run.info.run_id}
    assert run.info.status == "FINISHED"
    check_config(run.data.params, read=yaml.safe_load)
    assert {name: run.data.metrics[name] for name in metrics} == pytest.approx(metrics)
    losses = [one.value for one in client.get_metric_history(run.info.run_id, "train/loss")]
    assert losses == pytest.approx(csv_losses(tmp_path / "run"), rel=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["run"], "nothing beside the run folder"


def records(log: bytes) -> Iterator[bytes]:
    """Yield the records of W&B's file: 32 KiB blocks of chunks, each with checksum, length, kind (LevelDB's log)."""
    at, held = 7, b""
    while at + 7 <= len(log):
        if 32768 - at % 32768 < 7:  # the rest of a block that has no room for a chunk's head
            at += 32768 - at % 32768
            continue
        length, kind = struct.unpack_from("<HB", log, at + 4)
        held += log[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield held
            held = b""


def wandb_records(folder: Path) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Config and history of each offline run, from the files themselves."""
    pytest.importorskip("wandb").teardown()  # what its service still holds is written
    proto = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    found = []
    for path in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        config: dict[str, Any] = {}
        history: list[dict[str, Any]] = []
        for data in records(path.read_bytes()):
            record = proto.Record.FromString(data)
            for update in [*record.run.config.update, *record.config.update]:
                config["/".join(update.nested_key) or update.key] = json.loads(update.value_json)
            if record.HasField("history"):
                rows = record.history.item
                history.append({"/".join(row.nested_key) or row.key: json.loads(row.value_json) for row in rows})
        found.append((config, history))
    return found


@pytest.mark.slow
def test_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_MODE", "offline")  # Lightning sets it; so it goes again after the test
    metrics = fit_and_test("wandb", tmp_path)
    (config, trained), (_, tested) = wandb_records(tmp_path)
    check_config(config)
    losses = [row["train/loss"] for row in trained if "train/loss" in row]
    assert losses == pytest.approx(csv_losses(tmp_path), rel=1e-6)
    told = {name: value for row in tested for name, value in row.items()}
    assert {name: told[name] for name in metrics} == pytest.approx(metrics)
    parts = [path.name.rpartition("-")[2] for path in tmp_path.glob("wandb/offline-run-*")]
    assert parts == [read_ids(tmp_path)["wandb"]] * 2, "the test goes on with the training's run"


def a_logger(kind: str, **args: Any) -> Namespace:
    return Namespace(class_path=f"lightning.pytorch.loggers.{kind}", init_args=Namespace(**args))


def test_what_a_person_chose_stays(tmp_path: Path) -> None:
    chosen = {"save_dir": "mine", "name": "tb", "version": 3}
    logger = a_logger("TensorBoardLogger", **chosen)
    place([logger, True], tmp_path, {})
    assert vars(logger.init_args) == chosen
    logger = a_logger("WandbLogger", save_dir=".", id=None)
    place(logger, tmp_path, {"wandb": "abc"})
    assert vars(logger.init_args) == {"save_dir": str(tmp_path), "id": "abc"}


def test_a_missing_package_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"WandbLogger needs wandb, .*pip install 'starft\[wandb\]'"):
        place(a_logger("WandbLogger"), tmp_path, {})


def test_a_missing_package_ends_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    run = ["--config=common/mlflow", f"--trainer.default_root_dir={tmp_path / 'run'}"]
    assert main(["fit", "--config=mini/starft", *run]) == 2
    assert "starft: MLFlowLogger needs mlflow, which isn't installed; pip install" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_password_is_refused_and_not_repeated(tmp_path: Path) -> None:
    logger = a_logger("MLFlowLogger", tracking_uri="https://me:hunter2@mlflow.example.org")
    with pytest.raises(ConfigError, match="tracking_uri of MLFlowLogger holds a password") as error:
        place(logger, tmp_path, {})
    assert "hunter2" not in str(error.value)
    place(a_logger("MLFlowLogger", tracking_uri="https://mlflow.example.org:5000"), tmp_path, {})


def test_damaged_ids_are_told(tmp_path: Path) -> None:
    (tmp_path / "loggers.json").write_text("[", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"loggers\.json is damaged; delete it"):
        read_ids(tmp_path)


def test_a_config_is_flat_and_says_nothing_of_loggers() -> None:
    config = {"a": {"b": [1, 2], "c": [{"d": None}, {"d": "x"}], "e": {}}, "trainer": {"logger": {"k": "s"}, "n": 1.5}}
    assert flat(config) == {"a.b": "[1, 2]", "a.c.0.d": None, "a.c.1.d": "x", "a.e": "{}", "trainer.n": 1.5}
