"""Models from elsewhere: weights of OpenAI, a hub that isn't there, an extra that isn't installed, near names."""

import json
import time
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from architectures import WORDS, tokenizer, write
from huggingface_hub import constants
from torch import nn

from starft.clip import CaptionRuler, build_clip, hub
from starft.errors import ConfigError, WeightsError


def sentence(error: type[Exception], model: str, pretrained: str | None = None) -> str:
    with pytest.raises(error) as caught:
        build_clip(model, pretrained)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Weights of OpenAI


def whole_vit(path: Path) -> Path:
    """Write a weight file of ViT-B-16 that takes no room: zeros that are stored once and expanded."""
    config = open_clip.get_model_config("ViT-B-16")
    with torch.device("meta"):
        shapes = open_clip.CLIP(**config).state_dict()
    torch.save({name: torch.zeros(()).expand(value.shape) for name, value in shapes.items()}, path)
    assert path.stat().st_size < 1_000_000
    return path


@pytest.mark.slow
def test_openais_weights_come_with_quick_gelu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing but the download is replaced."""
    weights = whole_vit(tmp_path / "vit.pt")
    asked: list[dict[str, Any]] = []

    def download(cfg: dict[str, Any], **_: Any) -> str:
        asked.append(cfg)
        return str(weights)

    monkeypatch.setattr(open_clip.factory, "download_pretrained", download)

    def kinds(model_name: str, pretrained: str) -> tuple[int, int]:
        model = build_clip(model_name, pretrained).model
        assert not model.visual.proj.any(), "the weights weren't loaded"
        parts = list(model.modules())
        return tuple(sum(type(part) is kind for part in parts) for kind in (open_clip.model.QuickGELU, nn.GELU))

    assert kinds("ViT-B-16", "openai") == (24, 0)
    assert asked == [open_clip.get_pretrained_cfg("ViT-B-16", "openai")]
    assert kinds("ViT-B-16-quickgelu", str(weights)) == (24, 0), "a local file, and the person says so"


@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning", "ignore:.torch.jit:DeprecationWarning")
def test_a_torchscript_archive_is_told(tmp_path: Path) -> None:
    config = write(tmp_path, "vit")
    archive = tmp_path / "archive.pt"
    torch.jit.save(torch.jit.trace(nn.Linear(1, 1), torch.zeros(1, 1)), archive)
    assert sentence(WeightsError, str(config), str(archive)) == (
        f"The weights {archive} are a TorchScript archive, which holds code, as OpenAI's own downloads do; "
        "where you trust it, make a plain file of it: torch.jit.load(FILE).state_dict(), less input_resolution, "
        "context_length and vocab_size, by torch.save."
    )


# A hub that isn't there


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A machine that thinks it is online and isn't; leaves what was asked for."""
    asked: list[str] = []

    class Session:
        def head(self, url: str, timeout: float) -> None:
            asked.append(url)
            assert timeout <= 5
            raise OSError("no route to host")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "get_session", Session)
    return asked


@pytest.mark.parametrize(
    ("model", "pretrained", "told"),
    [
        ("hf-hub:timm/ViT-B-16-SigLIP", None, "The model hf-hub:timm/ViT-B-16-SigLIP with weights None can't be "),
        ("ViT-B-16", "openai", "The model ViT-B-16 with weights 'openai' can't be loaded: "),
    ],
)
def test_a_hub_out_of_reach_is_told_at_once(no_network: list[str], model: str, pretrained: str, told: str) -> None:
    begun = time.monotonic()
    text = sentence(WeightsError, model, pretrained)
    assert time.monotonic() - begun < 10, "it waited"
    assert text.startswith(told)
    assert "it isn't in the local cache, and the hub (huggingface.co) can't be reached" in text
    assert text.endswith(
        "Without a network, give pretrained a local weight file, or model_name a local-dir:PATH, "
        "a folder with config, weights and tokenizer; to try the commands, --model.model_name starft-mini "
        "--model.pretrained mini, which come with the package."
    )
    assert no_network == ["https://huggingface.co"], "the hub is asked once"
    assert not constants.HF_HUB_OFFLINE, "the switch came back"


def test_a_tokenizer_out_of_reach_is_told_too(no_network: list[str]) -> None:
    with pytest.raises(WeightsError, match="ViT-B-16-SigLIP's tokenizer can't be loaded: it isn't in the local cache"):
        CaptionRuler("ViT-B-16-SigLIP")


def test_local_models_ask_nobody(no_network: list[str], tmp_path: Path) -> None:
    for kind in ("vit", "siglip", "hf"):
        build_clip(str(write(tmp_path / kind, kind)), None)
    assert no_network == []


def test_a_hub_that_answers_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    class Session:
        def head(self, url: str, timeout: float) -> None:
            pass

    def download(model_id: str, **_: Any) -> str:
        seen.append(constants.HF_HUB_OFFLINE)
        raise OSError("Repository Not Found")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "get_session", Session)
    monkeypatch.setattr(open_clip.factory, "download_pretrained_from_hf", download)
    text = sentence(WeightsError, "hf-hub:timm/ViT-B-16-SigLIPP")
    assert seen == [False]
    assert "can't be loaded: Repository Not Found. Did you mean hf-hub:timm/ViT-B-16-SigLIP" in text


# The extra


@pytest.mark.parametrize("kind", ["siglip", "hf"])
def test_without_transformers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str) -> None:
    config = write(tmp_path, kind)
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    text = sentence(ConfigError, str(config))
    assert text == (
        f"The text tower or tokenizer of {config.stem} needs transformers, which isn't installed: "
        "pip install 'starft[hf]'."
    )
    build_clip(str(write(tmp_path, "vit")), None)


# Folders and near names


def test_a_folder_brings_config_weights_and_tokenizer(tmp_path: Path) -> None:
    """As open_clip exports SigLIP: the tokenizer's name in the config is passed over for the folder's own."""
    config = write(tmp_path / "source", "siglip")
    keys = json.loads(config.read_text(encoding="utf-8"))
    keys["text_cfg"]["hf_tokenizer_name"] = "timm/ViT-B-16-SigLIP"
    folder = tokenizer(tmp_path / "model", pad_id=1)
    told = {"model_cfg": keys, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}}
    (folder / "open_clip_config.json").write_text(json.dumps(told), encoding="utf-8")
    state = build_clip(str(config), None).model.state_dict()
    torch.save(state, folder / "open_clip_pytorch_model.bin")
    clip = build_clip(f"local-dir:{folder}", None)
    assert all(torch.equal(value, state[name]) for name, value in clip.model.state_dict().items())
    assert clip.tokenize(["a duck"]).tolist() == [[2, 4, 4 + WORDS.index("duck"), 3, *[1] * 12]]
    assert CaptionRuler(f"local-dir:{folder}").tokens(["a duck"]) == [4]


def test_near_paths_are_told(tmp_path: Path) -> None:
    config = write(tmp_path / "models", "vit")
    near = f"Did you mean {config}?"
    assert near in sentence(ConfigError, str(config.with_name(config.name.replace("vit", "vti"))))
    (tmp_path / "models" / "weights.pt").write_bytes(b"")
    weights = tmp_path / "models" / "weights.pt"
    assert f"Did you mean {weights}?" in sentence(ConfigError, str(config), str(weights.with_name("weihgts.pt")))
    text = sentence(WeightsError, f"local-dir:{tmp_path / 'modles'}")
    told = f"The model folder {tmp_path / 'modles'} doesn't exist; check its path."
    assert text == f"{told} Did you mean {tmp_path / 'models'}?"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "has no readable open_clip_config.json: No such file or directory"),
        ("{", "has no readable open_clip_config.json: Expecting property name"),
        ("[]", "must hold model_cfg with embed_dim, vision_cfg, text_cfg; it lacks embed_dim, vision_cfg, text_cfg."),
        ('{"model_cfg": {"embed_dim": 8, "vision_cfg": {}}}', "it lacks text_cfg."),
    ],
)
def test_folders_that_hold_no_model(tmp_path: Path, content: str | None, told: str) -> None:
    if content is not None:
        (tmp_path / "open_clip_config.json").write_text(content, encoding="utf-8")
    assert told in sentence(WeightsError, f"local-dir:{tmp_path}")


def test_a_folders_config_given_as_a_file(tmp_path: Path) -> None:
    path = tmp_path / "open_clip_config.json"
    path.write_text('{"model_cfg": {}}', encoding="utf-8")
    text = sentence(ConfigError, str(path))
    assert text.endswith(
        f"keep it as open_clip_config.json beside its weights and give model_name local-dir:{tmp_path}."
    )
