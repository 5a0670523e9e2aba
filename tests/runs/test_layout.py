"""The names of what lies in a run folder: each is spelt in one file."""

import ast
from collections.abc import Iterator
from pathlib import Path

from starft.runs import layout

HERE = Path(layout.__file__)


def texts(path: Path) -> Iterator[str]:
    """Yield the texts of a file that may be names of files."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            yield node.value


def test_a_name_is_spelt_once() -> None:
    names = {text for text in texts(HERE) if Path(text).suffix}
    assert {"config.yaml", "last.ckpt", "results.json", "manifest.json", "samples.npz"} <= names
    others = [path for path in HERE.parents[1].rglob("*.py") if path != HERE]
    assert len(others) > 100
    assert [(path, text) for path in others for text in texts(path) if text in names] == []
