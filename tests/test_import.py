"""What is loaded when: the command answers simple questions without torch, and nothing warns on import."""

import inspect
import os
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import docstring_parser
import pytest
from PIL import Image

import starft
from starft.__main__ import LOADED_LATE, VERBS
from starft.config.command import parser_of
from starft.config.fit_help import OPTIONS
from starft.training.module import FinetuneModule

HEAVY = {"torch", "lightning", "lightning_utilities", "open_clip", "openai", "numpy", "jsonargparse"}


def python(*words: str) -> subprocess.CompletedProcess[str]:
    """Run this interpreter with warnings as errors."""
    environment = os.environ | {"PYTHONPATH": str(Path(starft.__file__).parents[1]), "COLUMNS": "1000"}
    command = [sys.executable, "-W", "error", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=600)


def loaded(report: str) -> set[str]:
    """Return the top-level names in what ``-X importtime`` reports."""
    lines = (line for line in report.splitlines() if line.startswith("import time:"))
    return {line.rsplit("|", 1)[1].strip().split(".")[0] for line in lines}


def test_import_starft_loads_nothing_heavy() -> None:
    done = python("-X", "importtime", "-c", "import starft; print(starft.__version__)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == starft.__version__
    assert "starft" in loaded(done.stderr)
    assert loaded(done.stderr) & HEAVY == set()


def test_the_version_is_the_installed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sources that nobody installed have no tag to take one from, and still import."""
    assert starft.__version__ == version("starft")

    def none(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", none)
    assert starft.__version__ == "unknown"


@pytest.mark.parametrize("words", [["--help"], ["-h"], [], ["--version"], ["-V"]], ids=" ".join)
def test_help_and_version_load_nothing_heavy(words: list[str]) -> None:
    done = python("-X", "importtime", "-m", "starft", *words)
    assert done.returncode == 0, done.stderr
    assert loaded(done.stderr) & HEAVY == set()
    if words in (["--version"], ["-V"]):
        assert done.stdout == f"starft {starft.__version__}\n"
    else:
        assert "usage: starft VERB" in done.stdout
        assert {"fit", "validate", "test", "predict", "demo"} <= VERBS.keys()
        assert all(f"  {verb} " in done.stdout for verb in VERBS)


@pytest.mark.parametrize(
    ("verb", "near"), [("fitt", " Did you mean fit?"), ("--config", ""), ("Fit", " Did you mean fit?")]
)
def test_an_unknown_verb_is_one_sentence_and_status_2(verb: str, near: str) -> None:
    done = python("-X", "importtime", "-m", "starft", verb)
    assert done.returncode == 2
    assert done.stdout == ""
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert len(said) == 1
    assert said[0] == f"starft: There is no verb {verb!r}; the verbs are {', '.join(VERBS)}.{near}"
    assert loaded(done.stderr) & HEAVY == set()


@pytest.mark.parametrize(
    ("option", "told"),
    [("--config=csv/starf", "Did you mean csv/starft?"), ("--config=csv/ce --epochs=1", "mean --trainer.max_epochs?")],
)
def test_what_words_tell_alone_is_told_at_once(option: str, told: str) -> None:
    done = python("-X", "importtime", "-m", "starft", "fit", *option.split())
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("starft: ")
    assert done.stderr.splitlines()[-1].endswith(told)
    assert loaded(done.stderr) & HEAVY == set()


@pytest.mark.parametrize(
    "words", [["fit", "--help"], ["test", "-h"], ["predict", "--config", "csv/ce", "--help"]], ids=" ".join
)
def test_short_help_loads_nothing_heavy(words: list[str]) -> None:
    done = python("-X", "importtime", "-m", "starft", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: starft {words[0]} --config CONFIG [options]\n")
    assert all(f"  {option} " in done.stdout for option, _ in OPTIONS)
    assert loaded(done.stderr) & HEAVY == set()


TORCH = {"torch", "lightning", "open_clip", "timm", "transformers", "torchmetrics", "torchvision"}


HELPS = """
import sys
from starft.__main__ import LOADED_LATE, VERBS, main
from starft.cli import audit, data, prompts

modules = {"audit": audit, "data": data, "prompts": prompts}
for words in [*zip(VERBS), *((verb, name) for verb, module in modules.items() for name in module.VERBS)]:
    try:
        main([*words, "--help"])
    except SystemExit as end:
        assert end.code == 0
for verb in LOADED_LATE:
    assert main([verb, *["a.ckpt"][: verb == "predict"], "--nonsense"]) == 2
print("loaded:", *sys.modules)
"""


def test_options_and_helps_come_before_the_modules_of_a_verb() -> None:
    """Helps are those of the functions that do the work, and nonsense is answered as soon."""
    done = python("-c", HELPS)
    assert done.returncode == 0, done.stderr
    shown, _, names = done.stdout.partition("loaded:")
    left_out = TORCH | {"numpy", "pandas", "scipy", "matplotlib", "PIL", "jinja2"}
    assert {name.split(".")[0] for name in names.split()} & left_out == set()
    assert done.stderr.count("starft: There is no option --nonsense.") == len(LOADED_LATE)
    for verb in LOADED_LATE:
        prog, module = f"starft {verb}", VERBS[verb][0] if verb != "predict" else "starft.cli.predict"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COLUMNS", "1000")
            assert parser_of(import_module(module).command, prog).format_help() in shown


IMPORT = """
import sys
from importlib import import_module

for module in sys.argv[1:]:
    import_module(module)
    print("loaded:", *sys.modules)
"""
HELP_ALL = """
from starft.__main__ import main

try:
    main(["fit", "--help-all"])
finally:
    print("loaded:", *sys.modules)
"""
LEFT_OUT = {
    "starft.cli.prompts": TORCH | {"openai", "numpy"},
    "starft.cli.report": TORCH | {"scipy", "sklearn", "matplotlib", "pandas"},
    "starft.cli.init": TORCH | {"scipy", "sklearn", "matplotlib"},
    "starft.data.own": TORCH | {"scipy", "sklearn", "matplotlib"},
    "starft.cli.data_check": TORCH | {"sklearn", "matplotlib"},
}
"""Module -> what neither it nor those before it load; one process imports them in this order."""
WITH_TORCH = ["starft.inference.classifier", "starft.cli.predict", "starft.cli.export"]


def loaded_after(lines: list[str]) -> list[set[str]]:
    """Return the top-level names that were loaded after each import."""
    modules = [line.split()[1:] for line in lines]
    assert not any("scipy.stats" in names for names in modules), "takes a second; scipy.special has what intervals need"
    return [{name.split(".")[0] for name in names} for names in modules]


@pytest.mark.slow
def test_modules_load_what_they_need() -> None:
    done = python("-c", IMPORT, *LEFT_OUT)
    assert done.returncode == 0, done.stderr
    for (module, left_out), names in zip(LEFT_OUT.items(), loaded_after(done.stdout.splitlines()), strict=True):
        assert names & left_out == set(), module


@pytest.mark.slow
def test_data_check_of_a_table_loads_no_torch(tmp_path: Path) -> None:
    lines = ["path,label,split"]
    for number in range(12):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{('duck', 'gull')[number % 2]},{('train', 'val', 'test')[number // 4]}")
    (tmp_path / "a.csv").write_text("\n".join(lines))
    config = tmp_path / "a.yaml"
    config.write_text(f"data:\n  class_path: starft.data.CSV\n  init_args:\n    file: {tmp_path / 'a.csv'}\n")
    done = python("-X", "importtime", "-m", "starft", "data", "check", "--config", str(config))
    assert done.returncode == 0, done.stderr
    assert "0 problems" in done.stdout
    assert loaded(done.stderr) & TORCH == set()


@pytest.mark.slow
def test_a_mistyped_option_of_a_table_is_told_without_torch(tmp_path: Path) -> None:
    config = tmp_path / "a.yaml"
    config.write_text("data:\n  class_path: starft.data.CSV\n  init_args:\n    file: a.csv\n")
    words = ("fit", "--config", str(config), "--data.init_args.batchsize=3")
    done = python("-X", "importtime", "-m", "starft", *words)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "starft: data: Problem with given class_path 'starft.data.CSV': Option 'batchsize' is not accepted. "
        "Did you mean batch_size or eval_batch_size?"
    )
    assert loaded(done.stderr) & TORCH == set()


@pytest.mark.slow
def test_models_load_no_lightning_and_all_of_the_help_tells_every_option_with_its_docstring() -> None:
    """In one process, as torch takes its time."""
    done = python("-c", IMPORT + HELP_ALL, *WITH_TORCH)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    *lines, helped = [line for line in done.stdout.splitlines() if line.startswith("loaded:")]
    assert len(lines) == len(WITH_TORCH)
    for names in loaded_after(lines):
        assert names & {"lightning", "torchmetrics", "sklearn", "matplotlib"} == set()
    assert "open_clip" in helped.split()
    assert "openai" not in helped.split(), "only asking a language model needs it"
    text = " ".join(done.stdout.split())
    told = {param.arg_name: param.description for param in docstring_parser.parse(FinetuneModule.__doc__ or "").params}
    names = [name for name in inspect.signature(FinetuneModule).parameters if name != "seed"]
    assert told.keys() == {*names, "seed"}
    for name in names:
        assert f"--model.{name} " in text
        assert " ".join((told[name] or "").split()) in text, f"the help of --model.{name} isn't its docstring"
    assert re.search(r":[a-z]+:`", done.stdout) is None, "Sphinx's marks"
    shown = {option.split()[0].partition("+=")[0] for option, _ in OPTIONS}
    assert [one for one in shown if f"{one} " not in text and not one.startswith("--data.")] == []
    for option in ("--config", "--seed_everything", "--ckpt_path", "--checkpoint.monitor", "--trainer.max_epochs"):
        assert f"{option} " in text
