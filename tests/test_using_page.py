"""docs/using.md and the notebooks of docs/tutorials: every command, snippet and cell runs, in its order."""

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fakes import own_images
from starft.__main__ import main
from test_docs import OWN, ROOT, SMALL

PAGE = (ROOT / "docs" / "using.md").read_text(encoding="utf-8")
TUTORIALS = ROOT / "docs" / "tutorials"


@pytest.mark.slow
def test_the_page_runs(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    last = tmp_path / "runs" / "mini" / "starft" / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    shutil.copy(checkpoint, last)
    for number in (1, 2):
        own_images.write_jpeg(tmp_path / "new_photos" / f"{number}.jpg", number)
    snippets = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(snippets) == 1
    exec(compile(snippets[0], "using.md", "exec"), {"__name__": "__main__"})
    lines = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    commands = [shlex.split(line) for line in lines]
    assert [command[:2] for command in commands] == [["starft", "predict"]] * 3 + [["starft", "export"]] * 4
    for command in commands:
        more = ["--workers=0"] if command[1] == "predict" else []
        assert main([*command[1:], *more]) == 0, shlex.join(command)
    assert len(pd.read_csv("predictions.csv")) == len(pd.read_parquet("boats.parquet")) == 2
    assert set(pd.read_parquet("boats.parquet")["label"]) <= {"sailing boat", "ferry"}


def run_notebook(name: str, **parameters: Any) -> None:
    """Run the code cells of a notebook, with other values for what its cell of parameters sets."""
    cells = json.loads((TUTORIALS / name).read_text(encoding="utf-8"))["cells"]
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        assert (cell["outputs"], cell["execution_count"]) == ([], None), f"{name} is kept without outputs"
        exec(compile("".join(cell["source"]), name, "exec"), namespace)
        if "parameters" in cell["metadata"].get("tags", []):
            assert parameters.keys() <= namespace.keys()
            namespace |= parameters


def test_every_tutorial_is_tested() -> None:
    assert {path.name for path in TUTORIALS.iterdir()} == {"embedded_world.ipynb", "own_data.ipynb"}


@pytest.mark.slow
def test_the_tutorial_of_the_embedded_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run_notebook("embedded_world.ipynb", OPTIONS=SMALL)
    said = capsys.readouterr().out
    assert said.count("[Prediction(label='") == 2
    assert (tmp_path / "runs" / "tutorial" / "export" / "open_clip_config.json").is_file()


@pytest.mark.slow
def test_the_tutorial_of_own_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    own_images.write_table(tmp_path, name="photos.csv")
    for number in range(3):
        own_images.write_jpeg(tmp_path / "new_photos" / f"{number}.jpg", number)
    run_notebook("own_data.ipynb", OPTIONS=OWN)
    assert len(pd.read_csv("runs/own/predictions.csv")) == 3
    assert "cosines among them: tensor([[1" in capsys.readouterr().out
