"""Who owns the run folder is asked of a trainer: the environment of a run on one device says nothing."""

from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.utilities import rank_zero_only

from starft.__main__ import main
from starft.cli.processes import is_first_process
from starft.errors import ConfigError, Stopped

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID", "SLURM_LOCALID")
TORCHRUN = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "x"}
SRUN = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_LOCALID": "1", "SLURM_NODEID": "0"}
SRUN |= {"SLURM_PROCID": "1", "SLURM_JOB_ID": "3", "SLURM_NNODES": "1", "SLURM_JOB_NAME": "job"}


@pytest.fixture(autouse=True)
def _rank(monkeypatch: pytest.MonkeyPatch) -> None:
    told: Any = rank_zero_only
    monkeypatch.setattr(told, "rank", told.rank)


def set_all(monkeypatch: pytest.MonkeyPatch, values: dict[str, str]) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("name", RANKS)
@pytest.mark.parametrize("strategy", ["auto", {"class_path": "lightning.pytorch.strategies.SingleDeviceStrategy"}])
def test_a_run_on_one_device_is_the_first(name: str, strategy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told: Any = rank_zero_only
    told.rank = 1  # as Lightning reads it from the environment
    monkeypatch.setenv(name, "1")
    assert is_first_process({"accelerator": "cpu", "devices": 1, "strategy": strategy})
    assert told.rank == 0, "or nothing would be logged"


@pytest.mark.parametrize("values", [TORCHRUN, SRUN, {"LOCAL_RANK": "1"}], ids=["torchrun", "srun", "lightning"])
@pytest.mark.parametrize("strategy", ["ddp", {"class_path": "starft.training.fsdp.FullySharded"}])
def test_of_two_processes_one_is_the_first(
    values: dict[str, str], strategy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"accelerator": "cpu", "devices": 2, "strategy": strategy}
    set_all(monkeypatch, values)
    assert not is_first_process(options)
    set_all(monkeypatch, {name: "0" for name in values if name in RANKS})
    assert is_first_process(options)


def test_each_task_of_srun_on_one_device_is_a_run_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the folder refuses all but one of them."""
    set_all(monkeypatch, SRUN)
    assert is_first_process({"accelerator": "cpu", "devices": 1})


def test_tasks_of_slurm_that_do_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "2")
    with pytest.raises(
        ConfigError, match=r"SLURM_NTASKS is 2.*, which doesn't fit trainer.devices .* unset SLURM_NTASKS"
    ):
        is_first_process({"accelerator": "cpu", "devices": 1})


@pytest.mark.parametrize("name", ["LOCAL_RANK", "NODE_RANK", "GROUP_RANK"])
def test_a_later_process_of_a_run_that_has_one_does_not_wait(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigError, match=rf"^{name} is 1, but the run has one process; unset that"):
        is_first_process({"accelerator": "cpu", "devices": 1, "strategy": "ddp"})


def test_one_machine_of_several_that_nobody_started_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"accelerator": "cpu", "devices": 1, "num_nodes": 2, "strategy": "auto"}
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(
        ConfigError, match=r"^trainer.num_nodes is 2, and no launcher .*\(MASTER_ADDR isn't set\).* `torchrun"
    ):
        is_first_process(options)
    set_all(monkeypatch, {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500", "NODE_RANK": "1"})
    assert not is_first_process(options), "as docs of Lightning start machines by hand"


@pytest.mark.parametrize("devices", [1, 2])
def test_an_allocation_of_slurm_without_srun(devices: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As ``salloc -J train`` leaves it: tasks are counted, and nobody has a number."""
    set_all(monkeypatch, {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train", "SLURM_JOB_ID": "1"})
    with pytest.raises(ConfigError, match=r"SLURM_NTASKS is 1, which doesn't fit"):
        is_first_process({"accelerator": "cpu", "devices": devices, "strategy": "ddp"})


@pytest.mark.parametrize("name", ["RANK", "SLURM_PROCID"])
@pytest.mark.parametrize(("verb", "file"), [("fit", "checkpoints/last.ckpt"), ("test", "results.json")])
def test_no_variable_lets_a_run_be_overwritten(
    name: str,
    verb: str,
    file: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if verb == "test" and name != "RANK":
        return  # one is enough: parsing takes its time
    monkeypatch.setenv(name, "1")
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text("mine", encoding="utf-8")
    assert (
        main(
            [
                verb,
                "--config=mini/zeroshot" if verb == "test" else "--config=mini/ce",
                f"--trainer.default_root_dir={tmp_path}",
            ]
        )
        == 2
    )
    assert "give another --trainer.default_root_dir" in capsys.readouterr().err
    assert (tmp_path / file).read_text(encoding="utf-8") == "mine"


def test_a_stop_is_told_by_the_first_process_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for first, status in ((True, 143), (False, 0)):

        def work(words: list[str], first: bool = first) -> int:
            raise Stopped("Stopped after step 3.", 143, first)

        monkeypatch.setenv("RANK", "1")
        monkeypatch.setattr("starft.__main__._work", work)
        assert main(["fit"]) == status
        assert capsys.readouterr().err == ("starft: Stopped after step 3.\n" if first else "")


@pytest.mark.parametrize("devices", ["many", -1, 0.5, [0, 0], ""])
def test_devices_that_no_cpu_has_are_a_sentence(devices: Any) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.devices must be a whole number of at least 1 on CPUs; got"):
        is_first_process({"accelerator": "cpu", "devices": devices})


def test_what_else_lightning_cant_build_is_left_to_the_runs_own_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(**given: Any) -> None:
        raise ModuleNotFoundError("Requirement not met. Try running `pip install`.")

    monkeypatch.setattr("starft.cli.processes.L.Trainer", missing)
    assert is_first_process({"accelerator": "tpu"})
