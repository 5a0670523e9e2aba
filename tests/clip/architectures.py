"""One small model of every kind that open_clip builds: its own class, random weights, a config file as a person's."""

import json
import re
from pathlib import Path
from typing import Any

from starft.clip import build_clip

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
VIT = {"image_size": 32, "layers": 3, "width": 16, "head_width": 8, "patch_size": 16}
WORDS = (
    *("a", "photo", "of", "duck", "gull", "crow", "on", "in", "the", "lake", "forest", "city", "at", "night"),
    *("desert", "beach", "snow", "."),
)
"""What the tokenizers of transformers know here; all else is one unknown word."""


def write(folder: Path, kind: str) -> Path:
    """Write the model config of a kind, with its tokenizer where it has one of its own; return its path."""
    text: dict[str, Any] = dict(TEXT)
    config: dict[str, Any] = {"embed_dim": 8, "vision_cfg": VIT, "text_cfg": text}
    if kind == "vit":
        config["quick_gelu"] = True
    elif kind == "resnet":
        config["vision_cfg"] = {"image_size": 32, "layers": [1, 2, 1, 1], "width": 8, "head_width": 64}
    elif kind == "siglip":
        config |= {"embed_dim": 64, "init_logit_bias": -10, "custom_text": True}
        config["vision_cfg"] = timm("test_vit", "map", "none")
        text |= {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
        text |= {"hf_tokenizer_name": str(tokenizer(folder / "tokens", pad_id=1)), "vocab_size": 64}
        text["tokenizer_kwargs"] = {"clean": "canonicalize"}
    elif kind == "timm":
        config["vision_cfg"] = timm("test_resnet", "", "linear")
        config["custom_text"] = True
    elif kind == "hf":
        text = {"hf_model_name": str(bert(folder / "bert")), "hf_tokenizer_name": str(folder / "bert")}
        config["text_cfg"] = text | {"hf_proj_type": "linear", "hf_pooler_type": "mean_pooler", "context_length": 16}
    elif kind == "coca":
        config["vision_cfg"] = VIT | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
        text |= {"embed_cls": True, "output_tokens": True}
        config |= {"custom_text": True, "multimodal_cfg": TEXT | {"width": 8, "attn_pooler_heads": 2}}
    else:
        raise ValueError(kind)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{re.sub(r'[^a-z0-9]+', '-', folder.name.lower())}-{kind}.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


KINDS = ("vit", "resnet", "siglip", "timm", "hf", "coca")


def weights(config: Path) -> Path:
    """Write random weights of a model config as a file; return its path."""
    import torch  # noqa: PLC0415

    torch.manual_seed(0)
    path = config.with_suffix(".pt")
    torch.save(build_clip(str(config), None).model.state_dict(), path)
    return path


def timm(name: str, pool: str, projection: str) -> dict[str, Any]:
    return {
        "image_size": 160,
        "timm_model_name": name,
        "timm_model_pretrained": False,
        "timm_pool": pool,
        "timm_proj": projection,
    }


def tokenizer(folder: Path, pad_id: int) -> Path:
    """Write a word tokenizer of transformers whose padding has an id of one's choice."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    special = ["<unk>", "<cls>", "<end>"]
    special.insert(pad_id, "<pad>")
    ids = {word: number for number, word in enumerate([*special, *WORDS])}
    words = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="<cls> $A <end>", special_tokens=[("<cls>", ids["<cls>"]), ("<end>", ids["<end>"])]
    )
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<cls>", "sep_token": "<end>"}
    PreTrainedTokenizerFast(tokenizer_object=words, **names).save_pretrained(folder)
    return folder


def bert(folder: Path) -> Path:
    """Write the config of a small BERT, without weights, and its tokenizer."""
    from transformers import BertConfig  # noqa: PLC0415

    tokenizer(folder, pad_id=2)
    BertConfig(
        vocab_size=64,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        pad_token_id=2,
    ).save_pretrained(folder)
    return folder
