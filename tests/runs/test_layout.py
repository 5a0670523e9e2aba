"""The names of what lies in a run folder: each is spelt in one file."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.sources import parsed
from starft.runs import layout

HERE = Path(layout.__file__)


def texts(path: Path) -> Iterator[str]:
    """Yield the texts of a file that may be names of files."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            yield node.value


@pytest.mark.slow
def test_a_name_is_spelt_once() -> None:
    names = {text for text in texts(HERE) if Path(text).suffix}
    assert {"config.yaml", "last.ckpt", "results.json", "manifest.json", "samples.npz"} <= names
    others = [path for path in HERE.parents[1].rglob("*.py") if path != HERE]
    assert len(others) > 100
    assert [(path, text) for path in others for text in texts(path) if text in names] == []


def loaded(module: str) -> set[str]:
    """Return the packages that a module of starft imports, those of the modules that it imports too."""
    graph: dict[str, set[str]] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        place = HERE.parents[2].joinpath(*name.split("."))
        path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if name in graph or not path.is_file():
            continue
        names = [alias.name for node in parsed(path).body if isinstance(node, ast.Import) for alias in node.names]
        for node in parsed(path).body:
            if isinstance(node, ast.ImportFrom):
                names += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        graph[name] = {one.split(".")[0] for one in names}
        waiting += [one for one in names if one.startswith("starft.")]
    return set().union(*graph.values())


@pytest.mark.parametrize(
    "module",
    [
        *("layout", "folder", "manifest", "limits", "comparison_folder", "results", "samples", "run_reader"),
        *("../statistics", "../reporting/page", "../reporting/report_file", "../reporting/table"),
    ],
)
def test_what_tells_of_runs_needs_no_torch(module: str) -> None:
    found = loaded(".".join(("starft", *(HERE.parent / module).resolve().relative_to(HERE.parents[1]).parts)))
    assert found.isdisjoint({"torch", "lightning", "open_clip"})
    assert "starft" in found or module in {"layout", "../statistics"}, "the walk goes on"
