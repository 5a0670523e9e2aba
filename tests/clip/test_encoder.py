"""Captions are encoded once, trimmed; features and gradients stay those of the plain way."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from starft.clip import ClipEncoder, Twin, build_clip
from starft.clip.token_memo import TokenMemo

LONG = "a photo of a great blue heron standing on the shore of a lake."
CAPTIONS = ["a duck.", LONG, "a duck.", "a crow at night.", "a duck.", LONG, ""]
CONTEXT = 24
END = 49407
"""The id that ends a caption, the highest there is."""
TINY = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": CONTEXT, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


class Calls:
    """Shapes (rows, length) of what goes through the text tower's transformer."""

    def __init__(self, clip: ClipEncoder) -> None:
        self.shapes: list[tuple[int, int]] = []
        tower = clip.model.text if hasattr(clip.model, "text") else clip.model
        tower.transformer.register_forward_pre_hook(self._note)

    def _note(self, module: Any, inputs: tuple[Tensor, ...]) -> None:
        self.shapes.append((inputs[0].shape[0], inputs[0].shape[1]))


def tiny(folder: Path, name: str, custom_text: bool = False, **text: Any) -> ClipEncoder:
    """Return a random CLIP whose config is a file, as a person's own would be."""
    path = folder / f"{name}.json"
    config = {**TINY, "custom_text": custom_text, "text_cfg": {**TINY["text_cfg"], **text}}
    path.write_text(json.dumps(config), encoding="utf-8")
    torch.manual_seed(0)
    return build_clip(str(path), None)


@pytest.fixture
def clip(tmp_path: Path) -> ClipEncoder:
    return tiny(tmp_path, "tiny-causal")


def plain(clip: ClipEncoder, captions: Sequence[str]) -> Tensor:
    """Encode every caption at full length in open_clip's own code."""
    return F.normalize(clip.model.encode_text(clip.tokenize(list(captions))), dim=-1)


# the student


def test_each_distinct_caption_goes_through_the_tower_once(clip: ClipEncoder) -> None:
    calls = Calls(clip)
    features = clip.encode_text(CAPTIONS)
    assert calls.shapes == [(1, beginnings(clip, CAPTIONS))]
    assert features.shape == (7, 8)
    for one, other in ((0, 2), (0, 4), (1, 5)):
        assert torch.equal(features[one], features[other])
    torch.testing.assert_close(features, plain(clip, CAPTIONS), rtol=1e-5, atol=1e-6)


def test_the_order_of_captions_is_kept(clip: ClipEncoder) -> None:
    torch.testing.assert_close(clip.encode_text(CAPTIONS[::-1]), clip.encode_text(CAPTIONS).flip(0))


def test_loss_and_gradients_are_those_of_the_plain_way(clip: ClipEncoder) -> None:
    clip.double()
    images = torch.randn(7, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(7)

    def gradients(text: Tensor) -> tuple[Tensor, dict[str, Tensor | None]]:
        logits = clip.logit_scale * F.normalize(clip.model.encode_image(images), dim=-1) @ text.T
        loss = F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)
        clip.zero_grad()
        loss.backward()
        return loss.detach(), {name: parameter.grad for name, parameter in clip.named_parameters()}

    loss, ours = gradients(clip.encode_text(CAPTIONS))
    expected, theirs = gradients(plain(clip, CAPTIONS))
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=0)
    for name, wanted in theirs.items():
        got = ours[name]
        assert got is not None, name
        assert wanted is not None, name
        assert wanted.norm() > 0, name
        assert (got - wanted).norm() <= 1e-9 * wanted.norm(), name


def beginnings(clip: ClipEncoder, captions: list[str]) -> int:
    """Count the different beginnings of captions, from the start token to the end token: what a tree of them holds."""
    rows = [row[: row.index(END) + 1] for row in clip.tokenize(captions).tolist()]
    return len({tuple(row[: length + 1]) for row in rows for length in range(len(row))})


def test_a_beginning_is_encoded_once_and_no_padding(clip: ClipEncoder) -> None:
    calls = Calls(clip)
    short, both = clip.encode_text(["a duck."]), clip.encode_text(["a duck.", LONG])
    alike = clip.encode_text(["a duck.", "a crow."])
    # start, a, duck, full stop, end; and start, 14 words and the full stop, end, of which the start is shared
    # start, a; and of each bird: name, full stop, end
    assert calls.shapes == [(1, 5), (1, beginnings(clip, ["a duck.", LONG])), (1, 8)]
    assert calls.shapes[1][1] < 5 + 17
    torch.testing.assert_close(short[0], both[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(both, plain(clip, ["a duck.", LONG]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(alike, plain(clip, ["a duck.", "a crow."]), rtol=1e-5, atol=1e-6)


def test_a_caption_that_fills_the_context_is_whole(clip: ClipEncoder) -> None:
    captions = ["duck " * 40, "duck " * 22, "duck " * 21]
    calls = Calls(clip)
    torch.testing.assert_close(clip.encode_text(captions), plain(clip, captions), rtol=1e-5, atol=1e-6)
    # start and 22 ducks, an end behind the 21st, and one behind the 22nd, where the long one is cut too
    assert calls.shapes[0] == (1, 1 + 22 + 2) == (1, CONTEXT + 1)


def test_trimming_can_be_switched_off(clip: ClipEncoder) -> None:
    calls = Calls(clip)
    whole = ClipEncoder(clip.model, clip.tokenize, trim=False).encode_text(["a duck.", LONG])
    assert calls.shapes == [(2, CONTEXT)]
    torch.testing.assert_close(whole, clip.encode_text(["a duck.", LONG]), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "custom_text", "text"),
    [
        ("tiny-last", False, {"pool_type": "last"}),
        ("tiny-custom-first", True, {"pool_type": "first"}),
        ("tiny-bidirectional", False, {"no_causal_mask": True}),
        ("tiny-custom-bidirectional", True, {"no_causal_mask": True}),
        ("tiny-custom-last", True, {"pool_type": "last"}),
        ("tiny-cls", True, {"embed_cls": True}),
    ],
)
def test_other_towers_keep_full_length(tmp_path: Path, name: str, custom_text: bool, text: dict[str, Any]) -> None:
    clip = tiny(tmp_path, name, custom_text, **text)
    assert isinstance(clip.model, open_clip.CustomTextCLIP if custom_text else open_clip.CLIP)
    calls = Calls(clip)
    features = clip.encode_text(["a duck.", "a crow.", "a duck."])
    assert [rows for rows, _ in calls.shapes] == [2]
    assert {length for _, length in calls.shapes} <= {CONTEXT, CONTEXT + 1}  # a class token comes on top
    torch.testing.assert_close(features, plain(clip, ["a duck.", "a crow.", "a duck."]), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "custom_text", "text"),
    [
        ("tiny-custom", True, {}),
        ("tiny-custom-bias", True, {"proj_bias": True}),
        ("tiny-custom-none", True, {"proj_type": "none", "width": 8}),
        ("tiny-custom-pad", True, {"pad_id": 7}),
        ("tiny-eos", False, {"pool_type": "eos", "eos_id": END}),
        ("tiny-custom-eos", True, {"pool_type": "eos", "eos_id": END}),
        ("tiny-custom-blocks", True, {"qk_norm": True, "scale_heads": True}),
    ],
)
def test_every_causal_tower_that_pools_the_end_is_cut(
    tmp_path: Path, name: str, custom_text: bool, text: dict[str, Any]
) -> None:
    clip = tiny(tmp_path, name, custom_text, **text)
    tokenize = clip.tokenize

    def padded(captions: list[str]) -> Tensor:
        """Pad with ids that aren't 0: what stands behind the end can't matter."""
        tokens = tokenize(captions)
        behind = torch.arange(CONTEXT) > tokens.eq(END).int().argmax(dim=1, keepdim=True)
        return tokens.masked_fill(behind, 7)

    captions = ["a duck.", LONG, "duck " * 40]
    held = [(1, beginnings(clip, captions[:count])) for count in (1, 2, 3)]
    for clip.tokenize in (tokenize, padded):
        clip._tokens = TokenMemo()
        calls = Calls(clip)
        cut, whole = [clip.encode_text(captions[:count]) for count in (1, 2, 3)], plain(clip, captions)
        assert calls.shapes[:3] == held
        for count, features in enumerate(cut, start=1):
            torch.testing.assert_close(features, whole[:count], rtol=1e-5, atol=1e-6)


def test_features_are_unit_rows_and_the_scale_is_exponentiated(clip: ClipEncoder) -> None:
    images = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(clip.encode_image(images).norm(dim=1), torch.ones(3))
    torch.testing.assert_close(clip.encode_text(CAPTIONS).norm(dim=1), torch.ones(7))
    torch.testing.assert_close(clip.logit_scale.detach(), torch.tensor(1 / 0.07))  # CLIP's start
    clip.logit_scale.backward()
    torch.testing.assert_close(clip.model.logit_scale.grad, torch.tensor(1 / 0.07))


def test_captions_are_tokenized_once(clip: ClipEncoder) -> None:
    seen: list[str] = []
    tokenize = clip.tokenize

    def spy(captions: list[str]) -> Tensor:
        seen.extend(captions)
        return tokenize(captions)

    clip.tokenize = spy
    for captions in (CAPTIONS, CAPTIONS[:2], ["a gull.", *CAPTIONS]):
        clip.encode_text(captions)
    assert sorted(seen) == sorted({*CAPTIONS, "a gull."})


# the twin


def test_the_twin_is_frozen_and_stays_in_eval_mode(clip: ClipEncoder) -> None:
    twin = Twin(clip)
    assert not any(parameter.requires_grad for parameter in twin.parameters())
    for mode in (True, False):
        twin.train(mode)
        assert not any(module.training for module in twin.modules())
    parent = torch.nn.ModuleList([clip, twin]).train()
    assert all(module.training for module in clip.modules())
    assert not any(module.training for module in twin.modules())
    parent.eval()
    assert all(parameter.requires_grad for parameter in clip.parameters())


def test_the_twin_makes_no_graph(clip: ClipEncoder) -> None:
    twin = Twin(clip)
    images = torch.randn(2, 3, 16, 16, requires_grad=True)
    with torch.enable_grad():
        assert not twin.encode_image(images).requires_grad
        assert not twin.encode_text(CAPTIONS).requires_grad
        assert not twin.logit_scale.requires_grad
    assert torch.is_grad_enabled()


def test_the_twin_agrees_with_the_student_it_was_made_from(clip: ClipEncoder) -> None:
    twin, images = Twin(clip), torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(twin.encode_image(images), clip.eval().encode_image(images), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(twin.encode_text(CAPTIONS), plain(clip, CAPTIONS), rtol=1e-5, atol=1e-6)


def test_the_twin_keeps_what_the_student_loses(clip: ClipEncoder) -> None:
    twin, images = Twin(clip), torch.randn(2, 3, 16, 16)
    before = [twin.encode_image(images), twin.encode_text(["a duck."]), twin.logit_scale]
    with torch.no_grad():
        for parameter in clip.parameters():
            parameter.add_(1.0)
    after = [twin.encode_image(images), twin.encode_text(["a duck."]), twin.logit_scale]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert not torch.allclose(clip.encode_text(["a duck."]), before[1])
