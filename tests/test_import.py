"""What is loaded when: the command answers simple questions without torch, and nothing warns on import."""

import inspect
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import docstring_parser
import pytest

import starft
from starft.__main__ import VERBS
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


@pytest.mark.slow
def test_fit_help_tells_every_option_with_its_docstring_and_loads_no_openai() -> None:
    done = python("-X", "importtime", "-m", "starft", "fit", "--help")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith("import time:")] == []
    assert "open_clip" in loaded(done.stderr)
    assert "openai" not in loaded(done.stderr), "only asking a language model needs it"
    text = " ".join(done.stdout.split())
    told = {param.arg_name: param.description for param in docstring_parser.parse(FinetuneModule.__doc__ or "").params}
    names = [name for name in inspect.signature(FinetuneModule).parameters if name != "seed"]
    assert told.keys() == {*names, "seed"}
    for name in names:
        assert f"--model.{name} " in text
        assert " ".join((told[name] or "").split()) in text, f"the help of --model.{name} isn't its docstring"
    for option in ("--config", "--seed_everything", "--ckpt_path", "--checkpoint.monitor", "--trainer.max_epochs"):
        assert f"{option} " in text
