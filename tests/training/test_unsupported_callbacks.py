"""Every callback and logger that Lightning ships, in a config: it works, or one sentence says what to take instead."""

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import callbacks, loggers

from starft.__main__ import main
from starft.errors import ConfigError
from starft.training.unsupported_callbacks import BASES, REFUSED, check_callbacks

WORK: dict[str, dict[str, Any]] = {
    "Callback": {},
    "Checkpoint": {},
    "EarlyStopping": {"monitor": "val/id/acc", "mode": "max"},
    "GradientAccumulationScheduler": {"scheduling": {"0": 1}},
    "LambdaCallback": {"on_fit_start": "builtins.print"},
    "LearningRateMonitor": {},
    "ModelCheckpoint": {},
    "ModelSummary": {},
    "RichModelSummary": {},
    "RichProgressBar": {},
    "Timer": {"duration": "00:01:00:00"},
}
NOT_HERE = {"DeviceStatsMonitor", "ThroughputMonitor", "TQDMProgressBar"}
"""That need a package, a property of the module, or the place of another one in the list."""
GIVEN: dict[str, dict[str, Any]] = {
    "StochasticWeightAveraging": {"swa_lrs": 1e-4},
    "ModelPruning": {"pruning_fn": "l1_unstructured"},
    "OnExceptionCheckpoint": {"dirpath": "."},
}
ANOTHER = {"EMAWeightAveraging"}
"""Refused with the class it derives from."""


def test_every_callback_has_its_place() -> None:
    assert WORK.keys() | NOT_HERE | REFUSED.keys() | set(BASES) | ANOTHER == set(callbacks.__all__)


@pytest.mark.parametrize("name", [*REFUSED, *BASES, *ANOTHER])
def test_what_cannot_work_is_refused_by_name(name: str) -> None:
    callback = getattr(callbacks, name)(**GIVEN.get(name, {}))
    with pytest.raises(ConfigError, match=rf"^{name} in trainer.callbacks .*; \w+.*\.$"):
        check_callbacks([callbacks.ModelSummary(), callback])


def test_a_class_that_derives_from_a_base_may_work() -> None:
    class Freezes(callbacks.BaseFinetuning):
        """Somebody's own."""

    check_callbacks([Freezes(), callbacks.RichProgressBar(), *(getattr(callbacks, n)(**WORK[n]) for n in ("Timer",))])


def option(name: str) -> list[str]:
    arguments = WORK.get(name, GIVEN.get(name, {}))
    words = [f"--trainer.callbacks.{key}={value}" for key, value in arguments.items()]
    return [f"--trainer.callbacks+=lightning.pytorch.callbacks.{name}", *words]


@pytest.mark.slow
def test_the_others_work_from_a_config(tmp_path: Path) -> None:
    """All at once; the run's own config, which has their defaults in it, is read back by the test."""
    run = tmp_path / "run"
    words = [word for name in WORK for word in option(name)]
    small = [f"--data.init_args.{one}" for one in ("train_size=12", "val_size=12", "test_size=12", "batch_size=6")]
    assert (
        main(["fit", "--config=mini/ce", *small, f"--trainer.default_root_dir={run}", "--trainer.max_epochs=1", *words])
        == 0
    )
    last = run / "checkpoints" / "last.ckpt"
    assert main(["test", f"--config={run / 'config.yaml'}", f"--ckpt_path={last}"]) == 0


@pytest.mark.slow
def test_a_refusal_comes_from_the_command_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = option("EMAWeightAveraging")
    small = [f"--data.init_args.{one}" for one in ("train_size=12", "val_size=12", "batch_size=6")]
    assert main(["fit", "--config=mini/ce", *small, f"--trainer.default_root_dir={run}", *words]) == 2
    assert (
        capsys.readouterr().err.splitlines()[-1].startswith("starft: EMAWeightAveraging in trainer.callbacks copies ")
    )
    assert not run.exists()


@pytest.mark.slow
def test_gradients_that_a_callback_adds_up_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--trainer.callbacks+=lightning.pytorch.callbacks.GradientAccumulationScheduler"]
    words += ["--trainer.callbacks.scheduling={0: 1, 4: 2}", f"--trainer.default_root_dir={tmp_path / 'run'}"]
    small = [f"--data.init_args.{one}" for one in ("train_size=12", "val_size=12", "batch_size=6")]
    assert main(["fit", "--config=mini/flyp", *small, *words]) == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith(
            "starft: trainer.accumulate_grad_batches is 2 by GradientAccumulationScheduler in trainer.callbacks, but "
            "Contrastive compares the images of a batch with each other"
        )
    )


def test_every_logger_has_its_place() -> None:
    """Those that work are tested in test_loggers.py."""
    assert {"CSVLogger", "MLFlowLogger", "TensorBoardLogger", "WandbLogger"} | {
        "Logger",
        "CometLogger",
        "LitLogger",
    } == set(loggers.__all__)


@pytest.mark.parametrize("name", ["Logger", "CometLogger", "LitLogger"])
def test_loggers_that_cannot_work_end_in_one_sentence(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = f"--trainer.default_root_dir={tmp_path / 'run'}"
    assert main(["fit", "--config=mini/ce", folder, f"--trainer.logger=lightning.pytorch.loggers.{name}"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("starft: ")
