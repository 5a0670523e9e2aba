"""Two processes in one run folder, kills before the first checkpoint, and what they leave."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from starft.__main__ import main
from starft.errors import RunFolderError
from starft.files.atomic import remove_temporary_files
from starft.runs.folder import claim, lock_folder, locked_if_free
from starft.runs.layout import LOCK


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


HOLD = """
import sys, time
from filelock import FileLock
lock = FileLock(sys.argv[1])
lock.acquire()
print(1, flush=True)
time.sleep(99)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that works in tmp_path/run."""
    (tmp_path / "run").mkdir()
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run" / LOCK)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_one_process_at_a_time(
    holder: subprocess.Popen[bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    told = f"starft: Another starft is at work in {run}; wait until it has ended, or give another "
    told += "--trainer.default_root_dir."
    for verb in ("fit", "test"):
        assert main([verb, "--config=mini/ce", f"--trainer.default_root_dir={run}"]) == 2
        assert capsys.readouterr().err.splitlines()[-1] == told
    with locked_if_free(run) as free:
        assert not free
    assert names(run) == [LOCK]
    holder.kill()  # its lock goes with it, though the file stays
    holder.wait()
    with lock_folder(run):
        claim(run, None, "a: 1\n")
    assert names(run) == []


def test_a_lock_is_given_back(tmp_path: Path) -> None:
    for _ in range(2):
        with lock_folder(tmp_path / "run"):
            assert (tmp_path / "run" / LOCK).is_file()
    assert names(tmp_path / "run") == []


def killed(run: Path) -> Path:
    """What a run leaves that was killed in its first epoch, or while it wrote its first checkpoint."""
    for name in (
        "config.yaml",
        "pool.json",
        "manifest.json",
        "unfinished.json",
        ".lock",
        "logs/version_0/hparams.yaml",
    ):
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("a: 1\n", encoding="utf-8")
    (run / "logs/version_0/metrics.csv").write_text("step\n1\n", encoding="utf-8")
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / f".last.ckpt.{'0' * 32}.tmp").write_bytes(b"half")
    return run


def test_a_run_that_was_killed_before_its_first_checkpoint_just_runs_again(tmp_path: Path) -> None:
    run = killed(tmp_path / "run")
    claim(run, None, "a: 1\n")
    assert list((run / "checkpoints").iterdir()) == []
    assert [path.name for path in (run / "logs/version_0").glob("m*")] == ["metrics-1.csv"], "kept, out of the curves"
    claim(run, None, "a: 1\n")
    assert (run / "logs/version_0/metrics-1.csv").is_file()


@pytest.mark.parametrize(
    "more",
    [
        "checkpoints/last.ckpt",
        "checkpoints/mine.ckpt",
        "results.json",
        "predictions.csv",
        "notes.txt",
        "logs/version_0/events.out",
    ],
)
def test_a_folder_with_anything_worth_keeping_is_refused_and_left_alone(more: str, tmp_path: Path) -> None:
    run = killed(tmp_path / "run")
    (run / more).write_text("mine", encoding="utf-8")
    before = sorted(run.rglob("*"))
    with pytest.raises(RunFolderError, match="isn't empty"):
        claim(run, None, "a: 1\n")
    assert sorted(run.rglob("*")) == before


def test_another_command_is_refused(tmp_path: Path) -> None:
    run = killed(tmp_path / "run")
    with pytest.raises(RunFolderError, match="isn't empty"):
        claim(run, None, "a: 2\n")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "pool.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RunFolderError, match="isn't empty"):  # a person put it there
        claim(tmp_path / "own", None, "a: 1\n")


def test_a_temporary_file_of_another_process_stays_while_it_may_be_written(tmp_path: Path) -> None:
    ours, new, old, other = (
        f".{name}.tmp" for name in (f"last.ckpt.{'1' * 32}", f"a.ckpt.{'2' * 32}", f"b.ckpt.{'3' * 32}", "x")
    )
    for name in (ours, new, old, other):
        (tmp_path / name).touch()
    os.utime(tmp_path / old, (1, 1))
    os.utime(tmp_path / other, (1, 1))
    remove_temporary_files(tmp_path, ("last.ckpt",))
    assert sorted(names(tmp_path)) == sorted([new, other])
