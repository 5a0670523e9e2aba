"""Run folders: claimed once, never overwritten, given back when a run was refused."""

from pathlib import Path

import pytest

from starft.errors import RunFolderError
from starft.run_folder import check_writable, checkpoint_callbacks, claim, release, save_config


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def a_run(folder: Path) -> Path:
    (folder / "checkpoints").mkdir(parents=True)
    last = folder / "checkpoints" / "last.ckpt"
    last.write_bytes(b"weights")
    (folder / "config.yaml").write_text("a: 1\n", encoding="utf-8")
    return last


def test_a_new_folder_is_made_with_its_parents_and_left_empty(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    assert claim(folder, None) is True
    assert list(folder.iterdir()) == []
    assert claim(folder, None) is True, "an empty folder may be claimed again"


def test_a_run_is_refused_and_left_alone(tmp_path: Path) -> None:
    last = a_run(tmp_path / "run")
    before = listing(tmp_path)
    with pytest.raises(RunFolderError, match=r"isn't empty; .*move it away, or continue it with --ckpt_path ") as error:
        claim(tmp_path / "run", None)
    assert str(last) in str(error.value)
    assert listing(tmp_path) == before


def test_strange_files_are_refused_too(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RunFolderError, match="isn't empty") as error:
        claim(tmp_path, None)
    assert "--ckpt_path" not in str(error.value), "there is nothing to continue"
    assert listing(tmp_path) == {"notes.txt": b"mine"}


def test_a_run_is_continued_in_its_own_folder_alone(tmp_path: Path) -> None:
    last, other = a_run(tmp_path / "run"), a_run(tmp_path / "other")
    assert claim(tmp_path / "run", last) is False
    with pytest.raises(RunFolderError, match="isn't empty"):
        claim(tmp_path / "run", other)
    assert claim(tmp_path / "new", last) is True, "a run may be continued into a new folder"


def test_a_run_is_known_by_another_spelling_of_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = a_run(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    assert claim(Path("run"), last) is False
    assert claim(tmp_path / "run", Path("run/../run/checkpoints/last.ckpt")) is False


def test_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"is a file; give another --trainer\.default_root_dir"):
        claim(path, None)
    assert path.read_text(encoding="utf-8") == "mine"


def test_what_cant_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"file/run can't be written to: Not a directory; give another"):
        check_writable(tmp_path / "file" / "run")


def test_the_config_is_saved_and_a_different_one_is_kept(tmp_path: Path) -> None:
    assert save_config(tmp_path, "a: 1\n").name == "config.yaml"
    assert save_config(tmp_path, "a: 1\n").name == "config.yaml", "the same again needs no second file"
    assert save_config(tmp_path, "a: 2\n").name == "config-2.yaml"
    assert save_config(tmp_path, "a: 3\n").name == "config-3.yaml"
    assert save_config(tmp_path, "a: 2\n").name == "config-2.yaml"
    assert listing(tmp_path) == {"config.yaml": b"a: 1\n", "config-2.yaml": b"a: 2\n", "config-3.yaml": b"a: 3\n"}


def test_a_refused_run_gives_its_folder_back(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "logs" / "version_0").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    (folder / "logs" / "version_0" / "hparams.yaml").write_text("lr: 1\n", encoding="utf-8")
    save_config(folder, "a: 1\n")
    release(folder)
    assert not folder.exists()


@pytest.mark.parametrize("kept", ["checkpoints/last.ckpt", "logs/version_0/metrics.csv"])
def test_a_run_that_has_begun_is_never_given_back(kept: str, tmp_path: Path) -> None:
    (tmp_path / kept).parent.mkdir(parents=True)
    (tmp_path / kept).write_bytes(b"work")
    save_config(tmp_path, "a: 1\n")
    before = listing(tmp_path)
    release(tmp_path)
    assert listing(tmp_path) == before


def test_what_isnt_a_runs_stays_when_a_folder_is_given_back(tmp_path: Path) -> None:
    save_config(tmp_path, "a: 1\n")
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    release(tmp_path)
    assert listing(tmp_path) == {"notes.txt": b"mine"}


def test_last_and_best_checkpoints_are_kept_by_name(tmp_path: Path) -> None:
    alone = checkpoint_callbacks(tmp_path, None, "max", None)
    assert [callback.filename for callback in alone] == ["last"]
    all_three = checkpoint_callbacks(tmp_path, "val/id/acc", "min", 5)
    assert [callback.filename for callback in all_three] == ["best", "last", "last"], (
        "last.ckpt knows the best of its epoch"
    )
    assert [callback.monitor for callback in all_three] == ["val/id/acc", None, None]
    assert all_three[0].mode == "min"
    assert {Path(callback.dirpath) for callback in all_three} == {tmp_path / "checkpoints"}
