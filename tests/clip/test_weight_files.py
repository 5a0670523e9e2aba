"""Weights as people have them: wrapped ones are loaded where that is plain, others are named as what they are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fakes import checkpoints
from starft import load
from starft.clip import build_clip
from starft.errors import WeightsError
from starft.exporting.hugging_face import write_hugging_face

State = dict[str, Tensor]
CONFIG: dict[str, Any] = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


def prefixed(state: State, prefix: str) -> State:
    return {f"{prefix}{name}": value for name, value in state.items()}


def inside(state: State, *towers: str) -> State:
    """As torch.compile names the weights of towers that are compiled one by one."""
    return {
        next(
            (f"{tower}._orig_mod.{name.removeprefix(f'{tower}.')}" for tower in towers if name.startswith(f"{tower}.")),
            name,
        ): value
        for name, value in state.items()
    }


MORE = {"classifier.weight": torch.zeros(3, 8)}
PLAIN: dict[str, Callable[[State], Any]] = {
    "torch.compile": lambda state: prefixed(state, "_orig_mod."),
    "compiled towers": lambda state: inside(state, "visual", "transformer"),
    "DDP": lambda state: prefixed(state, "module."),
    "compiled in DDP": lambda state: prefixed(state, "module._orig_mod."),
    "Lightning": lambda state: {"epoch": 1, "state_dict": prefixed(state, "model.") | MORE},
    "Lightning, compiled": lambda state: {"state_dict": prefixed(state, "clip._orig_mod.")},
    "DeepSpeed": lambda state: {"module": prefixed(state, "module."), "global_steps": 7},
    "under model": lambda state: {"model": state, "optimizer": {"state": {}}, "epoch": torch.tensor(3)},
    "under model_state_dict": lambda state: {"model_state_dict": state},
    "under ema": lambda state: {"ema": prefixed(state, "module.")},
    "twice": lambda state: {"state_dict": {"model": state}},
    "FSDP": lambda state: prefixed(state, "_fsdp_wrapped_module."),
    "merged PEFT": lambda state: prefixed(state, "base_model.model."),
}
ADAPTER = {"base_model.model.visual.a.lora_A.weight": torch.zeros(2, 2)}
OTHERS: dict[str, tuple[Callable[[State], Any], str]] = {
    "PEFT": (lambda state: prefixed(state, "base_model.model.") | ADAPTER, "are a PEFT adapter's, such as base_model"),
    "LoRA": (
        lambda state: {"state_dict": {"clip.model.a.lora.weight.up": torch.zeros(2)}},
        "are the updates of model.ad",
    ),
    "two sets": (lambda state: {"model": state, "ema": state}, "hold several sets, model and ema"),
    "two models": (lambda state: prefixed(state, "one.") | prefixed(state, "two."), "several models, one., two."),
    "SigLIP": (lambda state: {"vision_model.head.probe": torch.zeros(1, 1, 8)}, "of SigLIP as transformers has it"),
    "one tower": (lambda state: {"vision_model.post_layernorm.weight": torch.zeros(8)}, "no whole CLIPModel"),
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("wrapped") / "for-wrapped-weights.json"
    path.write_text(json.dumps(CONFIG), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def state(config: str) -> State:
    torch.manual_seed(0)
    return dict(build_clip(config, None).model.state_dict())


def equal(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.slow
@pytest.mark.parametrize("wrap", PLAIN.values(), ids=PLAIN)
def test_wrapped_weights_are_the_same_weights(
    wrap: Callable[[State], Any], config: str, state: State, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(wrap(state), tmp_path / "weights.pt")
    assert equal(build_clip(config, str(tmp_path / "weights.pt")).model.state_dict(), state)
    left = "classifier.weight is left" in capsys.readouterr().err
    assert left == ("classifier.weight" in str(wrap(state).get("state_dict", "")))


@pytest.mark.parametrize(("make", "told"), OTHERS.values(), ids=OTHERS)
def test_others_are_named(make: Callable[[State], Any], told: str, config: str, state: State, tmp_path: Path) -> None:
    torch.save(make(state), tmp_path / "weights.pt")
    with pytest.raises(WeightsError, match=told) as caught:
        build_clip(config, str(tmp_path / "weights.pt"))
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_checkpoint_of_ours_gives_the_tuned_model(tmp_path: Path) -> None:
    module = checkpoints.write(tmp_path / "last.ckpt", head="linear")
    tuned = build_clip("starft-mini", str(tmp_path / "last.ckpt"))
    assert equal(tuned.model.state_dict(), module.clip.model.state_dict())


# transformers


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Path:
    folder = tmp_path_factory.mktemp("transformers") / "clip"
    folder.mkdir()
    write_hugging_face(load(checkpoint, "cpu"), folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("what", ["", "model.safetensors"], ids=["folder", "file"])
def test_transformers_clip_is_loaded(what: str, exported: Path, checkpoint: Path) -> None:
    expected = load(checkpoint, "cpu").clip.model.state_dict()
    assert equal(build_clip("starft-mini", str(exported / what)).model.state_dict(), expected)


@pytest.mark.slow
def test_another_activation_is_refused_and_one_that_nobody_tells_is_noted(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes((exported / "model.safetensors").read_bytes())
    build_clip("starft-mini", str(weights))
    assert "without its config.json, which tells the activation" in capsys.readouterr().err
    keys = json.loads((exported / "config.json").read_text(encoding="utf-8"))
    keys["vision_config"]["hidden_act"] = "quick_gelu"
    (tmp_path / "config.json").write_text(json.dumps(keys), encoding="utf-8")
    with pytest.raises(WeightsError, match="want the activation quick_gelu, and the model has gelu"):
        build_clip("starft-mini", str(tmp_path))


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("adapter_config.json", "holds a PEFT adapter"),
        ("zero_to_fp32.py", "checkpoint of DeepSpeed in parts; run the zero_to_fp32.py"),
        (".metadata", "checkpoint of torch.distributed in parts"),
        ("open_clip_config.json", "give model_name local-dir:"),
        ("model.safetensors.index.json", "in several files"),
        ("something.txt", "isn't a model of transformers"),
    ],
)
def test_folders_are_named(file: str, told: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text("{}", encoding="utf-8")
    with pytest.raises(WeightsError, match=told):
        build_clip("starft-mini", str(tmp_path))


def test_a_folder_of_another_type_of_transformers(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="of the type 'bert'"):
        build_clip("starft-mini", str(tmp_path))
    with pytest.raises(WeightsError, match="is one of transformers and has no open_clip_config"):
        build_clip(f"local-dir:{tmp_path}", None)


# What a bad model config is told


def test_a_bad_model_config_is_no_matter_of_the_network(tmp_path: Path) -> None:
    path = tmp_path / "bad-width.json"
    path.write_text(json.dumps(CONFIG | {"vision_cfg": {"image_size": 16, "wdth": 3}}), encoding="utf-8")
    with pytest.raises(WeightsError, match=r"wdth.* Mend its model config\.$") as caught:
        build_clip(str(path), None)
    assert "network" not in str(caught.value)
