"""A config is code: whose classes it may name, where they may lie, and what stands beside their names."""

import copy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonargparse
import pytest
import yaml
from jsonargparse import _common

from starft.__main__ import main
from starft.config.class_paths import check_class_paths, import_prefix, make_importable, parameters_of
from starft.data import CSV
from starft.errors import ConfigError

CONFIG = yaml.safe_load(
    (Path(__file__).parents[2] / "lightning_configs" / "mini" / "starft.yaml").read_text(encoding="utf-8")
)
TINY = [
    *(f"--data.init_args.{name}=12" for name in ("train_size", "val_size", "test_size", "batch_size")),
    "--trainer.max_epochs=1",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]
TERM = '''
"""A term of one's own."""

from torch import Tensor

from starft.losses.context import StepContext
from starft.losses import Term


class Small(Term):
    """Keep text features small.

    Args:
        weight: Factor in the total loss.
    """

    reads = frozenset({"text_tower"})

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__(weight)

    def forward(self, ctx: StepContext) -> Tensor:
        return ctx.text_features.abs().sum(dim=1).mean()


def make() -> Small:
    return Small()
'''
Change = Callable[[dict[str, Any]], object]
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a config in a folder of its own, with a file of terms beside it; another folder is worked in."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(_common.parsing_settings, "import_path_verdicts", {})
    monkeypatch.setitem(_common.parsing_settings, "import_paths_enforced", False)
    folder, working = tmp_path / "configs", tmp_path / "working"
    folder.mkdir()
    working.mkdir()
    (folder / "my_terms_here.py").write_text(TERM, encoding="utf-8")
    monkeypatch.chdir(working)

    def written(change: Change = lambda config: None) -> Path:
        config = copy.deepcopy(CONFIG)
        config["trainer"]["default_root_dir"] = "run"
        change(config)
        path = folder / "mine.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return path

    yield written
    sys.modules.pop("my_terms_here", None)


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("starft: ")]
    return line


def term(config: dict[str, Any]) -> None:
    config["model"]["regularizers"] = [{"class_path": "my_terms_here.Small", "init_args": {"weight": 0.01}}]


@pytest.mark.slow
def test_a_class_beside_the_config_is_trained_with_and_the_next_command_works(
    write: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(term)
    assert main(["fit", f"--config={path}", *TINY]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Next: ")]
    setting, starft, *words = line.removeprefix("Next: ").split()
    assert (setting, starft) == (f"PYTHONPATH={path.parent}", "starft")
    sys.modules.pop("my_terms_here")
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(path.parent)])
    assert main(words) == 2, "without the setting"
    assert "put it beside the config" in sentence(capsys)
    monkeypatch.syspath_prepend(path.parent)
    assert main([*words, *TINY[:4]]) == 0


def test_the_working_folder_is_looked_in_too_and_comes_last(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write()
    before = [*sys.path]
    make_importable([path])
    assert sys.path == [*before, str(Path.cwd()), str(path.parent)]
    monkeypatch.setenv("STARFT_SAFE", "1")
    monkeypatch.setattr(sys, "path", before)
    make_importable([path])
    assert sys.path == before


def test_a_command_needs_no_setting_without_own_classes(write: Write) -> None:
    assert import_prefix([write()]) == ""


FOREIGN: dict[str, tuple[Change, tuple[str, ...]]] = {
    "term": (term, ()),
    "name alone": (lambda config: config["model"].update(objective="my_terms_here.Small"), ()),
    "data": (lambda config: config.update(data={"class_path": "my_terms_here.Data"}), ()),
    "callback": (lambda config: config["trainer"].update(callbacks=[{"class_path": "my_terms_here.Small"}]), ()),
    "strategy": (lambda config: config["trainer"].update(strategy={"class_path": "my_terms_here.make"}), ()),
    "function": (
        lambda config: config["trainer"].update(
            callbacks=[
                {
                    "class_path": "lightning.pytorch.callbacks.LambdaCallback",
                    "init_args": {"on_fit_start": "my_terms_here.make"},
                }
            ]
        ),
        (),
    ),
    "option": (lambda config: None, ("--model.regularizers+=my_terms_here.Small",)),
    "list option": (lambda config: None, ("--model.regularizers=[{class_path: my_terms_here.Small}]",)),
    "a detour": (lambda config: None, ("--model.regularizers+=torch.os.system",)),
    "code by name": (lambda config: config["model"].update(objective={"class_path": "torch.hub.load"}), ()),
}
RUNNERS = (
    *("torch.hub.load", "torch.utils.cpp_extension.load_inline", "torch.classes.load_library"),
    *("torch.distributed.run.main", "torch.multiprocessing.spawn", "torch.utils.collect_env.run"),
)


@pytest.mark.parametrize("path", RUNNERS)
def test_safe_takes_nothing_of_torch_that_runs_code(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_class_paths({"model": {"class_path": path}}, "It")
    monkeypatch.setenv("STARFT_SAFE", "1")
    with pytest.raises(ConfigError, match="and --safe takes classes of"):
        check_class_paths({"model": [{"class_path": path}]}, "It")


@pytest.mark.parametrize("kind", FOREIGN)
def test_safe_imports_nothing_of_others(kind: str, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    change, options = FOREIGN[kind]
    assert main(["fit", "--safe", f"--config={write(change)}", *options]) == 2
    assert "--safe takes classes of starft, lightning and torch alone" in sentence(capsys)
    assert "my_terms_here" not in sys.modules
    assert not Path("run").exists()


@pytest.mark.parametrize(
    "words",
    [["test"], ["validate"], ["predict"], ["data", "check"], ["compare"], ["prompts", "rank", "backgrounds"]],
    ids=" ".join,
)
def test_safe_holds_for_every_verb(words: list[str], write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(lambda config: config.update(data={"class_path": "my_terms_here.Data"}))
    given = f"--configs={path}" if words == ["compare"] else f"--config={path}"
    assert main(["--safe", *words, given]) == 2
    assert "--safe takes classes of starft, lightning and torch alone" in sentence(capsys)
    assert "my_terms_here" not in sys.modules


def test_safe_takes_shipped_configs_and_ends_with_its_command(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", "--safe", f"--config={write()}"]) == 0
    path = write(lambda config: config.update(data={"class_path": "my_terms_here.Data"}))
    monkeypatch.setitem(_common.parsing_settings, "import_path_verdicts", {})
    assert main(["data", "check", f"--config={path}"]) == 2
    assert "has no attribute 'Data'" in sentence(capsys)
    assert "my_terms_here" in sys.modules


def test_safe_needs_a_parser_that_can(
    write: Write, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("starft.config.parser.set_parsing_settings", lambda: None)
    assert main(["data", "check", "--safe", f"--config={write()}"]) == 2
    assert sentence(capsys).endswith("pip install --upgrade jsonargparse.")
    assert jsonargparse.set_parsing_settings is not None


@pytest.mark.parametrize("verb", ["fit", "data check"])
def test_a_module_that_isnt_there(verb: str, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(lambda config: config.update(data={"class_path": "my_termz.Data"}))
    assert main([*verb.split(), f"--config={path}"]) == 2
    assert sentence(capsys).endswith(
        "No module named 'my_termz'. If my_termz is a file of your own, put it beside the config or into the folder "
        "that you run starft in, or name its folder in PYTHONPATH; if it is a package, install it."
    )


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"data": {"class_path": "CSV", "file": "a.csv"}}, "has file beside class_path CSV at data; write it below"),
        (
            {"model": {"regularizers": [{"class_path": "KD", "weight": 1, "temperature": 2}]}},
            "has weight, temperature beside class_path KD at model.regularizers, item 1; write them below init_args.",
        ),
        ({"trainer": {"logger": {"class_path": None}}}, "has the class_path None at trainer.logger; give the name"),
        ([{"class_path": ["KD"]}], "has the class_path ['KD'] at item 1; give the name of a class."),
        ({"a": {"class_path": "A", "init_args": {"b": {"class_path": "B", "x": 1}}}}, "at a.init_args.b; write it"),
    ],
)
def test_what_stands_beside_a_class_path_is_named(config: Any, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_class_paths(config, "The config mine.yaml")
    assert told in str(error.value)


def test_weight_beside_class_path_is_told_before_anything_else(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(lambda config: config["model"]["regularizers"][0].update(weight=2))
    assert main(["fit", f"--config={path}"]) == 2
    assert sentence(capsys) == (
        f"starft: The config {path} has weight beside class_path starft.losses.SpuriosityAlignment "
        "at model.regularizers, item 1; write it below init_args."
    )


def test_arguments_of_bases_count_where_a_class_hands_on_what_it_is_given() -> None:
    found = parameters_of(CSV)
    assert {"file", "shots", "batch_size"} <= found.keys()
    assert not {"self", "kwargs"} & found.keys()
    assert found["val_fraction"].default == 0.1
    assert (found["batch_size"].annotation, found["shots"].annotation) == (int, int | None)


def test_a_published_set_offers_what_it_hands_on_and_not_what_it_fixes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--data.help", "starft.data.Waterbirds"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--data.batch_size BATCH_SIZE Training images a batch and process. (type: int, default: 128)" in text
    assert "--data.shots SHOTS Train on so many images a class, drawn by ``seed``; null takes all." in text
    assert not any(f"--data.{name} " in text for name in ("train", "name", "ood", "val_fraction", "equal_groups"))
