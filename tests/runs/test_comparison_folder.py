"""The folder of a comparison that several processes make at once."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from starft.errors import RunFolderError
from starft.files.atomic import files_in
from starft.runs import comparison_folder
from starft.runs.comparison_folder import open_comparison, save_seconds


def test_another_process_may_make_the_folder_at_any_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While this one looks at it, the other writes what marks it and then its first file."""
    out = tmp_path / "out"

    def meanwhile(folder: Path, other_than: Iterable[str] = ()) -> list[Path]:
        save_seconds(out / "tune.json", 3.0)
        (out / ".trials.claim").touch()
        return files_in(folder, other_than)

    monkeypatch.setattr(comparison_folder, "files_in", meanwhile)
    assert open_comparison(out, "tune.json", "search") == 3.0
    (out / "tune.json").unlink()
    monkeypatch.setattr(comparison_folder, "files_in", files_in)
    with pytest.raises(RunFolderError, match=r"holds something else \(\.trials\.claim\), no search"):
        open_comparison(out, "tune.json", "search")
