"""A path without a character, as a shell's variable without a value gives it, isn't the folder that one stands in."""

from pathlib import Path

import pytest

from starft.__main__ import main

EMPTY = "the path is empty; give one, or leave it out"


@pytest.mark.parametrize(
    "words",
    [
        ["demo", "--show", "--out="],
        ["report", ""],
        ["compare", "mini/ce", "--out="],
        ["soup", "a.ckpt", "b.ckpt", "--out="],
        ["interpolate", "--ckpt_path="],
        ["export", "a.ckpt", "--to="],
        ["predict", "a.ckpt", "pictures", "--out="],
        ["init", ""],
        ["fit", "--config=csv/ce.yaml", "--data.init_args.file="],
        ["fit", "--config=csv/ce.yaml", "--data.init_args.file=a.csv", "--data.init_args.root="],
        ["data", "check", "--config=imagefolder/ce.yaml", "--data.init_args.root="],
    ],
    ids=" ".join,
)
def test_an_empty_path_is_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    (sentence,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("starft: ")]
    assert EMPTY in sentence
    assert [*tmp_path.iterdir()] == []
