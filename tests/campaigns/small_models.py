"""Every model config of open_clip made small: the same parts, flags and order, few and narrow, all weights random."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
import transformers
from timm.models import vision_transformer_hybrid, vitamin
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn

WIDTH = 32
"""Features of both towers: heads of 8 divide it, and where there is no projection it is the tower's width."""
TEXT_WIDTH = 16
VOCABULARY = 64
NUMBERS = count()
WORDS = (*("a", "photo", "of", "duck", "gull", "crow", "on", "in", "the", "lake", "forest", "city", "at", "night"), ".")
SPECIAL = {
    "bert": {"<pad>": 0, "<unk>": 1, "<start>": 2, "<end>": 3},
    "SigLIP2": {"<pad>": 0, "<end>": 1, "<unk>": 2},
    "SigLIP": {"<unk>": 0, "<end>": 1},  # pads with the end
    "mt5": {"<pad>": 0, "<end>": 1, "<unk>": 2},
    "": {"<start>": 0, "<pad>": 1, "<end>": 2, "<unk>": 3},  # RoBERTa's kind
}
"""Part of a tokenizer's name -> its special tokens, in the order in which they are looked for."""


def small_config(name: str, folder: Path) -> Path:
    """Write the config of a model of open_clip made small, as a person's own; return its path."""
    config = deepcopy(open_clip.get_model_config(name))
    config["embed_dim"], was = WIDTH, config["embed_dim"]
    image, text = config["vision_cfg"], config["text_cfg"]
    if "timm_model_name" in image:
        image["image_size"] = small_timm(image["timm_model_name"])[1]
    elif isinstance(image["layers"], list):
        image |= {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8}
    else:
        sizes = image["image_size"]
        patch = image["patch_size"]
        image["image_size"] = [3 * patch, 2 * patch] if isinstance(sizes, list) and sizes[0] != sizes[1] else 3 * patch
        image |= {"layers": 2, "width": 16, "head_width": 8}
        if image.get("attentional_pool"):
            image |= {"attn_pooler_heads": 2, "attn_pooler_queries": 5}
    own = text.get("hf_tokenizer_name")
    if own:
        text["hf_tokenizer_name"] = str(write_tokenizer(folder / "tokens", own))
    if "hf_model_name" in text:
        width = WIDTH if text.get("hf_proj_type", "mlp") is None else 24
        text["hf_model_name"] = str(write_transformer(folder / "tower", text["hf_model_name"], width))
        text["hf_model_pretrained"] = False
    else:
        whole = text.get("proj_type") == "none"
        text |= {"width": WIDTH if whole else TEXT_WIDTH, "heads": 2, "layers": 2}
        if own:
            text["vocab_size"] = VOCABULARY
    if "multimodal_cfg" in config:
        config["multimodal_cfg"] |= {"width": WIDTH, "heads": 2, "layers": 1, "attn_pooler_heads": 2}
        if own:
            config["multimodal_cfg"]["vocab_size"] = VOCABULARY
    assert was > WIDTH, "it was small before"
    path = folder / f"{name}-small-{next(NUMBERS)}.json"  # open_clip knows a config by its file's name for good
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


def small_timm(name: str) -> tuple[dict[str, Any], int]:
    """Return what makes a model of timm small, and its image size."""
    vit = {"embed_dim": WIDTH, "depth": 2, "num_heads": 2}
    if name.startswith("convnext"):
        return {"depths": (1, 1, 1, 1), "dims": (8, 16, 16, WIDTH)}, 64
    if name.startswith("fastvit"):
        stages = 5 if name.endswith(("mci3", "mci4")) else 4
        return {"layers": (1,) * stages, "embed_dims": (16, 16, 32, 32, 32)[:stages]}, 32 * 2 ** (stages - 3)
    if name.startswith("swin"):
        return {"embed_dim": 16, "depths": (2, 2, 1, 1), "num_heads": (1, 2, 2, 4)}, 224
    if name.startswith("hiera"):
        return {"embed_dim": 8, "stages": (1, 1, 1, 1), "img_size": 64}, 64
    if name.startswith(("vitamin", "vit_base_mci")):
        return vit | {"img_size": 64}, 64
    patch = re.search(r"patch(\d+)", name)
    assert patch is not None, f"{name} is of a kind that this campaign doesn't know"
    size = 3 * int(patch[1])
    return vit | {"img_size": size} | ({"rel_pos_dim": 16} if "relpos" in name else {}), size


@contextmanager
def small_towers() -> Iterator[None]:
    """Let timm build each model small, and open_clip make a tokenizer once."""
    create, stages, stem = timm.create_model, vitamin.VitCfg, vision_transformer_hybrid.ConvStem

    def create_small(name: str, **options: Any) -> nn.Module:
        return create(name, **small_timm(name)[0] | options)

    def small_stages(**options: Any) -> Any:
        return stages(**options | {"embed_dim": (8, 16, WIDTH), "depths": (1, 1, 1), "stem_width": 8})

    def small_stem(**options: Any) -> nn.Module:
        return stem(**options | {"channels": (8, 8, WIDTH)})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm, "create_model", create_small)
        patch.setattr(vitamin, "VitCfg", small_stages)
        patch.setattr(vision_transformer_hybrid, "ConvStem", small_stem)
        patch.setattr(open_clip.factory, "SimpleTokenizer", lru_cache(open_clip.factory.SimpleTokenizer))
        yield


def write_tokenizer(folder: Path, name: str) -> Path:
    """Write a word tokenizer whose special tokens have the ids of a named one."""
    special = next(ids for part, ids in SPECIAL.items() if part in name)
    vocabulary = special | {word: number for number, word in enumerate(WORDS, start=len(special))}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    start = "<start> " if "<start>" in special else ""
    ends = [(token, special[token]) for token in ("<start>", "<end>") if token in special]
    words.post_processor = processors.TemplateProcessing(single=f"{start}$A <end>", special_tokens=ends)
    names = {"pad_token": "<pad>" if "<pad>" in special else "<end>", "unk_token": "<unk>", "sep_token": "<end>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", **names).save_pretrained(folder)
    return folder


def write_transformer(folder: Path, name: str, width: int) -> Path:
    """Write the config of a small text tower of transformers, of the kind of a named one."""
    roberta = {
        "hidden_size": width,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 40,
        "max_position_embeddings": 90,
        "vocab_size": VOCABULARY,
        "pad_token_id": 1,
    }
    if "mt5" in name:
        config: Any = transformers.MT5Config(
            d_model=width, d_kv=8, d_ff=40, num_layers=2, num_heads=2, vocab_size=VOCABULARY
        )
    elif "nllb" in name:
        config = transformers.M2M100Config(
            d_model=width,
            encoder_layers=2,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=40,
            decoder_ffn_dim=40,
            vocab_size=VOCABULARY,
            max_position_embeddings=90,
        )
    else:
        kind = transformers.XLMRobertaConfig if "xlm" in name else transformers.RobertaConfig
        config = kind(**roberta)
    config.save_pretrained(folder)
    return folder


@torch.no_grad()
def fill(model: nn.Module) -> None:
    """Move every weight and statistic from where it starts: biases, norms, class tokens and gains of zero too."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator) * 0.05
        parameter.copy_(torch.nan_to_num(parameter.clamp(-5, 5)) + noise)  # CoCa's decoder leaves a matrix unfilled
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.1)
        if name.endswith("running_var"):
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
