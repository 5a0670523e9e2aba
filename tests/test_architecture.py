"""The house rules of the source tree: imports run downward only, files stay short, every package is shipped."""

import ast
import configparser
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "starft"
FILES = sorted(SRC.rglob("*.py"))

ORDER = [
    "safe_text",
    "errors types files resources english launch noise shards",
    "terminal yaml_files class_paths own_images digests run_lock options",
    "early_checks config_parser results_reading text_pools",
    "parser_errors words resuming limits foreign_callbacks",
    "option_checks",
    "pools functional distributed processes",
    "finite",
    "clip",
    "teachers captions token_checks",
    "context",
    "losses",
    "regularizers group_dro",
    "metrics",
    "evaluation optim weights probe",
    "checkpoints dfr reading scoring",
    "guarded",
    "finetune",
    "data",
    "mini classifier",
    "prompting predicting exporting unfinished",
    "reporting run_folder training_cost loggers",
    "stopping callbacks continuing untuned fit_end manifest",
    "sharding",
    "cli prompts_cli predict_cli export_cli report_cli init_cli",
    "averaging",
    "runs comparison_folder data_cli weight_scoring",
    "compare interpolate soup",
    "demo",
    "__main__",
]
"""What stands on what, from the ground up; a file imports from lines above its own only (or from its own package).

To extend it: write the new file or package of ``src/starft`` on the lowest line whose upper lines hold all it imports.
"""

ONLY = {
    "errors": set(),
    "functional": set(),
    "data": {
        "errors",
        "types",
        "files",
        "safe_text",
        "english",
        "parser_errors",
        "config_parser",
        "class_paths",
        "option_checks",
    },
    "reporting": {
        *("errors", "types", "files", "safe_text", "terminal", "resources", "distributed", "results_reading"),
        *("yaml_files", "digests"),
    },
}
"""Those that may know less than their line allows."""

APART = {
    ("mini", "finetune"),
    ("mini", "losses"),
    ("mini", "regularizers"),
    ("prompting", "finetune"),
    ("prompting", "losses"),
    ("prompting", "regularizers"),
    ("run_folder", "finetune"),
}
"""(who, whom) that must not meet though the order would let them: training and data know each other through `types`."""

KNOWN_TO = {
    "reporting": {"cli", "runs", "compare", "interpolate", "demo", "data_cli", "report_cli"},
    "prompting": {"cli", "prompts_cli"},
    "cli": {"runs", "compare", "weight_scoring", "interpolate", "soup", "data_cli"},
    "demo": set(),
}
"""Whom only some may import; `__main__` reaches the verbs by name, when they are called."""

LEVEL = {name: level for level, line in enumerate(ORDER) for name in line.split()}


def short(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


def dotted(path: Path) -> str:
    return ".".join(("starft", *path.relative_to(SRC).with_suffix("").parts)).removesuffix(".__init__")


def unit(module: str) -> str:
    """Return the file or package right below ``starft`` that a module belongs to; "" for the package itself."""
    return module.removeprefix("starft").removeprefix(".").split(".")[0]


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the full names that the imports of a file name, those inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a name is from"
            assert node.module is not None
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if module_file(name) is not None else node.module


def module_file(module: str) -> Path | None:
    below = SRC.parent.joinpath(*module.split("."))
    return next((path for path in (below.with_suffix(".py"), below / "__init__.py") if path.is_file()), None)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def own(path: Path) -> set[str]:
    """Return the modules of ours that a file imports, those it names to `import_module` too."""
    tree = parsed(path)
    called = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "import_module"
        and isinstance(node.args[0], ast.Constant)
    }
    return {name for name in {*imported(tree), *called} if name.split(".")[0] == "starft"}


def foreign(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(parsed(path))} - {"starft"}


def problems(importer: str, names: set[str]) -> list[str]:
    """Return what is wrong with a unit that imports these modules of ours."""
    found = []
    for there in sorted({unit(name) for name in names} - {importer, ""}):
        if LEVEL[there] >= LEVEL[importer]:
            found.append(f"{importer} imports upward: {there}")
        if there not in ONLY.get(importer, {there}) or (importer, there) in APART:
            found.append(f"{importer} must not know {there}")
        if importer not in KNOWN_TO.get(there, {importer}):
            found.append(f"{importer} must not know {there}")
    return found


def test_files_were_found() -> None:
    assert {"errors.py", "clip/build.py", "data/datamodules/base.py"} <= {short(path) for path in FILES}


def test_every_unit_has_its_place() -> None:
    units = {unit(dotted(path)) for path in FILES} - {""}
    assert units <= LEVEL.keys(), f"write {units - LEVEL.keys()} into ORDER"
    assert len(LEVEL) == sum(len(line.split()) for line in ORDER), "a name stands in ORDER twice"


@pytest.mark.parametrize("path", FILES, ids=short)
def test_imports_point_down(path: Path) -> None:
    here = unit(dotted(path))
    if here:
        assert problems(here, own(path)) == []
    else:
        assert own(path) == {"starft.classifier"}, "asked for only by `starft.load`, see tests/test_import.py"


@pytest.mark.parametrize(
    ("importer", "module", "wrong"),
    [
        ("losses", "starft.context", False),
        ("context", "starft.losses", True),
        ("evaluation", "starft.optim", True),
        ("finetune", "starft.data.loading", True),
        ("data", "starft.finetune", True),
        ("mini", "starft.finetune", True),
        ("finetune", "starft.mini", True),
        ("mini", "starft.data.datamodules", False),
        ("data", "starft.mini", True),
        ("data", "starft.clip", True),
        ("finetune", "starft.reporting.results", True),
        ("run_folder", "starft.reporting.results", True),
        ("demo", "starft.reporting.results", False),
        ("finetune", "starft.prompting.query", True),
        ("prompting", "starft.finetune", True),
        ("prompts_cli", "starft.prompting.generate", False),
    ],
)
def test_the_rules_catch_what_they_are_for(importer: str, module: str, wrong: bool) -> None:
    assert bool(problems(importer, {module})) is wrong


def test_the_walk_sees_imports_in_functions_and_of_submodules() -> None:
    tree = ast.parse("from starft import clip\ndef f():\n    from starft.data import loading\n    import torch.nn\n")
    assert set(imported(tree)) == {"starft.clip", "starft.data.loading", "torch.nn"}


def test_no_module_imports_itself_by_a_detour() -> None:
    graph = {dotted(path): own(path) for path in FILES}
    assert all(module_file(name) for names in graph.values() for name in names)
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the detour
    assert len(order) == len(FILES)


@pytest.mark.parametrize("path", FILES, ids=short)
def test_imports_stand_at_the_top(path: Path) -> None:
    """Only an optional extra may be imported inside a function."""
    inside = {
        name
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for name in imported(node)
    }
    assert {name.split(".")[0] for name in inside} <= {"openai", "h5py", "pyarrow", "transformers", "onnxruntime"}


@pytest.mark.parametrize("path", FILES, ids=short)
def test_only_the_client_knows_openai(path: Path) -> None:
    if short(path) != "prompting/client.py":
        assert "openai" not in foreign(path)


def test_pure_maths_knows_torch_alone() -> None:
    assert foreign(SRC / "functional.py") - sys.stdlib_module_names == {"torch"}


@pytest.mark.parametrize("name", ["__init__.py", "__main__.py", "errors.py", "pools.py", "files.py", "resources.py"])
def test_what_loads_first_needs_the_standard_library_alone(name: str) -> None:
    assert foreign(SRC / name) <= sys.stdlib_module_names


@pytest.mark.parametrize("path", FILES, ids=short)
def test_a_file_is_named_for_what_it_holds_told_and_short(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "misc", "common"}
    assert ast.get_docstring(parsed(path)), f"{short(path)} has no docstring"
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 400, f"{short(path)} has {lines} lines: two files"


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
