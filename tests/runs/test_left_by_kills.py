"""What a kill leaves in a folder: the same command runs again, and no file that is whole is refused."""

from pathlib import Path

import numpy as np
import pytest

from starft.data.facts import facts_of
from starft.data.source import ImageTable
from starft.errors import RunFolderError
from starft.files.atomic import TEMPORARY, replace_file
from starft.runs.comparison_folder import claim_runs, open_comparison
from starft.runs.folder import check_writable, claim
from starft.runs.layout import ROWS, VALIDATION
from starft.runs.manifest import file_problem, read_manifest, replace_listed_file, write_manifest
from starft.runs.manifest_callback import write_basis
from starft.runs.validation import write_failure

HEX = "0123456789abcdef" * 2
LEFT = [".writable.{}.tmp", "..writable.{0}.tmp.{0}.tmp", ".config.yaml.{}.tmp", ".comparison.json.{}.tmp"]
"""Names of half-written files, as `replace_file` and the look whether a folder can be written to call theirs."""


@pytest.fixture(params=LEFT)
def left(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder in which a process was killed while it wrote its first file."""
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / request.param.format(HEX)).write_bytes(b"ha")
    return folder


def test_a_run_that_was_killed_at_its_first_file_runs_again(left: Path) -> None:
    (left / ".lock").touch()
    claim(left, None, "a: 1\n")


def test_a_comparison_that_was_killed_at_its_first_file_runs_again(left: Path) -> None:
    assert open_comparison(left, "comparison.json", "comparison") == 0.0
    assert open_comparison(left, "comparison.json", "comparison") == 0.0


def test_runs_of_a_comparison_that_were_killed_at_their_first_file_run_again(left: Path) -> None:
    claim_runs(left, {"a": 1}, ())
    claim_runs(left, {"a": 1}, ())


def test_what_is_no_half_written_file_of_starft_is_still_refused(tmp_path: Path) -> None:
    (tmp_path / ".mine.tmp").write_text("mine", encoding="utf-8")
    for refused in (
        lambda: claim(tmp_path, None, "a: 1\n"),
        lambda: open_comparison(tmp_path, "comparison.json", "comparison"),
        lambda: claim_runs(tmp_path, {"a": 1}, ()),
    ):
        with pytest.raises(RunFolderError):
            refused()


def test_the_look_whether_a_folder_can_be_written_to_leaves_a_temporary_name_when_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    check_writable(tmp_path)
    assert all(TEMPORARY.fullmatch(path.name) for path in tmp_path.iterdir())
    check_writable(tmp_path)


def test_a_file_stays_known_however_often_the_next_one_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill or a full disk between the digest and the file, again and again, refuses the checkpoint that is there."""
    path = tmp_path / "checkpoints" / "last.ckpt"
    path.parent.mkdir()
    write_manifest(tmp_path, {})
    replace_listed_file(path, b"first")

    def full(target: Path, content: bytes) -> None:
        if target == path:
            raise OSError(28, "No space left on device", str(target))
        replace_file(target, content)

    with monkeypatch.context() as patch:
        patch.setattr("starft.runs.manifest.replace_file", full)
        for attempt in range(5):
            with pytest.raises(OSError, match="No space left"):
                replace_listed_file(path, f"later {attempt}".encode())
            assert file_problem(path) == "", f"after attempt {attempt}"
    replace_listed_file(path, b"second")
    assert file_problem(path) == ""
    assert len(read_manifest(tmp_path)["files"]["checkpoints/last.ckpt"]) == 2, "what was never written is forgotten"


class Killed(BaseException):
    """Stands for a kill."""


def killed(*_: object) -> None:
    raise Killed


def test_the_rows_of_a_run_that_goes_on_with_other_data_are_known_though_it_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"image")
    one, both = (
        {"train": facts_of(ImageTable(tmp_path, names, labels, labels))}
        for names, labels in ((("a.jpg",), np.zeros(1, np.int64)), (("a.jpg", "b.jpg"), np.zeros(2, np.int64)))
    )
    run = tmp_path / "run"
    run.mkdir()
    write_basis(run, {}, one)
    monkeypatch.setattr("starft.runs.manifest_callback.write_manifest", killed)
    with pytest.raises(Killed):
        write_basis(run, {}, both)
    assert file_problem(run / ROWS) == ""


def test_a_trial_without_finite_numbers_leaves_no_activations(tmp_path: Path) -> None:
    (tmp_path / "kept_activations-0").write_bytes(bytes(9))
    write_failure(tmp_path, "The loss is NaN.")
    assert [path.name for path in tmp_path.iterdir()] == [VALIDATION]
