"""What holds for every verb: shipped configs by name, and an output that nobody reads any more."""

import os
import platform
import resource
import shlex
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
import yaml
from lightning.pytorch.strategies import SingleDeviceStrategy

import starft
from fakes.pages import pages_before_and_after
from starft.__main__ import main
from starft.cli.fit import build
from starft.cli.launch import SPINS, share_cores
from starft.config.fit_help import OPTIONS
from starft.files.shipped import shipped, with_shipped_configs

MINI = str(shipped("lightning_configs") / "mini/starft.yaml")


@pytest.mark.parametrize("name", ["mini/starft", "mini/starft.yaml", "lightning_configs/mini/starft.yaml"])
def test_a_shipped_config_goes_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert with_shipped_configs(["fit", "--config", name, "--x"]) == ["fit", "--config", MINI, "--x"]
    assert with_shipped_configs(["prompts", "check", f"--data={name}"]) == ["prompts", "check", f"--data={MINI}"]
    assert with_shipped_configs(["check", name]) == ["check", name], "other words stay"
    Path(name).parent.mkdir(parents=True)
    Path(name).touch()
    assert with_shipped_configs(["fit", "-c", name]) == ["fit", "-c", name], "one's own file wins"


@pytest.mark.parametrize(
    ("set_before", "spins"),
    [({}, SPINS), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_threads_wait_patiently_unless_a_person_says_how(
    set_before: dict[str, str], spins: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(set_before))
    share_cores()
    assert os.environ.get("GOMP_SPINCOUNT") == spins


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left alone")
@pytest.mark.parametrize("told", [None, "MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_memory_is_kept_for_the_next_step_unless_a_person_says_how(
    told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES"]:
        monkeypatch.delenv(name)
    if told is not None:
        monkeypatch.setenv(told, "")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        before, after = process.submit(pages_before_and_after).result()
    assert before > 2**26 // 2 / resource.getpagesize()
    assert (after < before / 100) == (told is None)


@pytest.mark.parametrize(("device", "kept"), [("cpu", True), ("cuda", False)])
def test_memory_is_kept_where_the_model_is_on_the_cpu(
    device: str, kept: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[None] = []
    monkeypatch.setattr("starft.cli.fit.keep_memory", lambda: asked.append(None))
    monkeypatch.setattr(SingleDeviceStrategy, "root_device", torch.device(device))
    build(["fit", f"--config={MINI}", f"--trainer.default_root_dir={tmp_path}", "--trainer.accelerator=cpu"])
    assert bool(asked) == kept


@pytest.mark.parametrize("value", ["mini/nope", "/", "", "../x", "starft.mini.MiniWorld", "mini", '{"a": 1}' * 99, "."])
def test_other_values_stay(value: str) -> None:
    assert with_shipped_configs(["fit", "--data", value]) == ["fit", "--data", value]
    assert with_shipped_configs(["fit", f"--data={value}"]) == ["fit", f"--data={value}"]
    assert with_shipped_configs(["fit", "--data"]) == ["fit", "--data"]


@pytest.mark.parametrize(
    ("words", "status"),
    [(["--help"], 141), (["prompts"], 141), (["prompts", "list"], 1), (["prompts", "check", "--help"], 0)],
    ids=["ours", "ours too", "by rich", "by argparse"],
)
def test_nobody_reads_the_output_any_more(words: list[str], status: int) -> None:
    read, write = os.pipe()
    os.close(read)
    environment = os.environ | {"PYTHONPATH": str(Path(starft.__file__).parents[1])}
    command = [sys.executable, "-m", "starft", *words]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False, env=environment, timeout=300)
    os.close(write)
    assert done.stderr == b""
    assert done.returncode == status, "the libraries that print have statuses of their own"


def test_the_examples_of_the_short_help_are_understood(capsys: pytest.CaptureFixture[str]) -> None:
    """All at once, but for the checkpoint, which isn't there."""
    examples = [example for example, _ in OPTIONS if not example.startswith(("--ckpt_path", "--print_config"))]
    with pytest.raises(SystemExit) as end:
        main(["fit", *shlex.split(" ".join(examples)), "--data.init_args.file=photos.csv", "--print_config"])
    assert end.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert [regularizer["class_path"] for regularizer in config["model"]["regularizers"]][-1] == "starft.losses.KD"
    assert (config["model"]["lr"], config["data"]["init_args"]["batch_size"]) == (1e-5, 64)
