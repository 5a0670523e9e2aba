"""Two processes, by the real command and by torchrun's way, do what one does: train, stop, go on, test, predict."""

import contextlib
import csv
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.distributed.run import get_args_parser
from torch.utils.data import Subset

from fakes.own_images import CLASSES, write_jpeg
from fakes.processes import free_port, launched
from starft.__main__ import main
from starft.mini import MiniWorld
from starft.training.stopping import StopSafely

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ODD = {"val": (11, 7, 1), "test": (11, 12, 7, 3)}
"""Rows of each eval set: two processes can't halve them, and one of them has a last batch of repeats alone."""


class OddWorld(MiniWorld):
    """The embedded world with eval sets of odd sizes."""

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self.val_data = [Subset(*held) for held in _first(self.val_data, ODD["val"])]
        self.test_data = [Subset(*held) for held in _first(self.test_data, ODD["test"])]


def _first(data: Any, sizes: tuple[int, ...]) -> list[tuple[Any, range]]:
    return [(one, range(size)) for one, size in zip(data, sizes, strict=False)]


def words(verb: str, folder: Path, batch_size: int, *options: str) -> list[str]:
    """Four steps in two epochs; in the last one only a resting term reads the text tower."""
    return [
        verb,
        f"--config={ROOT / 'lightning_configs' / 'mini' / 'starft_ce.yaml'}",
        "--data=test_devices.OddWorld",
        "--data.init_args.train_size=24",
        f"--data.init_args.batch_size={batch_size}",
        "--data.init_args.val_size=12",
        "--data.init_args.test_size=12",
        "--data.init_args.eval_batch_size=2",
        "--trainer.max_epochs=2",
        "--trainer.check_val_every_n_epoch=1",
        "--trainer.log_every_n_steps=1",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
        f"--trainer.default_root_dir={folder}",
        *options,
    ]


def on_two(verb: str, folder: Path, *options: str, overlay: str = "ddp") -> list[str]:
    devices = (f"--config=common/{overlay}", "--trainer.devices=2", "--trainer.accelerator=cpu")
    return words(verb, folder, 6, *devices, *options)


def last(folder: Path) -> Path:
    return folder / "checkpoints" / "last.ckpt"


def logged(folder: Path) -> dict[str, list[float]]:
    """Each column of the logs, in the order of the steps, over all parts of a run."""
    found: dict[str, list[float]] = {}
    for path in sorted(folder.glob("logs/*/metrics.csv")):
        with path.open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                for name, value in row.items():
                    if value:
                        found.setdefault(name, []).append(float(value))
    return found


def environment() -> dict[str, str]:
    folders = (ROOT / "src", ROOT / "tests", Path(__file__).parent)
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, folders))}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process on the joined batches."""
    folder = tmp_path_factory.mktemp("one") / "run"
    assert main(words("fit", folder, 12)) == 0
    return folder


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """A run of two processes by the real command; what it told, and its complaints."""
    folder = tmp_path_factory.mktemp("two") / "run"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "starft", *on_two("fit", folder)],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )
    except OSError as error:
        pytest.skip(f"no processes can be started here: {error}")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout, done.stderr


def test_the_command_on_two_devices_trains_as_one_process_does(one: Path, two: tuple[Path, str, str]) -> None:
    folder, told, complaints = two
    expected, got = logged(one), logged(folder)
    assert len(expected["train/loss"]) == 4
    assert got["train/spuriosity_alignment_weight"] == [2.5, 2.5], "the last epoch runs without it"
    assert got.keys() == expected.keys()
    for name in ("train/loss", "train/cross_entropy"):
        assert got[name][0] == pytest.approx(expected[name][0], rel=1e-5)
    assert told.count("Next: starft test") == told.count("Best val/id/acc") == 1
    assert "Traceback" not in complaints
    assert "Warning" not in complaints
    made = {"config.yaml", "pool.json", "logs", "checkpoints", "manifest.json", "manifest.npz"}
    assert {path.name for path in folder.iterdir()} == made
    assert [path.name for path in (folder / "logs").iterdir()] == ["version_0"]


PAGE = (ROOT / "docs" / "devices.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"starft (\w+ --config .*)", "".join(re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)))


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) == 6


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_page_are_whole(command: str) -> None:
    """Nobody has their machines here; the options at least are all known, and lead to a whole config."""
    told = io.StringIO()
    with pytest.raises(SystemExit) as ended, contextlib.redirect_stdout(told):
        main([*shlex.split(command), "--print_config"])
    assert ended.value.code == 0
    assert {"trainer", "model", "data"} <= yaml.safe_load(told.getvalue()).keys()


# On two machines, which are both this one

TWO_MACHINES = (
    "--config=common/multinode",
    "--trainer.num_nodes=2",
    "--trainer.devices=1",
    "--trainer.accelerator=cpu",
)


def fit(folder: Path, *options: str) -> int:
    return main(words("fit", folder, 6, *options))


def test_torchrun_on_two_machines_does_what_one_machine_does(two: tuple[Path, str, str], tmp_path: Path) -> None:
    """The page's command is one that torchrun takes; what it then starts on each machine is one process here."""
    (launcher,) = re.findall(r"^torchrun (.*) -m starft fit ", PAGE, re.MULTILINE)
    options = launcher.replace("HOST:29500", f"localhost:{free_port()}").split()
    taken = get_args_parser().parse_args([*options, "-m", "starft", "fit"])
    assert (taken.nnodes, taken.nproc_per_node, taken.rdzv_backend) == ("2", "8", "c10d")
    run = tmp_path / "run"
    assert launched(2, fit, tmp_path / "processes", run, *TWO_MACHINES, by="torchrun on two machines") == [0, 0]
    assert_same_weights(run, two[0])


def assert_same_weights(folder: Path, expected: Path) -> None:
    ended, wanted = (torch.load(last(one), weights_only=True) for one in (folder, expected))
    assert ended["global_step"] == wanted["global_step"] == 4
    assert ended["state_dict"].keys() == wanted["state_dict"].keys()
    assert [name for name, value in wanted["state_dict"].items() if not value.equal(ended["state_dict"][name])] == []


# In processes that torchrun or srun would start


def stop_and_go_on(folder: Path, *options: str, overlay: str = "ddp") -> tuple[list[int], str]:
    """Stop behind step 3, by a signal that one process alone hears; continue."""
    on_train_batch_end = StopSafely.on_train_batch_end

    def signalled(self: StopSafely, trainer: Any, *args: Any) -> None:
        if trainer.global_step == 3 and trainer.global_rank == 1:
            signal.raise_signal(signal.SIGTERM)
        on_train_batch_end(self, trainer, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StopSafely, "on_train_batch_end", signalled)
        statuses = [main(on_two("fit", folder, *options, overlay=overlay))]
    reached = int(torch.load(last(folder), weights_only=True)["global_step"])
    statuses += [reached, main(on_two("fit", folder, *options, f"--ckpt_path={last(folder)}", overlay=overlay))]
    return statuses, str(folder)


def score(folder: Path, checkpoint: Path) -> list[int]:
    given = f"--ckpt_path={checkpoint}"
    return [main(on_two("test", folder, given)), main(on_two("predict", folder, given))]


def test_srun_on_two_machines_stops_at_sigterm_and_goes_on_as_one_machine_does(
    two: tuple[Path, str, str], tmp_path: Path
) -> None:
    """As the page has it: SIGTERM before the end of the allocation. test_fsdp.py has the same of one machine."""
    run = tmp_path / "run"
    found = launched(2, stop_and_go_on, tmp_path / "processes", run, *TWO_MACHINES, by="srun")
    assert [statuses for statuses, _ in found] == [[143, 3, 0], [0, 3, 0]]
    assert_same_weights(run, two[0])
    assert logged(run)["train/loss"] == logged(two[0])["train/loss"]


def test_no_sample_is_counted_twice_and_predictions_come_once_in_order(one: Path, tmp_path: Path) -> None:
    """Every count and every row of two processes is that of one."""
    alone, run = tmp_path / "alone", tmp_path / "run"
    for verb in ("test", "predict"):
        assert main(words(verb, alone, 12, f"--ckpt_path={last(one)}")) == 0
    assert launched(2, score, tmp_path / "processes", run, last(one)) == [[0, 0], [0, 0]]
    expected, got = (json.loads((folder / "results.json").read_text(encoding="utf-8")) for folder in (alone, run))
    assert [sum(group["n"] for group in held["groups"]) for held in expected["eval_sets"].values()] == [*ODD["test"]]
    for name, held in expected["eval_sets"].items():
        # Who is right is the same to the last sample; of confidences, the last digit depends on a batch's company.
        errors = [found["eval_sets"][name]["metrics"].pop("ece") for found in (got, expected)]
        assert errors[0] == pytest.approx(errors[1], abs=1e-6)
        assert got["eval_sets"][name] == held
    assert got["ood_acc"] == expected["ood_acc"]
    tables = []
    for folder in (alone, run):
        with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
            tables.append([(row.pop("probability"), row) for row in csv.DictReader(file)])
    assert len(tables[0]) == sum(ODD["test"])
    assert [row for _, row in tables[1]] == [row for _, row in tables[0]]
    assert [float(share) for share, _ in tables[1]] == pytest.approx([float(share) for share, _ in tables[0]], abs=1e-5)


def fit_and_predict(table: Path, run: Path) -> list[int]:
    options = [
        "--config=csv/ce",
        "--config=common/ddp",
        "--trainer.devices=2",
        "--trainer.accelerator=cpu",
        "--trainer.precision=32-true",
        "--trainer.max_epochs=1",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
        f"--trainer.default_root_dir={run}",
        "--model.model_name=starft-mini",
        "--model.pretrained=mini",
        f"--data.init_args.file={table}",
        "--data.init_args.batch_size=2",
        "--data.init_args.eval_batch_size=1",
        "--data.init_args.num_workers=0",
        "--data.init_args.on_bad_image=skip",
    ]
    given = f"--ckpt_path={last(run)}"
    return [main(["fit", *options]), main(["test", *options, given]), main(["predict", *options, given])]


def test_bad_images_of_one_device_leave_no_other_waiting(tmp_path: Path) -> None:
    """Of the six images of each eval set the second process is dealt three, and can read the last one only."""
    rows = [("path", "label", "split")]
    for split, count in (("train", 8), ("val", 6), ("test", 6)):
        for number in range(count):
            path = f"{split}{number}.jpg"
            write_jpeg(tmp_path / path, len(rows))
            rows.append((path, CLASSES[number % 2], split))
            if split != "train" and number in (1, 3):
                (tmp_path / path).write_text("no image")
    with (tmp_path / "shoes.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    run = tmp_path / "run"
    assert launched(2, fit_and_predict, tmp_path / "processes", tmp_path / "shoes.csv", run) == [[0, 0, 0]] * 2
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert [sum(group["n"] for group in held["groups"]) for held in results["eval_sets"].values()] == [4]
    with (run / "predictions.csv").open(newline="", encoding="utf-8") as file:
        assert [Path(row["path"]).name for row in csv.DictReader(file)] == [f"test{n}.jpg" for n in (0, 2, 4, 5)]
