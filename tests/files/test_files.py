"""Writing a file whole or not at all."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from starft.files.atomic import replace_file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_file(tmp_path: Path) -> None:
    replace_file(tmp_path / "new.json", b"\x00all of it\n")
    assert (tmp_path / "new.json").read_bytes() == b"\x00all of it\n"
    assert names(tmp_path) == ["new.json"]


def test_an_old_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_bytes(b"a much longer text than the new one")
    replace_file(path, b"")
    assert path.read_bytes() == b""
    assert names(tmp_path) == ["old.json"]


def test_a_reader_keeps_the_file_it_opened(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        replace_file(path, b"new")
        assert reader.read() == b"old"


def test_the_file_is_as_open_as_any_other(tmp_path: Path) -> None:
    """Temporary files of the standard library would be closed to the rest of a group."""
    (tmp_path / "plain").write_bytes(b"")
    replace_file(tmp_path / "ours", b"")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "ours")]
    assert modes[0] == modes[1]


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize("there", [True, False])
def test_a_failure_keeps_the_old_file_and_leaves_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, there: bool
) -> None:
    path = tmp_path / "results.json"
    if there:
        path.write_bytes(b"old")

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, os.strerror(28))

    if step == "write":

        class FullDisk:
            def __init__(self, file: Any) -> None:
                self.file = file

            def __enter__(self) -> "FullDisk":
                return self

            def __exit__(self, *_: object) -> None:
                self.file.close()

            write = full

        opened = Path.open
        monkeypatch.setattr(Path, "open", lambda self, *given: FullDisk(opened(self, *given)))
    else:
        monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"new")
    monkeypatch.undo()
    assert names(tmp_path) == (["results.json"] if there else [])
    if there:
        assert path.read_bytes() == b"old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full to write to")
def test_a_disk_that_is_really_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(b"old")
    opened = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode: opened(Path("/dev/full"), "wb"))
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["results.json"]


def test_a_missing_folder_and_a_folder_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        replace_file(tmp_path / "missing" / "file", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        replace_file(tmp_path / "folder", b"x")
    assert names(tmp_path) == ["folder"]
