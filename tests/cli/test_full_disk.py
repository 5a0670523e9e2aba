"""A disk that fills up while rows or an export are written: whole rows, one sentence, nothing that passes for whole."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from starft.errors import RunFolderError
from starft.exporting.folder import whole
from starft.files.atomic import replace_file
from starft.inference.rows import Output


class Filling:
    """A file on a disk that has room for so many bytes more; it takes a part of a write, as systems do."""

    def __init__(self, file: Any, room: int) -> None:
        self.file, self.room = file, room

    def write(self, content: Any) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part = content[: self.room]
        self.room -= len(part)
        return int(self.file.write(part))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_torn_row_is_cut_back_to_the_last_whole_batch(form: str, tmp_path: Path) -> None:
    path = tmp_path / f"out.{form}"
    rows = [{"path": f"images/{number}.jpg", "label": "duck", "probability": 0.5} for number in range(4)]
    with Output(path, None, ["path", "label", "probability"]) as output:
        output.write(rows[:2])
        before = path.read_bytes()
        output.writer._file = Filling(output.writer._file, 30)  # type: ignore[attr-defined]
        with pytest.raises(RunFolderError) as caught:
            output.write(rows[2:])
    assert str(caught.value) == (
        f"{path} can't be written to: No space left on device; it holds whole rows of what came before. "
        "Free the disk or give another place."
    )
    assert path.read_bytes() == before
    assert output.count == 2


def test_a_parquet_file_without_its_index_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.parquet"
    output = Output(path, None, ["path", "label", "probability"])
    output.write([{"path": "a.jpg", "label": "duck", "probability": 0.5}])

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(output.writer._writer, "write_table", full)  # type: ignore[attr-defined]
    with pytest.raises(RunFolderError, match=r"out\.parquet can't be written to: No space left .* is gone, as Parquet"):
        output.close()
    assert list(tmp_path.iterdir()) == []


def full_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_disk_as_safetensors_tells_it() -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize("fail", [full_disk, full_disk_as_safetensors_tells_it])
def test_an_export_on_a_full_disk_is_told_with_its_folder_and_leaves_nothing(
    fail: Callable[[], None], tmp_path: Path
) -> None:
    with pytest.raises(OSError, match="No space left on device") as caught, whole(tmp_path / "out"):
        fail()
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_finds_no_room_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        full_disk()

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        replace_file(tmp_path / "results.json", b"x")
    assert caught.value.filename == str(tmp_path / "results.json")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_export_left_goes_when_it_is_old(tmp_path: Path) -> None:
    old, new = (tmp_path / f".out.{digit * 32}.tmp" for digit in "12")
    for folder in (old, new):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half")
    for path in (old / "model.safetensors", old):
        os.utime(path, (1, 1))
    with whole(tmp_path / "out") as folder:
        (folder / "model.safetensors").write_bytes(b"whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [new.name, "out"]
    assert (tmp_path / "out" / "SHA256SUMS").read_text(encoding="utf-8").endswith("  model.safetensors\n")
