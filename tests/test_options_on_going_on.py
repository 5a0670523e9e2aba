"""Every option of the trainer, the module and the DataModules has its word in the list of what may change."""

from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch import callbacks

import starft.mini  # noqa: F401  # its DataModules are asked for by their base class
from starft.continuing import CALLBACKS, OPTIONS, May, check_going_on, check_same
from starft.data.datamodules import BaseDataModule
from starft.errors import AllTrained, ConfigError
from starft.finetune import FinetuneModule


def below(base: type) -> Iterator[type]:
    for one in base.__subclasses__():
        yield one
        yield from below(one)


def arguments(*classes: type) -> set[str]:
    return {name for one in classes for name in signature(one).parameters}


def test_no_option_is_forgotten() -> None:
    modules = [one for one in below(BaseDataModule) if one.__module__.startswith("starft.")]
    assert len(modules) > 9
    assert arguments(L.Trainer) <= OPTIONS["trainer"].keys()
    assert arguments(FinetuneModule) == OPTIONS["model"].keys()
    assert arguments(*modules) == OPTIONS["data"].keys()


def test_callbacks_are_those_that_lightning_has() -> None:
    assert all(hasattr(callbacks, name) for name in CALLBACKS)


def config(section: str, key: str, value: Any) -> dict[str, Any]:
    held: dict[str, Any] = {"model": {}, "trainer": {"devices": 1}, "data": {"init_args": {}}, "checkpoint": {}}
    place = {"": held, "data": held["data"]["init_args"]}.get(section, held.get(section))
    place[key] = value  # type: ignore[index]
    return held


@pytest.mark.parametrize(("section", "key"), [(section, key) for section, keys in OPTIONS.items() for key in keys])
def test_each_option_does_what_the_list_says(section: str, key: str, tmp_path: Path) -> None:
    if key in ("callbacks", "devices"):
        return
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config(section, key, 1)), encoding="utf-8")
    checkpoint, given, may = tmp_path / "checkpoints" / "last.ckpt", config(section, key, 2), OPTIONS[section][key]
    name = {"": key, "data": f"data.init_args.{key}"}.get(section, f"{section}.{key}")
    if may in (May.NOT_CHANGE, May.CHANGE_WITH_DEVICES):
        with pytest.raises(ConfigError, match=rf"options that it had: {name} 1 \(given is 2\)"):
            check_same(checkpoint, given)
        if may is May.CHANGE_WITH_DEVICES:
            given["trainer"]["devices"] = 2
            assert check_same(checkpoint, given) == []
    else:
        expected = [f"The run goes on with {name} 2; it was 1."] if may is May.CHANGE_TOLD else []
        assert check_same(checkpoint, given) == expected


@pytest.mark.parametrize(
    ("had", "given", "message"),
    [
        ({"WeightEMA": {"decay": 0.9}}, {"WeightEMA": {"decay": 0.9}}, []),
        ({"WeightEMA": {"decay": 0.9}}, {"WeightEMA": {"decay": 0.5}}, "decay of trainer.callbacks' WeightEMA 0.9"),
        ({}, {"Mine": {}}, r"trainer.callbacks' Mine absent \(given is present\)"),
        ({"JTT": {"epochs": 1}}, {}, r"trainer.callbacks' JTT present \(given is absent\)"),
        ({}, {"LearningRateMonitor": {}}, []),
        ({}, {"EarlyStopping": {}}, ["The run goes on with trainer.callbacks' EarlyStopping present; it was absent."]),
        (
            {"EarlyStopping": {"patience": 1}},
            {"EarlyStopping": {"patience": 2}},
            ["The run goes on with patience of trainer.callbacks' EarlyStopping 2; it was 1."],
        ),
    ],
)
def test_callbacks_on_going_on(
    had: dict[str, Any], given: dict[str, Any], message: str | list[str], tmp_path: Path
) -> None:
    theirs, ours = (
        config(
            "trainer", "callbacks", [{"class_path": f"a.b.{name}", "init_args": args} for name, args in some.items()]
        )
        for some in (had, given)
    )
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(theirs), encoding="utf-8")
    checkpoint = tmp_path / "checkpoints" / "last.ckpt"
    if isinstance(message, list):
        assert check_same(checkpoint, ours) == message
    else:
        with pytest.raises(ConfigError, match=message):
            check_same(checkpoint, ours)


def test_another_kind_of_data(tmp_path: Path) -> None:
    theirs, ours = config("trainer", "max_time", 1), config("trainer", "max_time", 1)
    theirs["data"]["class_path"], ours["data"]["class_path"] = "starft.mini.MiniWorld", "starft.data.CSV"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(theirs), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"data.class_path starft.mini.MiniWorld \(given is starft.data.CSV\)"):
        check_same(tmp_path / "checkpoints" / "last.ckpt", ours)


def test_a_run_at_its_end(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    held = torch.load(checkpoint, weights_only=True) | {"optimizer_states": [], "global_step": 6}
    torch.save(held, folder / "last.ckpt")
    path = folder / "last.ckpt"
    for steps in (5, 6):
        with pytest.raises(AllTrained, match=rf"has 6 of {steps} steps already, .* raise trainer.max_steps to go on"):
            check_going_on(path, config("trainer", "max_steps", steps), trial=False)
    facts, notes = check_going_on(path, config("trainer", "max_steps", 6), trial=True)
    assert (facts.step, notes) == (6, [])
    (tmp_path / "run" / "early_stopping.json").write_text('{"step": 6, "steps": 9, "message": "Early."}')
    with pytest.raises(AllTrained, match=r"^Early\. So there is nothing to train; give EarlyStopping"):
        check_going_on(path, config("trainer", "max_steps", 9), trial=False)
