"""Activations that are computed again change nothing: gradients, running statistics, random draws, frozen parts."""

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import TEXT, VIT, write
from timm.layers import EvoNorm2dB0
from torch import Tensor, nn

from starft.clip import (
    ClipEncoder,
    build_clip,
    checkpoint_activations,
    encode_in_chunks,
    freeze,
    update_statistics_once,
)
from starft.errors import ConfigError

CAPTIONS = ["a duck .", "a gull", "crow"]


def build(folder: Path, kind: str) -> ClipEncoder:
    torch.manual_seed(0)
    return build_clip(str(write(folder, kind)), None)


def custom(folder: Path, **blocks: Any) -> ClipEncoder:
    """Build a CLIP whose towers both have open_clip's custom blocks."""
    config = {"embed_dim": 8, "vision_cfg": VIT | blocks, "text_cfg": TEXT | blocks, "custom_text": True}
    path = folder / f"custom-{'-'.join(blocks).replace('_', '-')}.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    torch.manual_seed(0)
    return build_clip(str(path), None)


def step(clip: ClipEncoder, size: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Go forward and back in training mode; return gradients and buffers."""
    clip.train()
    torch.manual_seed(1)
    images = torch.randn(3, 3, size, size)
    (clip.encode_image(images) @ clip.encode_text(CAPTIONS).T).log_softmax(1).diagonal().sum().backward()
    gradients = {name: p.grad.clone() for name, p in clip.named_parameters() if p.grad is not None}
    return gradients, {name: buffer.clone() for name, buffer in clip.named_buffers()}


def assert_recomputing_changes_nothing(clip: ClipEncoder, size: int, change: Callable[[Any], None]) -> int:
    """Return how many statistics of norms there were."""
    plain, recomputing = deepcopy(clip), deepcopy(clip)
    checkpoint_activations(recomputing.model)
    change(recomputing.model)
    before = {name: buffer.clone() for name, buffer in clip.named_buffers()}
    gradients, buffers = step(plain, size)
    again, others = step(recomputing, size)
    assert again.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert (again[name] - gradient).norm() <= 1e-5 * gradient.norm() + 1e-6, name
    assert [name for name in buffers if not torch.equal(buffers[name], others[name])] == []
    return sum(not torch.equal(buffers[name], before[name]) for name in buffers)


def leave(model: nn.Module) -> None:
    pass


def exchange(model: Any) -> None:
    """Put new norms in place of the old ones, as converting them for several devices does."""
    for part in list(model.modules()):
        for name, child in part.named_children():
            if type(child) is nn.BatchNorm2d:
                new = nn.BatchNorm2d(child.num_features)
                new.load_state_dict(child.state_dict())
                setattr(part, name, new)
    update_statistics_once(model)
    update_statistics_once(model)


@pytest.mark.slow
@pytest.mark.parametrize("change", [leave, exchange])
def test_statistics_of_batch_norms_are_updated_once(change: Callable[[Any], None], tmp_path: Path) -> None:
    clip = build(tmp_path, "timm")
    assert assert_recomputing_changes_nothing(clip, 160, change) >= 3 * 10


@pytest.mark.slow
def test_statistics_of_other_norms_are_updated_once(tmp_path: Path) -> None:
    """Of batch norms that average over all batches, and of norms that aren't batch norms by their class."""
    clip = build(tmp_path, "timm")
    trunk = clip.model.visual.trunk
    trunk.layer2[0].bn1.momentum = None
    trunk.layer3[0].bn1 = EvoNorm2dB0(trunk.layer3[0].bn1.num_features)
    buffers = assert_recomputing_changes_nothing(clip, 64, leave)
    assert buffers >= 3 * 10


@pytest.mark.slow
def test_draws_of_dropout_and_dropped_paths_are_the_same_again(tmp_path: Path) -> None:
    clip = build(tmp_path, "hf")
    assert any(isinstance(part, nn.Dropout) and part.p for part in clip.modules())
    assert_recomputing_changes_nothing(clip, 32, leave)


def test_what_stands_behind_frozen_blocks_keeps_its_gradients(tmp_path: Path) -> None:
    clip = build(tmp_path, "hf")
    freeze(clip.model, text_blocks=1, image_blocks=1)
    assert_recomputing_changes_nothing(clip, 32, leave)


@pytest.mark.slow
@pytest.mark.parametrize(
    "blocks",
    [
        {"qk_norm": True},
        {"scale_heads": True},
        {"scale_attn_inner": True, "scale_attn": True, "scale_fc": True},
        {"block_type": "custom"},
    ],
    ids="-".join,
)
def test_custom_blocks_recompute_too(blocks: dict[str, Any], tmp_path: Path) -> None:
    assert_recomputing_changes_nothing(custom(tmp_path, **blocks), 32, leave)


def test_scaled_cosine_attention_is_refused_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^The model custom-scaled-cosine-attn asks for scaled cosine att"):
        custom(tmp_path, scaled_cosine_attn=True)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(3, affine=False), EvoNorm2dB0(3)])
def test_micro_batches_are_refused_for_whatever_mixes_the_images_of_a_batch(norm: nn.Module) -> None:
    clip = build_clip("starft-mini", "mini")
    encode_in_chunks([clip], 2)
    clip.model.visual.extra = norm
    with pytest.raises(ConfigError, match=r"^micro_batch_size can't give the gradients of the whole batch where "):
        encode_in_chunks([clip], 2)
    clip.model.visual.requires_grad_(False)
    encode_in_chunks([clip], 2)
    assert not clip.model.training
