"""Layer-wise learning-rate decay by hand count, and the unscaled head against a plain AdamW of one."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from starft.clip import build_clip
from starft.errors import ConfigError
from starft.losses import CrossEntropy
from starft.training.layer_decay import layer_rates
from starft.training.linear_head import with_unscaled_head
from starft.training.module import FinetuneModule
from starft.training.optim import adamw, parameter_groups


def test_rates_of_the_tiny_clip() -> None:
    """Four image blocks and two text blocks, decay a half: the last block has 1/2, and so on to embeddings and stem."""
    module = FinetuneModule(model_name="starft-mini", pretrained="mini")
    model = module.clip.model
    names = {parameter: name for name, parameter in model.named_parameters()}
    rates = {names[parameter]: rate for parameter, rate in layer_rates(model, 0.5).items()}
    by_hand: dict[str, float] = {}
    for name in names.values():
        block = re.search(r"(visual\.)?transformer\.resblocks\.(\d)", name)
        blocks = 4 if name.startswith("visual.") else 2
        if block:
            by_hand[name] = 0.5 ** (blocks - int(block[2]))
        elif name.split(".")[-2:][0] not in ("ln_post", "ln_final") and "proj" not in name and name != "logit_scale":
            by_hand[name] = 0.5 ** (blocks + 1)
    assert by_hand["visual.conv1.weight"] == by_hand["visual.class_embedding"] == 1 / 32
    assert by_hand["token_embedding.weight"] == 1 / 8
    assert rates == by_hand
    assert layer_rates(model, 1.0) == {}

    groups = parameter_groups(model, 0.1, decay_one_dimensional=False, rates=layer_rates(model, 0.5))
    optimizer = adamw(groups, lr=0.8)
    lrs = {names[p]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    assert lrs["visual.proj"] == (0.8, 0.1)
    assert lrs["visual.transformer.resblocks.3.ln_1.weight"] == (0.4, 0.0)
    assert lrs["token_embedding.weight"] == (0.1, 0.1)
    assert len(lrs) == len(names)


def test_a_pooling_of_timm_s_is_no_block(tmp_path: Path) -> None:
    """SigLIP's attention pooling learns at the whole rate, as that of CLIP's ResNets does; its last block at a half."""
    vision = {"timm_model_name": "test_vit", "timm_model_pretrained": False, "timm_pool": "map", "timm_proj": "none"}
    text = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
    config = {"embed_dim": 64, "vision_cfg": vision | {"image_size": 160}, "text_cfg": text, "custom_text": True}
    path = tmp_path / "pooled.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    model = build_clip(str(path), None).model
    rates, trunk = layer_rates(model, 0.5), model.visual.trunk
    for block, rate in zip(trunk.blocks, (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2), strict=True):
        assert {rates[parameter] for parameter in block.parameters()} == {rate}
    assert rates[trunk.pos_embed] == 1 / 128
    assert not any(parameter in rates for parameter in trunk.attn_pool.parameters())


@pytest.mark.parametrize("decay", [0.0, 1.1, -1.0, float("nan")])
def test_a_layer_decay_that_cant_be_used(decay: float) -> None:
    with pytest.raises(ConfigError, match=rf"^layer_decay must lie in \(0, 1\], where 1 is none; got {decay}\.$"):
        FinetuneModule(layer_decay=decay)


def test_an_unscaled_head_is_trained_as_lipsum_ft_trains_it() -> None:
    """Against a head u of its own in a plain AdamW, whose logits are s f u: the same logits after each step."""
    generator = torch.Generator().manual_seed(0)
    scale, start = 14.0, torch.randn(3, 4, dtype=torch.float64, generator=generator)
    features = F.normalize(torch.randn(5, 8, 4, dtype=torch.float64, generator=generator), dim=-1)
    labels = torch.randint(0, 3, (5, 8), generator=generator)
    plain, ours, other = (nn.Parameter(value.clone()) for value in (start, scale * start, torch.ones(2).double()))
    theirs = torch.optim.AdamW([plain], lr=0.01, weight_decay=0.3, eps=1e-8)
    groups = [{"params": [other, ours], "weight_decay": 0.3, "rate": 1.0}]
    optimizer = adamw(with_unscaled_head(groups, ours, scale), lr=0.01)
    assert [(group["lr"], len(group["params"])) for group in optimizer.param_groups] == [(0.01, 1), (0.14, 1)]
    for images, truth in zip(features, labels, strict=True):
        for head, factor, step in ((plain, scale, theirs), (ours, 1.0, optimizer)):
            step.zero_grad()
            F.cross_entropy(factor * images @ head.T, truth).backward()
            step.step()
        torch.testing.assert_close(ours.detach(), scale * plain.detach(), rtol=1e-10, atol=1e-10)
    assert (plain - start).abs().max() > 0.05, "it moved"


@pytest.mark.parametrize(
    ("given", "option"), [({"unscaled_head": True}, "unscaled_head"), ({"head_start": "probe"}, "head_start probe")]
)
def test_options_of_a_head_that_isnt_there(given: dict[str, Any], option: str) -> None:
    with pytest.raises(ConfigError, match=f"^{option} is for the linear head; the head is 'text', set head to linear"):
        FinetuneModule(CrossEntropy(), **given)
