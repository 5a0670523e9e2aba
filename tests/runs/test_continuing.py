"""A run that goes on keeps its options, and what was found of it before isn't taken for what it is now."""

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import yaml

from starft.__main__ import main
from starft.errors import ConfigError, Stopped
from starft.runs.continuing import check_same
from starft.runs.ending import set_aside, unfinished_note
from starft.runs.kept_checkpoints import BestCheckpoint
from starft.runs.layout import UNFINISHED
from starft.training.stopping import StopSafely

HAD: dict[str, Any] = {
    "model": {"lr": 0.1, "regularizers": None, "compile": False, "pretrained": "mini"},
    "data": {"init_args": {"batch_size": 64, "num_workers": 4, "sampling": "shuffle"}},
    "trainer": {"max_epochs": 4, "devices": 1, "num_nodes": 1, "accumulate_grad_batches": 1},
}


def changed(**sections: dict[str, Any]) -> dict[str, Any]:
    given = {name: {**section, **sections.get(name, {})} for name, section in HAD.items()}
    return given | {"data": {"init_args": {**HAD["data"]["init_args"], **sections.get("data", {})}}}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(HAD), encoding="utf-8")
    return tmp_path / "checkpoints" / "last.ckpt"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"data": {"sampling": "x" * 99}}, f"data.init_args.sampling shuffle (given is {'x' * 40}...)"),
        (
            {"model": {"lr": 1, "regularizers": [1]}, "data": {"batch_size": 1, "sampling": "a"}},
            "model.lr 0.1 (given is 1), model.regularizers None (given is [1]), "
            "data.init_args.sampling shuffle (given is a) and 1 more",
        ),
    ],
)
def test_what_may_not_change_is_named(given: dict[str, Any], told: str, checkpoint: Path) -> None:
    """`test_options_on_going_on` goes through all options."""
    with pytest.raises(ConfigError) as caught:
        check_same(checkpoint, changed(**given))
    assert str(caught.value) == (
        f"A run goes on with the options that it had: {told}. Leave them as "
        f"{checkpoint.parents[1] / 'config.yaml'} has them, or start a new run in another folder, without --ckpt_path."
    )


def test_an_option_that_the_run_did_not_know_may_be_given(checkpoint: Path) -> None:
    assert check_same(checkpoint, changed(model={"new_option": 1, "compile": True, "pretrained": "elsewhere"})) == []


def test_of_a_lone_checkpoint_nothing_is_known(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = changed(model={"lr": 9})
    monkeypatch.chdir(checkpoint.parents[1])
    check_same(Path("last.ckpt"), other)
    for text in ("model: 3", "- a", "a: [", ""):
        Path("config.yaml").write_text(text, encoding="utf-8")
        check_same(checkpoint, other)
    Path("config.yaml").unlink()
    check_same(checkpoint, other)


def test_what_was_found_before_is_kept_apart(tmp_path: Path) -> None:
    assert set_aside(tmp_path) == ""
    for name in ("results.json", "results-1.json", "samples.npz"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    (tmp_path / "samples").mkdir()
    told = set_aside(tmp_path)
    assert told == "results.json is results-2.json, samples.npz is samples-1.npz, samples is samples-1"
    assert (tmp_path / "results-1.json").read_text(encoding="utf-8") == "results-1.json"
    assert (tmp_path / "results-2.json").read_text(encoding="utf-8") == "results.json"
    assert {path.name for path in tmp_path.iterdir()} == {
        "results-1.json",
        "results-2.json",
        "samples-1.npz",
        "samples-1",
    }


def test_a_checkpoint_of_a_run_that_has_not_ended(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    assert unfinished_note(checkpoint) == ""
    (tmp_path / UNFINISHED).touch()
    assert unfinished_note(checkpoint) == (
        f"The training in {tmp_path} hasn't ended (unfinished.json): last.ckpt is of a part of it."
    )


def test_a_copied_folder_keeps_its_best(tmp_path: Path) -> None:
    """A later, worse value must not take the place of the copied ``best.ckpt``."""
    for name in ("first", "copy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "best.ckpt").touch()
    options: dict[str, Any] = {"filename": "best", "monitor": "val/id/acc", "mode": "max"}
    first, copy, other = (BestCheckpoint(dirpath=tmp_path / name, **options) for name in ("first", "copy", "other"))
    first.best_model_score, first.best_model_path = torch.tensor(0.98), str(tmp_path / "first" / "best.ckpt")
    first.kth_best_model_path, first.best_k_models = first.best_model_path, {first.best_model_path: torch.tensor(0.98)}
    copy.load_state_dict(first.state_dict())
    path = str(tmp_path / "copy" / "best.ckpt")
    assert (copy.best_model_path, copy.kth_best_model_path) == (path, path)
    assert copy.best_model_score == torch.tensor(0.98)
    assert copy.best_k_models == {path: torch.tensor(0.98)}
    with pytest.warns(UserWarning, match="dirpath"):
        other.load_state_dict(first.state_dict())
    assert other.best_model_score is None, "a folder without a best.ckpt looks for its own"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal(number: int) -> None:
    """Of SIGTERM it changes nothing, and never reaches Lightning's handler, which would end the run with status 0."""
    heard: list[int] = []
    before = {one: signal.signal(one, lambda got, _: heard.append(got)) for one in (signal.SIGTERM, signal.SIGINT)}
    stop, trainer = StopSafely(Path()), cast(Any, SimpleNamespace(global_step=3, is_global_zero=True))
    try:
        stop.on_train_start(None, None)  # type: ignore[arg-type]
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGTERM)
        assert (stop.received, heard) == (number, [])
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(Stopped, match="after step 3; continue"), stop.heard(trainer):
            pass
        signal.raise_signal(signal.SIGTERM)
        assert heard == [signal.SIGTERM]
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


@pytest.mark.parametrize("verb", ["fit", "test"])
def test_a_checkpoint_of_another_model_is_told_before_a_model_is_loaded(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a network the model of this config can't be had."""
    facts = {"model_name": "starft-mini", "head": "linear", "class_names": ["a", "b"], "templates": ["{}"]}
    checkpoint = {"state_dict": {}, "starft": facts, "optimizer_states": []}
    torch.save(checkpoint, tmp_path / "some.ckpt")
    words = [f"--ckpt_path={tmp_path / 'some.ckpt'}", f"--trainer.default_root_dir={tmp_path / 'run'}"]
    assert main([verb, "--config=csv/ce", *words]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "starft: The checkpoint is of model starft-mini, the config asks for model ViT-B-16; give its own config."
    )
