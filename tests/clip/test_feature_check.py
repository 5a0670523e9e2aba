"""Towers and tokenizers that don't belong together are told when the model is built, in one sentence."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from architectures import WORDS, bert, timm, tokenizer

from starft.clip import build_clip
from starft.errors import ConfigError

TINY: dict[str, Any] = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    "custom_text": True,
}
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "text pools nothing": ({"text_cfg.pool_type": "none"}, "text tower of .* pools nothing: it gives features"),
    "text gives tokens": ({"text_cfg.output_tokens": True}, "text tower of .* pools nothing: it gives several"),
    "image pools nothing": ({"vision_cfg.pool_type": "none"}, "image tower of .* pools nothing: it gives features"),
    "image gives tokens": ({"vision_cfg.output_tokens": True}, "image tower of .* pools nothing: it gives several"),
    "small vocabulary": ({"text_cfg.vocab_size": 1000}, "vocabulary of .* has 1000 tokens .* gives the id 49407"),
    "no projection": ({"text_cfg.proj_type": "none"}, "gives 16 numbers a caption and its image tower 8"),
}


def built(folder: Path, config: dict[str, Any]) -> None:
    path = folder / f"{folder.name}.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    build_clip(str(path), None)


@pytest.mark.slow
@pytest.mark.parametrize(("changes", "told"), WRONG.values(), ids=WRONG)
def test_what_can_t_be_encoded(changes: dict[str, Any], told: str, tmp_path: Path) -> None:
    config = copy.deepcopy(TINY)
    for key, value in changes.items():
        part, name = key.split(".")
        config[part][name] = value
    with pytest.raises(ConfigError, match=told) as caught:
        built(tmp_path, config)
    assert "\n" not in str(caught.value)
    built(tmp_path.parent, TINY)


def test_a_tokenizer_of_transformers_with_a_larger_vocabulary(tmp_path: Path) -> None:
    text = TINY["text_cfg"] | {"hf_tokenizer_name": str(tokenizer(tmp_path / "words", pad_id=1)), "vocab_size": 8}
    with pytest.raises(ConfigError, match="has 8 tokens and its tokenizer gives the id"):
        built(tmp_path, TINY | {"text_cfg": text})


@pytest.mark.slow
def test_a_text_tower_of_transformers_with_too_few_positions(tmp_path: Path) -> None:
    text = {"hf_model_name": str(bert(tmp_path / "bert")), "hf_tokenizer_name": str(tmp_path / "bert")}
    text |= {"hf_proj_type": "linear", "hf_pooler_type": "mean_pooler", "context_length": 40}
    with pytest.raises(ConfigError, match=r"text tower of .* can't encode captions"):
        built(tmp_path, TINY | {"text_cfg": text})


def test_a_timm_tower_that_pools_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"image tower of .* pools nothing"):
        built(tmp_path, TINY | {"vision_cfg": timm("test_vit", "", "none")})


def test_a_caption_beyond_the_vocabulary(tmp_path: Path) -> None:
    """The words of the trial are known; those of the data aren't."""
    words = tokenizer(tmp_path / "words", pad_id=1)
    text = TINY["text_cfg"] | {"hf_tokenizer_name": str(words), "vocab_size": 4 + WORDS.index("night")}
    path = tmp_path / "beyond.json"
    path.write_text(json.dumps(TINY | {"text_cfg": text}), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"vocabulary of .* is smaller than the tokenizer's"):
        build_clip(str(path), None).encode_text(["snow"])


@pytest.mark.parametrize("pooling", [{"pool_type": "eos", "eos_id": 2}, {"pool_type": "first"}], ids=["eos", "first"])
def test_a_tower_that_pools_the_same_place_of_all_captions(
    pooling: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built(tmp_path, TINY | {"text_cfg": TINY["text_cfg"] | pooling})
    assert "makes the same features of all captions" in capsys.readouterr().err
