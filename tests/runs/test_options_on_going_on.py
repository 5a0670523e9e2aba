"""Every option of the trainer, the module and the DataModules has its word in the list of what may change."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch import callbacks

import starft.mini  # noqa: F401  # its DataModules are asked for by their base class
from starft.callbacks import WeightEMA
from starft.cli.fit import build
from starft.config.class_paths import parameters_of
from starft.data.datamodules import BaseDataModule
from starft.errors import AllTrained, ConfigError, WeightsError
from starft.files.shipped import with_shipped_configs
from starft.runs.checkpoints import CheckpointFacts, match_classes
from starft.runs.continuing import CALLBACKS, OPTIONS, May, check_going_on, check_same
from starft.training.module import FinetuneModule


def below(base: type) -> Iterator[type]:
    for one in base.__subclasses__():
        yield one
        yield from below(one)


def arguments(*classes: type) -> set[str]:
    return {name for one in classes for name in parameters_of(one)}


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


def a_run(folder: Path, config: dict[str, Any]) -> Path:
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder / "checkpoints" / "last.ckpt"


def check_message(checkpoint: Path, given: dict[str, Any], message: str | list[str]) -> None:
    """Hold what a run that goes on is told to its notes, or to the refusal that a text stands for."""
    if isinstance(message, list):
        assert check_same(checkpoint, given) == message
        return
    with pytest.raises(ConfigError, match=message):
        check_same(checkpoint, given)


@pytest.mark.parametrize(("section", "key"), [(section, key) for section, keys in OPTIONS.items() for key in keys])
def test_each_option_does_what_the_list_says(section: str, key: str, tmp_path: Path) -> None:
    if key in ("callbacks", "devices", "evals"):
        return
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config(section, key, 1)), encoding="utf-8")
    checkpoint, given, may = tmp_path / "checkpoints" / "last.ckpt", config(section, key, 2), OPTIONS[section][key]
    name = {"": key, "data": f"data.init_args.{key}"}.get(section, f"{section}.{key}")
    if may in (May.NOT_CHANGE, May.CHANGE_WITH_DEVICES):
        with pytest.raises(ConfigError, match=rf"options that it had: {name} 1 \(given is 2\)"):
            check_same(checkpoint, given)
        if may is May.CHANGE_WITH_DEVICES:
            had = config(section, key, 2)
            (tmp_path / "config.yaml").write_text(yaml.safe_dump(had), encoding="utf-8")
            given = config(section, key, 1)
            given["trainer"]["devices"] = 2
            assert check_same(checkpoint, given) == []
    else:
        expected = [f"The run goes on with {name} 2; it was 1."] if may is May.CHANGE_TOLD else []
        assert check_same(checkpoint, given) == expected


def test_a_run_from_before_an_option_had_what_was_usual_then(tmp_path: Path) -> None:
    checkpoint = a_run(tmp_path, config("data", "batch_size", 4))
    check_message(checkpoint, config("data", "decode", "fast"), r"had: data.init_args.decode exact \(given is fast\)")
    check_message(checkpoint, config("data", "decode", "exact"), [])
    check_message(
        checkpoint, config("data", "imbalance", 50.0), r"had: data.init_args.imbalance 1\.0 \(given is 50\.0\)"
    )
    check_message(checkpoint, config("data", "imbalance", 1.0), [])
    for key, value, had in (("unscaled_head", True, "False"), ("layer_decay", 0.5, r"1\.0")):
        check_message(checkpoint, config("model", key, value), rf"had: model.{key} {had} \(given is {value}\)")
    check_message(checkpoint, config("model", "unscaled_head", False), [])


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
    check_message(a_run(tmp_path, theirs), ours, message)


@pytest.mark.parametrize("alone", [True, False])
def test_callbacks_of_one_class_and_one_without_a_list(alone: bool, tmp_path: Path) -> None:
    stops = [{"class_path": "a.EarlyStopping", "init_args": {"monitor": name, "patience": 1}} for name in "ab"]
    later = [{"class_path": "a.EarlyStopping", "init_args": {"monitor": "a", "patience": 9}}, stops[1]]
    had, given = (config("trainer", "callbacks", some[0] if alone else some) for some in (stops, later))
    assert check_same(a_run(tmp_path, had), given) == [
        "The run goes on with patience of trainer.callbacks' EarlyStopping 9; it was 1."
    ]


def test_of_an_option_with_parts_those_that_differ_are_told(tmp_path: Path) -> None:
    adapter = {"kind": "lora", "rank": 16, "alpha": 32.0, "towers": ["image", "text"], "blocks": "all"}
    message = r"had: model\.adapter\.blocks all \(given is last 4\)\. Leave them"
    check_message(
        a_run(tmp_path, config("model", "adapter", adapter)),
        config("model", "adapter", adapter | {"blocks": "last 4"}),
        message,
    )
    message = r"had: model\.adapter {'alpha': .* \(given is None\)\. Leave them"
    check_message(a_run(tmp_path, config("model", "adapter", adapter)), config("model", "adapter", None), message)


def counted(batch_size: int, devices: Any, accumulate: int = 1, nodes: int = 1) -> dict[str, Any]:
    given = config("data", "batch_size", batch_size)
    return given | {"trainer": {"devices": devices, "num_nodes": nodes, "accumulate_grad_batches": accumulate}}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (counted(16, 2), []),
        (counted(8, 2, 2), []),
        (counted(8, 1, 2, nodes=2), []),
        (counted(32, 2), r"images a step .* 32 \(given is 64\)"),
        (counted(16, 4), r"images a step .* 32 \(given is 64\)"),
        (counted(32, "2"), r"images a step .* 32 \(given is 64\)"),
        (counted(32, 1, 2), r"trainer.accumulate_grad_batches 1 \(given is 2\)"),
        (
            counted(8, "auto"),
            [
                "The run goes on with data.init_args.batch_size 8; it was 32.",
                "The run goes on with trainer.devices auto; it was 1.",
            ],
        ),
    ],
)
def test_a_step_has_as_many_images_on_other_devices(
    given: dict[str, Any], message: str | list[str], tmp_path: Path
) -> None:
    check_message(a_run(tmp_path, counted(32, 1)), given, message)


def eval_set(name: str = "far", stage: str = "both", ood: bool = True, **source: Any) -> dict[str, Any]:
    read = {"class_path": "starft.data.CSVSource", "init_args": {"file": "a.csv", "templates": "{}"} | source}
    return {"name": name, "stage": stage, "ood": ood, "source": read}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([eval_set(), eval_set("new", "test")], ""),
        ([eval_set(file="/elsewhere/a.csv")], ""),
        ([eval_set(ood=False)], r"ood of data.init_args.evals' far True \(given is False\)"),
        ([eval_set(templates="a {}")], "templates of data.init_args.evals' far"),
        ([eval_set(stage="test")], r"data.init_args.evals' far present \(given is absent\)"),
        ([eval_set(), eval_set("new")], r"data.init_args.evals' new absent \(given is present\)"),
    ],
)
def test_sets_that_are_validated_stay(given: list[dict[str, Any]], message: str, tmp_path: Path) -> None:
    checkpoint = a_run(tmp_path, config("data", "evals", [eval_set()]))
    check_message(checkpoint, config("data", "evals", given), message or [])


def test_options_that_a_lone_checkpoint_holds(checkpoint: Path, tmp_path: Path) -> None:
    held = torch.load(checkpoint, weights_only=True) | {"optimizer_states": [], "global_step": 1}
    torch.save(held, tmp_path / "alone.ckpt")
    same = {key: held["hyper_parameters"][key] for key in ("lr", "weight_decay", "betas", "model_name", "head")}
    given = {"trainer": {}, "data": {}, "model": same}
    check_going_on(tmp_path / "alone.ckpt", given, trial=False)
    with pytest.raises(ConfigError, match=r"alone\.ckpt was trained with model\.lr .* \(given is 7\)"):
        check_going_on(tmp_path / "alone.ckpt", given | {"model": same | {"lr": 7}}, trial=False)


def test_a_checkpoint_is_of_its_run_whatever_it_is_called_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = a_run(tmp_path, config("model", "lr", 1))
    checkpoint.parent.mkdir()
    checkpoint.touch()
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "mine.ckpt").symlink_to(checkpoint)
    monkeypatch.chdir(checkpoint.parent)
    for path in (Path("last.ckpt"), Path("../checkpoints/last.ckpt"), tmp_path / "links" / "mine.ckpt"):
        with pytest.raises(ConfigError, match=r"model.lr 1 \(given is 2\)"):
            check_same(path, config("model", "lr", 2))


def test_another_kind_of_data(tmp_path: Path) -> None:
    theirs, ours = config("trainer", "max_time", 1), config("trainer", "max_time", 1)
    theirs["data"]["class_path"], ours["data"]["class_path"] = "starft.mini.MiniWorld", "starft.data.CSV"
    check_message(a_run(tmp_path, theirs), ours, r"data.class_path starft.mini.MiniWorld \(given is starft.data.CSV\)")


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


def test_templates_of_a_file_that_was_edited() -> None:
    facts = CheckpointFacts("starft-mini", "text", ("duck", "owl"), ("a photo of a {}.",))
    match_classes(facts, ("duck", "owl"), ("a photo of a {}.",))
    with pytest.raises(WeightsError, match=r"trained with the templates a photo of a \{\}\., and .* has a \{\}\. now"):
        match_classes(facts, ("duck", "owl"), ("a {}.",))


def test_a_callback_without_a_list_is_one(tmp_path: Path) -> None:
    callback = "{class_path: starft.callbacks.WeightEMA, init_args: {decay: 0.5}}"
    words = with_shipped_configs(["fit", "--config=mini/zeroshot", f"--trainer.default_root_dir={tmp_path}"])
    trainer = build([*words, f"--trainer.callbacks={callback}"]).trainer
    assert [one.decay for one in trainer.callbacks if isinstance(one, WeightEMA)] == [0.5]  # type: ignore[attr-defined]
