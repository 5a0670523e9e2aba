"""What is resized or guessed when weights meet a model is told; a model's tokenizer goes with its checkpoint."""

import json
import shutil
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor

from fakes import checkpoints
from starft import load
from starft.__main__ import main
from starft.clip import build_clip
from starft.clip.model_names import MINI_FOLDER
from starft.errors import WeightsError
from starft.exporting.formats import write_about, write_open_clip
from starft.runs.checkpoints import match_description

TINY: dict[str, Any] = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 48, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
CUSTOM = TINY | {"custom_text": True}
SIGLIP = CUSTOM | {"init_logit_bias": -10}


def changed(config: dict[str, Any], image_size: int = 48, context: int = 77) -> dict[str, Any]:
    return config | {
        "vision_cfg": config["vision_cfg"] | {"image_size": image_size},
        "text_cfg": config["text_cfg"] | {"context_length": context},
    }


def write_config(path: Path, config: dict[str, Any]) -> Path:
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


@pytest.fixture
def weights(tmp_path: Path) -> dict[str, Tensor]:
    """Random weights for pictures of 48 px and captions of 77 tokens."""
    torch.manual_seed(0)
    state: dict[str, Tensor] = build_clip(
        str(write_config(tmp_path / "from-48-77.json", TINY)), None
    ).model.state_dict()
    return state


# Resized


IMAGE, TEXT = ["48 x 48 px (6 x 6 positions)"], ["captions of 77 tokens"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "where", "image", "context", "told"),
    [
        (TINY, "file", 32, 77, [*IMAGE, "32 x 32 px (4 x 4)"]),
        (CUSTOM, "file", 48, 24, [*TEXT, "takes 24"]),
        (TINY, "folder", 48, 248, [*TEXT, "takes 248"]),
        (TINY, "tag", 64, 16, [*IMAGE, "64 x 64 px (8 x 8)", *TEXT, "takes 16"]),
        (CUSTOM, "folder", 48, 77, []),
    ],
)
def test_positions_that_are_interpolated_are_told_with_both_sizes(
    config: dict[str, Any],
    where: str,
    image: int,
    context: int,
    told: list[str],
    weights: dict[str, Tensor],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind = "custom" if "custom_text" in config else "plain"
    path = write_config(tmp_path / f"to-{kind}-{where}-{image}-{context}.json", changed(config, image, context))
    torch.save(weights, tmp_path / "open_clip_pytorch_model.bin")
    model_name, pretrained = str(path), str(tmp_path / "open_clip_pytorch_model.bin")
    if where == "folder":
        whole = {"model_cfg": changed(config, image, context)}
        write_config(tmp_path / "open_clip_config.json", whole)
        model_name = f"local-dir:{tmp_path}"
    if where == "tag":
        monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda cfg, **_: pretrained)
        monkeypatch.setattr(open_clip.factory, "get_pretrained_cfg", lambda *_: {"url": "somewhere"})
        monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *_: {"url": "somewhere"})
    clip = build_clip(model_name, "some-tag" if where == "tag" else pretrained)
    printed = capsys.readouterr().err
    assert printed.count("Note: ") == (len(told) + 1) // 2
    assert all(part in printed for part in told)
    # the numbers are open_clip's
    open_clip.add_model_config(path)
    theirs = open_clip.create_model(path.stem)
    open_clip.load_checkpoint(theirs, pretrained)
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in clip.model.state_dict().items())


@pytest.mark.slow
def test_a_loaded_checkpoint_tells_it_too(
    weights: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(weights, tmp_path / "old.pt")
    config = write_config(tmp_path / "loaded-32-24.json", changed(TINY, 32, 24))
    checkpoints.write(tmp_path / "last.ckpt", str(config), str(tmp_path / "old.pt"))
    capsys.readouterr()
    load(tmp_path / "last.ckpt")
    printed = capsys.readouterr().err
    assert all(part in printed for part in ("48 x 48 px", "32 x 32 px", "77 tokens", "takes 24"))


# A bias of the logits


def test_a_bias_that_the_model_has_no_place_for(weights: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(weights | {"logit_bias": torch.tensor(-10.0)}, tmp_path / "biased.pt")
    with pytest.raises(
        WeightsError, match="hold a logit_bias, as SigLIP's do, and the model has none; give init_logit"
    ):
        build_clip(str(tmp_path / "from-48-77.json"), str(tmp_path / "biased.pt"))


def test_a_bias_that_the_weights_lack(
    weights: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(weights, tmp_path / "plain.pt")
    clip = build_clip(str(write_config(tmp_path / "with-bias.json", SIGLIP)), str(tmp_path / "plain.pt"))
    assert clip.model.logit_bias.item() == 0
    assert "hold no logit_bias; the model's is set to 0" in capsys.readouterr().err


# The tokenizer goes with the model, whatever a file is called


class Reversed:
    """Stands in for SigLIP's tokenizer, which can't be downloaded here: CLIP's own, with the words in reverse."""

    def __init__(self, vocabulary: str, context_length: int = 64) -> None:
        self.plain, self.vocabulary, self.context_length = open_clip.SimpleTokenizer(), vocabulary, context_length

    def __call__(self, texts: list[str], context_length: int | None = None) -> Tensor:
        return self.plain([" ".join(reversed(text.split())) for text in texts], context_length or self.context_length)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "vocabulary"), [("my-siglip", "c4-en"), ("SigLIP2-small", "gemma"), ("siglip-i18n", "mc4")]
)
def test_a_tokenizer_by_name_is_the_checkpoints_too(
    name: str, vocabulary: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_clip.factory, "SigLipTokenizer", Reversed)
    config = write_config(tmp_path / f"{name}.json", CUSTOM)
    module = checkpoints.write(tmp_path / "last.ckpt", str(config), None)
    loaded = load(tmp_path / "last.ckpt", "cpu")
    assert loaded.clip.tokenize.vocabulary == vocabulary  # type: ignore[attr-defined]
    captions = ["a photo of a duck", "a gull on a lake"]
    expected = module.clip.encode_text(captions)
    torch.testing.assert_close(loaded.clip.encode_text(captions), expected)
    (tmp_path / "export").mkdir()
    write_open_clip(loaded, tmp_path / "export")
    write_about(loaded, tmp_path / "export", "open_clip")
    torch.testing.assert_close(load(tmp_path / "export", "cpu").clip.encode_text(captions), expected)


@pytest.mark.slow
def test_a_config_that_is_renamed_out_of_its_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_clip.factory, "SigLipTokenizer", Reversed)
    torch.manual_seed(0)
    config = write_config(tmp_path / "moved-siglip.json", CUSTOM)
    torch.save(build_clip(str(config), None).model.state_dict(), tmp_path / "model.pt")
    checkpoints.write(tmp_path / "last.ckpt", str(config), str(tmp_path / "model.pt"))
    other = checkpoints.write(
        tmp_path / "other.ckpt", str(config.rename(tmp_path / "moved-away.json")), str(tmp_path / "model.pt")
    )
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    with pytest.raises(WeightsError, match="read with SigLIP's vocabulary c4-en, and now with none"):
        other.on_load_checkpoint(checkpoint)


def test_siglips_tokenizer_out_of_reach_is_told_with_what_to_write(tmp_path: Path) -> None:
    config = write_config(tmp_path / "no-siglip-here.json", CUSTOM)
    with pytest.raises(
        WeightsError, match="names no tokenizer, and because of its name open_clip takes SigLIP's"
    ) as told:
        build_clip(str(config), None)
    assert "text_cfg.hf_tokenizer_name" in str(told.value)


@pytest.mark.slow
def test_the_verbs_tell_it(weights: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(weights, tmp_path / "old.pt")
    config = write_config(tmp_path / "verbs-64-24.json", changed(TINY, 64, 24))
    shipped = Path(__file__).parents[2] / "lightning_configs" / "mini" / "zeroshot.yaml"
    words = ["test", f"--config={shipped}", f"--model.model_name={config}", f"--model.pretrained={tmp_path / 'old.pt'}"]
    words += ["--data.init_args.test_size=12", f"--trainer.default_root_dir={tmp_path / 'run'}"]
    assert main([*words, "--trainer.enable_progress_bar=false"]) == 0
    printed = capsys.readouterr().err
    assert all(part in printed for part in ("48 x 48 px", "64 x 64 px", "77 tokens", "takes 24"))


NORMALISED = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
CLIPS = {"image_mean": [0.4814, 0.4578, 0.4082], "image_std": [0.2686, 0.2613, 0.2758]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "described", "noted"),
    [
        ("open_clip_config.json", {"preprocess_cfg": NORMALISED}, True),
        ("preprocessor_config.json", {f"image_{key}": value for key, value in NORMALISED.items()}, True),
        ("preprocessor_config.json", CLIPS, False),
        ("preprocessor_config.json", {"size": 224}, False),
        ("open_clip_config.json", [], False),
    ],
)
def test_weights_of_otherwise_normalised_images_are_told(
    name: str, described: Any, noted: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(MINI_FOLDER / "starft-mini.safetensors", tmp_path / "mine.safetensors")
    (tmp_path / name).write_text(json.dumps(described), encoding="utf-8")
    build_clip("starft-mini", str(tmp_path / "mine.safetensors"))
    told = capsys.readouterr().err
    assert (f"mean [0.5, 0.5, 0.5] and std [0.5, 0.5, 0.5] ({name} beside them), and this one takes" in told) is noted
    assert bool(told) is noted


OPENAI = {
    "model_cfg": {"embed_dim": 8, "quick_gelu": True, "text_cfg": {"heads": 2}},
    "preprocess_cfg": {"mean": [0.5]},
}


@pytest.mark.parametrize(
    ("model", "preprocessing", "message"),
    [
        ({}, {}, ""),
        ({"new_setting": False, "text_cfg": {"heads": 2, "hf_tokenizer_name": "/elsewhere"}}, {}, ""),
        ({"quick_gelu": False}, {}, "model_cfg.quick_gelu True, and this one with False"),
        ({"text_cfg": {"heads": 4}}, {}, "model_cfg.text_cfg.heads 2, and this one with 4"),
        ({}, {"mean": [0.4]}, r"preprocess_cfg.mean \[0.5\], and this one with \[0.4\]"),
    ],
)
def test_equal_weights_that_compute_something_else(
    model: dict[str, Any], preprocessing: dict[str, Any], message: str
) -> None:
    """The file of OpenAI's weights instead of their tag, say: open_clip's activation is another one then."""
    ours = {"model_cfg": OPENAI["model_cfg"] | model, "preprocess_cfg": OPENAI["preprocess_cfg"] | preprocessing}
    match_description({}, ours)
    if not message:
        match_description(OPENAI, ours)
        return
    with pytest.raises(WeightsError, match=message):
        match_description(OPENAI, ours)
