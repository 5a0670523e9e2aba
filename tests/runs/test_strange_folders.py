"""Run folders of strangers: damaged files end in one sentence, and no picture of the disk gets into the page."""

import json
import os
import random
from base64 import b64decode
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fakes import run_folders as fake
from starft.__main__ import main
from starft.reporting.pictures import data_roots, thumbnail
from starft.runs import samples
from starft.runs.run_reader import Run, find_runs

NAMES = ("samples.npz", "results.json", "metrics.csv", "config.yaml", "pool.json")


def picture(path: Path, size: tuple[int, int] = (64, 64)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (200, 10, 10)).save(path)
    return path


def run_of(folder: Path, root: Any, **data: Any) -> Run:
    folder.mkdir(parents=True, exist_ok=True)
    return Run(folder, "run", config={"data": {"class_path": "X", "init_args": {"root": str(root), **data}}})


def test_pictures_come_from_below_the_data_root_or_the_run_folder_alone(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    inside, outside = picture(root / "a" / "1.jpg"), picture(tmp_path / "private" / "1.jpg")
    (root / "link.jpg").symlink_to(outside)
    (root / "folder").symlink_to(outside.parent)
    (root / "circle.jpg").symlink_to(root / "circle.jpg")
    (root / "notes.jpg").write_text("no picture")
    run = run_of(tmp_path / "run", root)
    assert (thumbnail(run, 0, 1, str(inside)) or "").startswith("data:image/jpeg;base64,")
    for path in (
        outside,
        root / ".." / "private" / "1.jpg",
        root / "link.jpg",
        root / "folder" / "1.jpg",
        root / "circle.jpg",
        root / "notes.jpg",
        root,
        "/dev/zero",
        "a\x00b.jpg",
        "",
    ):
        assert thumbnail(run, 0, 1, str(path)) is None, path


@pytest.mark.parametrize("root", ["/", "~", "~/..", "", None, 3])
def test_a_root_that_holds_everything_counts_for_none(root: Any, tmp_path: Path) -> None:
    given = str(Path(root).expanduser()) if isinstance(root, str) and root else root
    assert data_roots({"data": {"init_args": {"root": given}}}) == []
    assert data_roots({"data": {"init_args": {"file": "/table.csv"}}}) == []
    assert data_roots({"data": [{"root": str(tmp_path)}, {"file": str(tmp_path / "t.csv")}]}) == [tmp_path.resolve()]


def test_a_kept_picture_that_is_a_link_or_no_picture_is_left_out(tmp_path: Path) -> None:
    run, secret = run_of(tmp_path / "run", tmp_path / "none"), tmp_path / "secret.txt"
    secret.write_text("password")
    picture(run.folder / "samples" / "0-1.jpg")
    (run.folder / "samples" / "0-2.jpg").symlink_to(secret)
    (run.folder / "samples" / "0-3.jpg").symlink_to(picture(tmp_path / "private.jpg"))
    (run.folder / "samples" / "0-4.jpg").write_bytes(b"password")
    picture(run.folder / "samples" / "0-5.jpg", (2000, 2000))
    assert [thumbnail(run, 0, at, "") is not None for at in range(6)] == [False, True, False, False, False, False]
    other = run_of(tmp_path / "other", tmp_path / "none")
    (other.folder / "samples").symlink_to(run.folder / "samples")
    assert thumbnail(other, 0, 1, "") is None


def test_a_picture_of_the_data_that_is_too_large_to_decode_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = picture(tmp_path / "photos" / "1.jpg")
    monkeypatch.setattr("starft.reporting.pictures.MOST_PIXELS", 64 * 64 - 1)
    assert thumbnail(run_of(tmp_path / "run", path.parent), 0, 1, str(path)) is None


def test_a_picture_of_the_data_stands_as_its_exif_says(tmp_path: Path) -> None:
    path = tmp_path / "photos" / "1.jpg"
    path.parent.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (40, 20)).save(path, exif=exif)
    shown = thumbnail(run_of(tmp_path / "run", path.parent), 0, 1, str(path)) or ""
    with Image.open(BytesIO(b64decode(shown.partition(",")[2]))) as small:
        assert small.size == (20, 40)


def test_the_page_of_a_stranger_holds_no_picture_of_the_disk(tmp_path: Path) -> None:
    run = fake.write_run(tmp_path / "run", {"groups": fake.eval_set(dict.fromkeys(fake.GROUPS, (1, 2)))})
    fake.write_samples(run, "groups", [at > 3 for at in range(8)], [at % 4 for at in range(8)])
    outside = picture(tmp_path / "private" / "1.jpg")
    columns = dict(np.load(run / "samples.npz"))
    columns["path"] = np.full(8, str(outside))
    np.savez(run / "samples.npz", **columns)
    target = tmp_path / "r.html"
    assert main(["report", str(run), "--out", str(target)]) == 0
    page = target.read_text(encoding="utf-8")
    assert "data:image/jpeg" not in page
    assert "Without a picture" in page


@pytest.fixture
def damaged(tmp_path: Path) -> tuple[Path, Callable[[str], Path]]:
    groups = dict.fromkeys(fake.GROUPS, (8, 10))
    run = fake.write_run(tmp_path / "run", {"groups": fake.eval_set(groups)}, steps=9, pool=fake.POOL)
    fake.write_samples(run, "groups", [at % 5 != 0 for at in range(40)], [at % 4 for at in range(40)])
    return run, lambda name: run / ("logs/version_0/metrics.csv" if name == "metrics.csv" else name)


@pytest.mark.parametrize("name", NAMES)
def test_two_flipped_bytes_end_in_no_traceback(
    name: str, damaged: tuple[Path, Callable[[str], Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    run, path_of = damaged
    path, target = path_of(name), run.parent / "r.md"
    good = path.read_bytes()
    for seed in range(12):
        draw, held = random.Random(seed), bytearray(good)
        for _ in range(2):
            held[draw.randrange(len(held))] ^= 1 << draw.randrange(8)
        path.write_bytes(held)
        if name == "config.yaml":
            (run / "results.json").unlink(missing_ok=True)  # else its own config counts
        assert main(["report", str(run), "--out", str(target)]) in (0, 2)
        told = capsys.readouterr().err
        assert "Traceback" not in told
        assert all(line.startswith(("Note: ", "starft: ")) for line in told.splitlines())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("samples.npz", b"PK\x03\x04"),
        ("results.json", b"[" * 3000),
        ("results.json", b'{"eval_sets": {"id": {"ood": false, "metrics": {"acc": 9.9}, "groups": []}}}'),
        ("metrics.csv", b"step,train/loss\n1,much\n"),
        ("pool.json", b'{"name": "a", "templates": 3}'),
    ],
)
def test_what_is_damaged_is_named(name: str, content: bytes, damaged: tuple[Path, Callable[[str], Path]]) -> None:
    run, path_of = damaged
    path_of(name).write_bytes(content)
    told = find_runs([run])[0].problems
    assert len(told) == 1
    assert {"metrics.csv": "logs", "samples.npz": "samples"}.get(name, name) in told[0]
    assert "damaged" in told[0]


@pytest.mark.parametrize(
    ("key", "value"),
    [("acc", 1.5), ("acc", -0.1), ("acc", float("inf")), ("acc", "0.9")],
)
def test_a_number_that_no_test_gives_is_damage(
    key: str, value: Any, damaged: tuple[Path, Callable[[str], Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = damaged
    held = json.loads((run / "results.json").read_text())
    held["eval_sets"]["groups"]["metrics"][key] = value
    (run / "results.json").write_text(json.dumps(held))
    assert main(["report", str(run), "--out", str(run.parent / "r.md")]) == 2
    assert "results.json is damaged" in capsys.readouterr().err


def test_columns_of_other_kinds_are_no_samples(damaged: tuple[Path, Callable[[str], Path]]) -> None:
    run, _ = damaged
    good = dict(np.load(run / "samples.npz"))
    for name, column in (
        ("right", good["right"].astype(float)),
        ("index", good["index"].astype(float)),
        ("confidence", np.full(40, np.nan)),
        ("label", good["label"][:9]),
        ("group", good["group"][:, None]),
    ):
        np.savez(run / "samples.npz", **{**good, name: column})
        with pytest.raises(ValueError, match="can't be read"):
            samples.read_samples(run)


def test_what_is_no_regular_file_is_not_read(damaged: tuple[Path, Callable[[str], Path]]) -> None:
    run, path_of = damaged
    for name in NAMES:
        path_of(name).unlink()
        path_of(name).mkdir()
    found = find_runs([run])[0]
    assert found.problems == ["not tested: there is no results.json"]
    assert not found.curves
    assert found.samples is None
    for name in ("samples.npz", "metrics.csv"):
        path_of(name).rmdir()
        os.mkfifo(path_of(name))  # would be waited for
    assert not find_runs([run])[0].curves


def test_a_file_that_unpacks_to_more_than_the_bound_is_not_read(
    damaged: tuple[Path, Callable[[str], Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "LARGEST", 1000)
    with pytest.raises(ValueError, match="can't be read"):
        samples.read_samples(damaged[0])
