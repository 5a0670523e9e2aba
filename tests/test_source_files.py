"""Rules for every file of ``src/starft``: short, documented, shipped, with its imports at the top."""

import ast
import configparser
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.sources import SRC, parsed

ROOT = Path(__file__).parents[1]
FILES = sorted(SRC.rglob("*.py"))
OPTIONAL = {"openai", "h5py", "pyarrow", "datasets", "transformers", "onnxruntime", "shtab"}
"""What extras install; these may be imported inside a function."""


def short(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


def dotted(path: Path) -> str:
    return ".".join(("starft", *path.relative_to(SRC).with_suffix("").parts)).removesuffix(".__init__")


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the packages that the imports of a file name, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name is from"
            yield str(node.module).split(".")[0]


def foreign(path: Path) -> set[str]:
    return {*imported(parsed(path))} - {"starft"}


def test_the_walk_sees_imports_in_functions() -> None:
    assert {*imported(ast.parse("from starft import clip\ndef f():\n    import torch.nn\n"))} == {"starft", "torch"}


def test_the_listing_is_short() -> None:
    assert {"errors.py", "clip/build.py", "data/datamodules/base.py"} <= {short(path) for path in FILES}
    assert len([path for path in FILES if path.parent == SRC]) <= 9
    assert len({path.parent for path in FILES if path.parent.parent == SRC}) <= 17


@pytest.mark.parametrize("path", FILES, ids=short)
def test_a_file_is_named_for_what_it_holds_documented_and_short(path: Path) -> None:
    tree = parsed(path)
    assert path.stem not in {"utils", "util", "helpers", "misc", "common"}
    assert ast.get_docstring(tree), f"{short(path)} has no docstring"
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 400, f"{short(path)} has {lines} lines: two files"
    inside = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for name in imported(node)
    }
    assert inside <= OPTIONAL, f"{short(path)} imports inside a function what no extra installs"
    assert short(path) == "prompting/client.py" or "openai" not in foreign(path), "only the client knows openai"


def test_pure_maths_knows_torch_alone() -> None:
    assert foreign(SRC / "losses" / "functional.py") - sys.stdlib_module_names == {"torch"}


@pytest.mark.parametrize(
    "name",
    [
        *("__init__.py", "__main__.py", "errors.py", "wording.py", "safe_text.py"),
        *("captions/pools.py", "captions/pool_files.py", "files/atomic.py", "files/shipped.py"),
        *("runs/__init__.py", "config/__init__.py", "cli/__init__.py"),
    ],
)
def test_what_loads_first_needs_the_standard_library_alone(name: str) -> None:
    assert foreign(SRC / name) <= sys.stdlib_module_names


def test_every_folder_is_a_package_and_every_package_is_shipped() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    listed = config["options"]["packages"].split()
    folders = {dotted(path.parent / "__init__.py") for path in FILES}
    assert folders == {dotted(path) for path in FILES if path.name == "__init__.py"}
    assert {name for name in listed if not name.startswith("starft._shipped")} == folders
    assert len(listed) == len(set(listed))
    places = dict(
        line.split(" = ") for line in config["options"]["package_dir"].split("\n") if line.startswith("starft")
    )
    assert places.keys() == {name for name in listed if name.startswith("starft._shipped")}
    assert all((ROOT / folder).is_dir() for folder in places.values())
