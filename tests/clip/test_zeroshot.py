"""The zero-shot head against a plain loop over classes and templates."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from starft.captions.templates import caption
from starft.clip import ClipEncoder, build_clip, zero_shot_head, zeroshot

NAMES = ("duck", "great blue heron", "crow")
TEMPLATES = ("a photo of a {}.", "{}", "a sketch of a {}, small.")


@pytest.fixture(scope="module")
def clip() -> ClipEncoder:
    return build_clip("starft-mini", "mini")


def plain(clip: ClipEncoder, names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """One caption at a time, at full length, in the open_clip model itself."""
    rows = []
    for name in names:
        total = torch.zeros(96, dtype=torch.float64)
        for template in templates:
            before, after = template.split("{}")
            feature = clip.model.encode_text(clip.tokenize([before + name + after]))[0].double()
            total += feature / feature.square().sum().sqrt()
        mean = total / len(templates)
        rows.append(mean / mean.square().sum().sqrt())
    return torch.stack(rows)


@pytest.mark.parametrize("templates", [TEMPLATES, TEMPLATES[:1]], ids=len)
@torch.no_grad()
def test_head_is_the_plain_loops(clip: ClipEncoder, templates: tuple[str, ...]) -> None:
    head = zero_shot_head(clip, NAMES, templates)
    assert head.shape == (3, 96)
    torch.testing.assert_close(head.double(), plain(clip, NAMES, templates), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(head.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize(("chunk", "calls"), [(1, [3, 3, 3]), (6, [6, 3]), (8, [6, 3]), (9, [9])])
@torch.no_grad()
def test_chunks_change_nothing(
    clip: ClipEncoder, monkeypatch: pytest.MonkeyPatch, chunk: int, calls: list[int]
) -> None:
    """Nine captions, the three of a class never parted: what is held of a chunk is one row a class."""
    whole = zero_shot_head(clip, NAMES, TEMPLATES)
    sizes: list[int] = []
    encode = clip.encode_text

    def spy(captions: Sequence[str]) -> Tensor:
        sizes.append(len(captions))
        return encode(captions)

    monkeypatch.setattr(clip, "encode_text", spy)
    monkeypatch.setattr(zeroshot, "CHUNK", chunk)
    torch.testing.assert_close(zero_shot_head(clip, NAMES, TEMPLATES), whole, rtol=1e-5, atol=1e-6)
    assert sizes == calls


def test_gradients_reach_the_text_tower_and_only_it(clip: ClipEncoder) -> None:
    clip.zero_grad()
    zero_shot_head(clip, NAMES, TEMPLATES)[0, 0].backward()
    assert clip.model.text_projection.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in clip.model.visual.parameters())
    clip.zero_grad()


def test_a_name_with_braces_stays_as_it_is() -> None:
    assert caption("a photo of a {}.", "{x} and {0}") == "a photo of a {x} and {0}."
