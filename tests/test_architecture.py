"""Imports of ``src/starft`` run downward only: from lines of `ORDER` above a file's own, or from its own folder."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from fakes.sources import SRC, parsed

FILES = sorted(SRC.rglob("*.py"))
ORDER = [
    "safe_text types wording",
    "errors statistics",
    "files distributed signals",
    "captions",
    "clip data",
    "losses runs",
    "evaluation inference mini reporting",
    "audit training exporting config",
    "callbacks prompting",
    "cli",
    "__main__",
]
LEVEL = {name: level for level, line in enumerate(ORDER) for name in line.split()}


def imported(path: Path) -> Iterator[str]:
    """Yield the modules of starft that a file imports, wherever the import stands."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "starft":
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if is_module(name) else str(node.module) for name in inner)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("starft"))


def is_module(name: str) -> bool:
    place = SRC.parent.joinpath(*name.split("."))
    return place.is_dir() or place.with_suffix(".py").is_file()


def problems(path: Path) -> list[str]:
    here = path.relative_to(SRC).with_suffix("").parts[0]
    there = {name.split(".")[1] for name in imported(path) if "." in name} - {here}
    upward = [f"{path} imports upward: {unit}" for unit in sorted(there) if LEVEL[unit] >= LEVEL[here]]
    return upward + ([f"{path} of training imports data"] if here == "training" and "data" in there else [])


def test_imports_point_down() -> None:
    assert [problem for path in FILES if path != SRC / "__init__.py" for problem in problems(path)] == []


def test_no_file_imports_itself_by_a_detour() -> None:
    graph = {".".join(("starft", *path.relative_to(SRC).with_suffix("").parts)): {*imported(path)} for path in FILES}
    graph = {name.removesuffix(".__init__"): names for name, names in graph.items()}
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the detour
