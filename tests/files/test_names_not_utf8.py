"""Names of files and folders that aren't UTF-8 are refused in one sentence before any work, wherever they come from."""

import os
import sys
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path

import numpy as np
import pytest

from fakes.own_images import write_folders, write_jpeg
from starft.__main__ import main
from starft.data import ImageFolder
from starft.data.datasets.new_images import NewImages
from starft.data.paths import path_problems
from starft.data.source import ImageTable
from starft.files.atomic import not_text

BAD = os.fsdecode(b"caf\xe9")
"""As Windows and old archives write it."""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = write_folders(tmp_path / "photos", {"": 6})
    try:
        (folder / "boot" / f"{BAD}.jpg").write_bytes((folder / "boot" / "0.jpg").read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    return folder


def test_names_that_are_not_utf8_are_shown_so_that_they_can_be_printed() -> None:
    assert not_text(["a", "ü", f"{BAD}.jpg", "\ud800"]) == ["caf\\xe9.jpg", "\\ud800"]


@pytest.mark.parametrize("part", ["file", "class"])
def test_folders_are_refused_before_a_run(part: str, photos: Path) -> None:
    if part == "class":
        (photos / "boot" / f"{BAD}.jpg").unlink()
        (photos / "sandal").rename(photos / BAD)
    problems = [problem for one in ImageFolder(photos).check("fit", "test") for problem in one.problems]
    assert [problem.stops for problem in problems] == [True]
    assert problems[0].text.isprintable()
    assert "isn't UTF-8: boot/caf\\xe9.jpg" in problems[0].text or "aren't UTF-8: caf\\xe9/0.jpg" in problems[0].text


def test_new_images_are_refused(photos: Path) -> None:
    trained = ImageFolder(photos).source
    (problem, *_) = path_problems(NewImages(photos, trained).table("test"))
    assert problem.stops
    assert problem.text.startswith("1 name of a file or folder isn't UTF-8: boot/caf\\xe9.jpg; rename it")


def test_so_is_a_root_that_is_called_so(tmp_path: Path) -> None:
    (problem,) = path_problems(ImageTable(tmp_path / BAD, ("a.jpg",), np.zeros(1, np.int64)))
    assert problem.stops
    assert "caf\\xe9" in problem.text


@pytest.mark.parametrize("given", ["folder", "glob"])
def test_predict_refuses_them_before_the_model_is_loaded(
    given: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = str(photos) if given == "folder" else f"{photos}/boot/*"
    assert main(["predict", str(tmp_path / "no.ckpt"), images, f"--out={tmp_path / 'p.csv'}"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("starft: 1 name of a file or folder isn't UTF-8: ")
    assert "caf\\xe9.jpg" in said
    assert not (tmp_path / "p.csv").exists()


def test_names_on_standard_input_are_skipped_and_told(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """They come while the work is done; every other row is there."""
    write_jpeg(tmp_path / "a.jpg", 0)
    lines = f"{tmp_path}/a.jpg\n".encode()
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(lines + b"caf\xe9.jpg\n" + lines), encoding="utf-8"))
    assert main(["predict", str(checkpoint), "-", "--workers=0", "--device=cpu", f"--out={tmp_path / 'p.csv'}"]) == 0
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 3
    assert "skipped caf\\xe9.jpg: its name isn't UTF-8, rename it" in capfd.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        lambda bad: ["fit", "--config", f"{bad}.yaml"],
        lambda bad: ["predict", f"{bad}.ckpt", "photos"],
        lambda bad: ["export", "a.ckpt", "--to", bad],
        lambda bad: ["report", bad],
        lambda bad: ["data", "check", f"--data.init_args.root={bad}"],
    ],
)
def test_words_of_a_command_are_refused(words: Callable[[str], list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(BAD)) == 2
    said = capsys.readouterr().err
    assert "caf\\xe9" in said
    assert "isn't UTF-8; rename the file or folder" in said


def test_a_report_of_runs_that_are_called_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", BAD):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.yaml").write_text("{}\n")
    assert main(["report", str(tmp_path / "runs"), f"--out={tmp_path / 'page.html'}"]) == 2
    assert capsys.readouterr().err == "starft: The run folder caf\\xe9 has a name that isn't UTF-8; rename it.\n"
