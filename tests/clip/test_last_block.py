"""The last image block is computed for the class token alone; features and gradients stay those of the whole block."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from starft.clip import ClipEncoder, Twin, build_clip, checkpoint_activations
from starft.clip.last_block import pools_class_token

IMAGES, PATCHES = 3, 4
VISION = {"image_size": 16, "layers": 3, "width": 16, "head_width": 8, "patch_size": 8}
ALONE: dict[str, dict[str, Any]] = {
    "plain": {},
    "one-block": {"layers": 1},
    "norm-behind-the-pool": {"final_ln_after_pool": True},
    "layer-scale": {"ls_init_value": 0.3},
    "no-norm-before": {"no_ln_pre": True},
    "fixed-positions": {"pos_embed_type": "sin_cos_2d"},
}
WHOLE: dict[str, dict[str, Any]] = {
    "mean": {"pool_type": "avg"},
    "pooled-by-attention": {"attentional_pool": True, "attn_pooler_queries": 4, "attn_pooler_heads": 2},
    "other-blocks": {"qk_norm": True},
}


def tiny(folder: Path, name: str, trim: bool = True) -> ClipEncoder:
    path, vision = folder / f"last-block-{name}.json", (ALONE | WHOLE)[name]
    text = {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": 8, "vision_cfg": {**VISION, **vision}, "text_cfg": text}
    path.write_text(json.dumps(config), encoding="utf-8")
    torch.manual_seed(0)
    clip = build_clip(str(path), None, trim)
    clip.model.double()
    return clip


def images(seed: int = 0) -> Tensor:
    return torch.randn(IMAGES, 3, 16, 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def computed(clip: ClipEncoder) -> list[int]:
    """Note how many tokens of an image go through the last block's own way, the MLP, from now on."""
    found: list[int] = []
    mlp: nn.Module = clip.model.visual.transformer.resblocks[-1].mlp
    mlp.register_forward_pre_hook(lambda _, given: found.append(given[0].shape[1]))
    return found


def gradients(clip: ClipEncoder, features: Tensor) -> dict[str, Tensor]:
    clip.model.zero_grad()
    (features * torch.linspace(-1, 2, features.numel(), dtype=torch.float64).view_as(features)).sum().backward()
    return {name: p.grad.clone() for name, p in clip.model.visual.named_parameters() if p.grad is not None}


@pytest.mark.slow
@pytest.mark.parametrize("name", ALONE)
def test_features_and_every_gradient_are_those_of_the_whole_block(name: str, tmp_path: Path) -> None:
    clip = tiny(tmp_path, name)
    whole = F.normalize(clip.model.encode_image(images()), dim=-1)
    expected = gradients(clip, whole)
    tokens = computed(clip)
    alone = clip.encode_image(images())
    assert tokens == [1]
    torch.testing.assert_close(alone, whole, rtol=1e-12, atol=1e-12)
    found = gradients(clip, alone)
    trained = {name for name, p in clip.model.visual.named_parameters() if p.requires_grad}
    assert found.keys() == expected.keys() == trained
    assert all(gradient.any() for gradient in expected.values())
    for key, gradient in expected.items():
        torch.testing.assert_close(found[key], gradient, rtol=1e-9, atol=1e-12, msg=key)


def test_the_twin_does_so_too(tmp_path: Path) -> None:
    twin = Twin(tiny(tmp_path, "plain"))
    with torch.no_grad():
        whole = F.normalize(twin.model.encode_image(images()), dim=-1)
    tokens = computed(twin)
    torch.testing.assert_close(twin.encode_image(images()), whole, rtol=1e-12, atol=1e-12)
    assert tokens == [1]


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_where_more_is_read_all_of_it_is_computed(name: str, tmp_path: Path) -> None:
    clip = tiny(tmp_path, name)
    tokens = computed(clip)
    features = clip.encode_image(images())
    assert tokens == [1 + PATCHES]
    assert torch.equal(features, F.normalize(clip.model.encode_image(images()), dim=-1))


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    clip = tiny(tmp_path, "plain", trim=False)
    tokens = computed(clip)
    clip.encode_image(images())
    assert tokens == [1 + PATCHES]


@pytest.mark.slow
def test_what_must_be_called_is_called(tmp_path: Path) -> None:
    """A tower that recomputes activations, or is compiled, or watched, is left to itself."""
    clip = tiny(tmp_path, "plain")
    visual: Any = clip.model.visual
    assert pools_class_token(visual)
    last = visual.transformer.resblocks[-1]
    for part in (visual, visual.transformer, last, last.attn):
        for watch in (part.register_forward_hook, part.register_forward_pre_hook):
            handle = watch(lambda *_: None)
            assert not pools_class_token(visual)
            handle.remove()
            assert pools_class_token(visual)
    last.attn.dropout = 0.1
    assert not pools_class_token(visual)
    last.attn.dropout = 0.0
    visual.compile()
    assert not pools_class_token(visual)
    other = tiny(tmp_path, "plain")
    checkpoint_activations(other.model)
    assert not pools_class_token(other.model.visual)
    tokens = computed(other)
    other.encode_image(images()).sum().backward()
    assert set(tokens) == {1 + PATCHES}
