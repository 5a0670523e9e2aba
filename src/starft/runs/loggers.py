"""Loggers beside the CSV one: in the run folder, one run for training and test, the whole config in each."""

import json
import os
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import lightning as L
from jsonargparse import Namespace
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from starft.errors import ConfigError
from starft.files.atomic import load_json, replace_file
from starft.runs.layout import LOGGER_IDS, LOGS

NEEDS = {"TensorBoardLogger": ("tensorboard",), "WandbLogger": ("wandb",), "MLFlowLogger": ("mlflow", "sqlalchemy")}
"""Logger -> the packages it needs; the first one names the extra."""

_PASSWORD = re.compile(r"^\w[\w+.-]*://[^/@\s]*:[^/@\s]+@")


def read_ids(folder: Path) -> dict[str, str]:
    """Return the ids that the run in a folder has in its loggers; empty where there are none.

    Args:
        folder: The run folder.

    Raises:
        ConfigError: The file is damaged.
    """
    try:
        return {
            str(name): str(item) for name, item in load_json((folder / LOGGER_IDS).read_text(encoding="utf-8")).items()
        }
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError) as error:
        raise ConfigError(f"{folder / LOGGER_IDS} is damaged; delete it to log to a new run.") from error


def place(loggers: Any, folder: Path, ids: dict[str, str]) -> None:
    """Let configured loggers write into the run folder, and go on with the run that they have, unless told otherwise.

    Args:
        loggers: What ``trainer.logger`` holds; changed in place.
        folder: The run folder.
        ids: As `read_ids` returns them.

    Raises:
        ConfigError: A package is missing, or an address holds a password.
    """
    for item in loggers if isinstance(loggers, list) else [loggers]:
        if not isinstance(item, Namespace) or "class_path" not in item:
            continue
        name, messages = item.class_path.rpartition(".")[2], item.get("init_args")
        for package in NEEDS.get(name, ()):
            if find_spec(package) is None:
                extra = NEEDS[name][0]
                raise ConfigError(f"{name} needs {package}, which isn't installed; pip install 'starft[{extra}]'.")
        if messages is None:
            continue
        for key, value in vars(messages).items():
            if isinstance(value, str) and _PASSWORD.match(value):
                raise ConfigError(
                    f"{key} of {name} holds a password, which would be saved with the config; take it out and set "
                    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or what the server reads, in the "
                    "environment."
                )
        for key, (unset, value) in _places(name, folder, ids).items():
            if messages.get(key) in unset:
                messages[key] = value


def _places(name: str, folder: Path, ids: dict[str, str]) -> dict[str, tuple[tuple[Any, ...], Any]]:
    """Return argument -> (values that mean nobody chose one, what is chosen then)."""
    if name == "TensorBoardLogger":
        return {
            "save_dir": (("", "."), str(folder)),
            "name": (("lightning_logs",), "tensorboard"),
            "version": ((None,), ""),
        }
    if name == "WandbLogger":
        return {"save_dir": ((".",), str(folder)), "id": ((None,), ids.get("wandb") or uuid4().hex[:8])}
    if name == "MLFlowLogger":
        local = f"sqlite:///{folder.absolute() / 'mlflow.db'}"
        return {
            "tracking_uri": ((None,), os.environ.get("MLFLOW_TRACKING_URI") or local),
            "artifact_location": ((None,), None if "MLFLOW_TRACKING_URI" in os.environ else str(folder / "mlflow")),
            "run_id": ((None,), ids.get("mlflow")),
        }
    return {}


def foreign(trainer: L.Trainer) -> list[Logger]:
    """Return the loggers of a trainer that aren't CSV.

    Args:
        trainer: With its loggers.
    """
    return [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger | WandbLogger | MLFlowLogger)]


def tell_loggers(trainer: L.Trainer, model: L.LightningModule, folder: Path, config: dict[str, Any]) -> None:
    """Keep the CSV log beside other loggers, and give all of them the whole config instead of the model's part.

    Args:
        trainer: With its loggers.
        model: Of the run.
        folder: The run folder.
        config: The resolved config.
    """
    if not any(isinstance(logger, CSVLogger) for logger in trainer.loggers):
        trainer.loggers = [CSVLogger(folder, name=LOGS), *trainer.loggers]
    model._log_hyperparams = False
    trainer.callbacks.append(TellLoggers(folder, config, read_ids(folder)))  # type: ignore[attr-defined]


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Return a config as one level of dotted keys: ``model.regularizers.0.init_args.weight``.

    Lists of plain values stay one value, as text. What the loggers are told isn't among it.

    Args:
        config: The resolved config.
        prefix: What the keys begin with.
    """
    return dict(_flat(config, prefix))


def _flat(config: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    if prefix == "trainer.logger.":
        return
    if isinstance(config, dict) and config:
        for key, value in config.items():
            yield from _flat(value, f"{prefix}{key}.")
    elif isinstance(config, list) and any(isinstance(value, dict | list) for value in config):
        for number, value in enumerate(config):
            yield from _flat(value, f"{prefix}{number}.")
    else:
        plain = config is None or isinstance(config, str | bool | int | float)
        yield prefix.removesuffix("."), config if plain else json.dumps(config, ensure_ascii=False)


class TellLoggers(Callback):
    """Give each logger the config when work starts.

    Not before the data are checked, so that a run that is refused leaves nothing in a logger.

    Args:
        folder: The run folder.
        config: The resolved config.
        ids: As `read_ids` returns them. MLflow's parameters can't be changed, so a run that has some keeps them.
    """

    def __init__(self, folder: Path, config: dict[str, Any], ids: dict[str, str]) -> None:
        self.folder, self.values, self.ids = folder, flat(config), ids

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tell the config, and keep the ids for what comes after."""
        self._tell(trainer)
        ids = dict(self.ids)
        for item in foreign(trainer) if trainer.is_global_zero else []:
            if isinstance(item, WandbLogger):
                ids["wandb"] = str(item.experiment.id)
            elif isinstance(item, MLFlowLogger):
                ids["mlflow"] = str(item.run_id)
        if ids != self.ids:
            replace_file(self.folder / LOGGER_IDS, json.dumps(ids).encode())

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tell the config."""
        self._tell(trainer)

    def _tell(self, trainer: L.Trainer) -> None:
        for item in trainer.loggers if trainer.is_global_zero else []:
            if isinstance(item, TensorBoardLogger):
                _show(item, self.values)
            elif isinstance(item, CSVLogger | WandbLogger) or (
                isinstance(item, MLFlowLogger) and item.run_id != self.ids.get("mlflow")
            ):
                item.log_hyperparams(self.values)


def _show(logger: TensorBoardLogger, values: dict[str, Any]) -> None:
    """Write TensorBoard's hyper-parameters without a list of metrics: it takes all that are logged, the test's too."""
    summary = {name: str(value) if value is None else value for name, value in values.items()}
    _, start, _ = import_module("torch.utils.tensorboard.summary").hparams(summary, {})
    logger.experiment._get_file_writer().add_summary(start)


def close(trainer: L.Trainer) -> None:
    """End what is open in a logger, so that another run of the same process starts its own.

    Args:
        trainer: When its work is done, or has failed.
    """
    for item in foreign(trainer) if trainer.is_global_zero else []:
        if isinstance(item, WandbLogger) and item._experiment is not None:
            item._experiment.finish()
