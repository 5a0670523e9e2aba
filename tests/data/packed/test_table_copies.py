"""Tables of the Hub: images that nobody labelled, and the copies of Parquet files' images in the cache."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fakes.shards import Part, image_table, picture, samples, write_table_file, write_tar
from starft.__main__ import main
from starft.data import PackedSource
from starft.data.packed import scan
from starft.errors import DataError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for each test."""
    monkeypatch.setenv("STARFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "packed"


def unlabelled_test(folder: Path) -> Path:
    """A table with labels, and one whose labels are -1, as ``datasets`` writes a test that is kept back."""
    write_table_file(folder / "data" / "train-00000-of-00001.parquet", image_table([0, 1, 0, 1, -1]))
    write_table_file(folder / "data" / "test-00000-of-00001.parquet", image_table([-1, -1, -1]))
    return folder


def test_images_that_nobody_labelled(tmp_path: Path) -> None:
    """One sentence that says what to do; what it says works; a label -1 of a tar shard is a class like any other."""
    folder = unlabelled_test(tmp_path / "d")
    with pytest.raises(DataError) as caught:
        PackedSource(str(folder)).table("train")
    assert str(caught.value) == (
        f"{folder}: 4 samples have the label -1, first data/test-00000-of-00001.parquet#0; nobody says what these "
        "show: leave their split out, as by data.init_args.splits {train: train, val: validation}; mend the shards, "
        "or set data.init_args.on_bad_image to skip."
    )
    kept = PackedSource(str(folder), on_bad_image="skip", val_fraction=0)
    assert kept.splits == ("train",)
    assert kept.table("train").labels.tolist() == [0, 1, 0, 1]
    (note,) = kept.notes
    assert note.startswith("4 samples have the label -1, first data/test-")
    write_table_file(folder / "data" / "train-00000-of-00001.parquet", image_table([0, 1, 0, 1]))
    without = PackedSource(str(folder), splits={"train": "train"}, val_fraction=0)
    assert (without.splits, without.notes) == (("train",), ())
    write_tar(tmp_path / "tar" / "train.tar", [*samples(1, label=-1), *samples(1, 1, label=1)])
    assert PackedSource(str(tmp_path / "tar"), val_fraction=0).class_names == ("-1", "1")


def test_tables_of_other_classes(tmp_path: Path) -> None:
    write_table_file(tmp_path / "test.parquet", image_table([0, 1]))
    write_table_file(tmp_path / "train.parquet", image_table([0, 1], ("cat", "dog")))
    with pytest.raises(
        DataError, match=r"train.parquet names the classes cat, dog, and the tables before it boot, sandal; give tables"
    ):
        PackedSource(str(tmp_path)).table("train")


def test_pairs_without_a_caption_are_refused_or_counted(tmp_path: Path) -> None:
    """Where there are no labels; an empty text is none, and one that isn't text has one advice."""
    parts: list[Part] = []
    for number, text in enumerate((b"a duck", b"", b"a crow", None, b"an owl")):
        parts += [(f"{number}.jpg", picture(number))]
        parts += [(f"{number}.txt", text)] if text is not None else []
    write_tar(tmp_path / "train.tar", parts)
    with pytest.raises(DataError, match=r": 2 samples have no caption, first train.tar#1; mend the shards, or set"):
        PackedSource(str(tmp_path)).table("train")
    kept = PackedSource(str(tmp_path), on_bad_image="skip", val_fraction=0)
    table = kept.table("train")
    assert ([*table.paths], list(table.captions or ())) == (
        ["train.tar#0", "train.tar#2", "train.tar#4"],
        ["a duck", "a crow", "an owl"],
    )
    assert "2 samples have no caption, first train.tar#1; left out, as on_bad_image is skip" in kept.notes
    write_tar(tmp_path / "train.tar", [*parts[:2], ("x.jpg", picture(9)), ("x.txt", b"a\0b")])
    with pytest.raises(DataError, match=r"train.tar#x: its caption holds 'a\\x00b', which isn't text; mend it\.$"):
        PackedSource(str(tmp_path)).table("train")


def check(folder: Path, *options: str) -> list[str]:
    return ["data", "check", "--config=packed/starft", f"--data.init_args.root={folder}", *options]


def test_copies_are_told_and_refused_where_they_have_no_room(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = [
        write_table_file(tmp_path / "d" / f"{name}.parquet", image_table([0, 1] * 4))
        for name in ("train", "val", "test")
    ]
    size = sum(table.stat().st_size for table in tables)
    monkeypatch.setattr(scan, "disk_usage", lambda path: SimpleNamespace(free=size - 1))
    assert main(check(tmp_path / "d")) == 2
    told = " ".join("".join(capsys.readouterr()).split())
    assert (
        f"Copying the images of 3 Parquet files to the cache {cache} takes {size:,} bytes, and its disk has "
        f"{size - 1:,} bytes left; free some, or set STARFT_CACHE to a folder on another disk"
    ) in told
    assert not cache.exists()
    monkeypatch.undo()
    monkeypatch.setenv("STARFT_CACHE", str(cache.parent))
    monkeypatch.setattr(scan, "TELL", 1)
    note = f"Note: copying the images of 3 Parquet files to the cache {cache}, {size:,} bytes, once."
    assert main(check(tmp_path / "d")) == 0
    assert capsys.readouterr().err.splitlines() == [note]
    assert main(check(tmp_path / "d")) == 0
    assert "copying" not in capsys.readouterr().err
    for index in cache.glob("*.npz"):
        index.unlink()
    monkeypatch.setattr(scan, "disk_usage", lambda path: SimpleNamespace(free=0))
    assert main(check(tmp_path / "d")) == 0, "copies of before are replaced, so they take no more room"


def test_a_disk_that_fills_up_while_images_are_copied(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence, and no half of a copy."""
    write_table_file(tmp_path / "d" / "train.parquet", image_table([0, 1] * 4))

    def full(self: Any, copy: Any) -> Any:
        copy.write(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield

    monkeypatch.setattr("starft.data.packed.arrow_tables.ImageRows.samples", full)
    assert main(check(tmp_path / "d")) == 2
    told = " ".join("".join(capsys.readouterr()).split())
    assert (
        f"The images of {tmp_path}/d/train.parquet can't be copied to the cache {cache} (No space left on device); "
        "make room there, or set STARFT_CACHE to another folder."
    ) in told
    assert [*cache.iterdir()] == []


def test_a_cache_that_cannot_be_made(tmp_path: Path, cache: Path) -> None:
    write_table_file(tmp_path / "d" / "train.parquet", image_table([0, 1] * 4))
    cache.parent.write_bytes(b"")
    with pytest.raises(DataError, match=r"can't be copied to the cache .*cache/packed \(Not a directory\); make room"):
        PackedSource(str(tmp_path / "d")).table("train")
