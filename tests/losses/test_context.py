"""The step's context: what is encoded when and by whom, and the logits of both heads."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from starft.losses.context import Progress, StepContext

NAMES = ("duck", "owl", "crow")
TEMPLATES = ("a {}.", "the {}!")
D = 7


class CountingClip:
    """An encoder of random but fixed features that counts what it is asked."""

    def __init__(self, seed: int, scale: float) -> None:
        self.calls: Counter[str] = Counter()
        self.seed = seed
        self.weight = torch.randn(12, D, generator=torch.Generator().manual_seed(seed)).requires_grad_()
        self.logit_scale = torch.tensor(scale)

    def begin_images(self, images: Tensor) -> None:
        """Share nothing."""

    def begin_texts(self, captions: Sequence[str]) -> None:
        """Share nothing."""

    def encode_image(self, images: Tensor, begun: None = None) -> Tensor:
        self.calls["image"] += 1
        return F.normalize(images.flatten(1) @ self.weight, dim=-1)

    def feature(self, caption: str) -> Tensor:
        seed = self.seed + sum((at + 1) * ord(letter) for at, letter in enumerate(caption))
        return F.normalize(torch.randn(D, generator=torch.Generator().manual_seed(seed)), dim=-1)

    def encode_text(self, captions: Sequence[str], begun: None = None) -> Tensor:
        self.calls["text"] += 1
        return torch.stack([self.feature(caption) for caption in captions])


def context(linear_head: Tensor | None = None) -> Any:
    """Return a context; typed loosely, since its encoders are stand-ins."""
    batch = {
        "image": torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0)),
        "label": torch.tensor([0, 2, 1, 0]),
        "index": torch.arange(4),
    }
    clean = ["a duck.", "a crow.", "the owl!", "a duck."]
    spurious = ["a duck at sea.", "a crow at sea.", "the owl at night!", "a duck at night."]
    student, twin = CountingClip(1, 30.0), CountingClip(2, 100.0)
    done: Any = StepContext
    return done(batch, clean, spurious, student, twin, linear_head, NAMES, TEMPLATES, Progress(0, 10, 0, 1))


FEATURES: dict[str, tuple[str, str, Callable[[Any], Tensor]]] = {
    "image_features": ("clip", "image", lambda ctx: ctx.clip.encode_image(ctx.batch["image"])),
    "text_features": ("clip", "text", lambda ctx: ctx.clip.encode_text(ctx.captions)),
    "spurious_features": ("clip", "text", lambda ctx: ctx.clip.encode_text(ctx.spurious_captions)),
    "teacher.image_features": ("twin", "image", lambda ctx: ctx.twin.encode_image(ctx.batch["image"])),
    "teacher.text_features": ("twin", "text", lambda ctx: ctx.twin.encode_text(ctx.captions)),
    "teacher.spurious_features": ("twin", "text", lambda ctx: ctx.twin.encode_text(ctx.spurious_captions)),
}


def read(ctx: Any, name: str) -> Any:
    who, _, feature = name.rpartition(".")
    return getattr(ctx.teacher() if who else ctx, feature)


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    ctx = context()
    assert torch.equal(ctx.labels, torch.tensor([0, 2, 1, 0]))
    assert not ctx.clip.calls
    assert not ctx.twin.calls


@pytest.mark.parametrize("name", FEATURES)
def test_a_feature_is_computed_once_by_its_own_encoder(name: str) -> None:
    who, tower, direct = FEATURES[name]
    ctx = context()
    first = read(ctx, name)
    assert read(ctx, name) is first
    assert {whose: dict(getattr(ctx, whose).calls) for whose in ("clip", "twin") if getattr(ctx, whose).calls} == {
        who: {tower: 1}
    }
    assert torch.equal(first, direct(ctx))


def test_a_whole_step_encodes_each_thing_once() -> None:
    ctx = context(linear_head=torch.ones(3, D))
    for _ in range(3):
        for name in (*FEATURES, "logits"):
            read(ctx, name)
    assert ctx.clip.calls == {"image": 1, "text": 2}
    assert ctx.twin.calls == {"image": 1, "text": 2}


def test_a_new_step_starts_anew() -> None:
    ctx = context()
    before = ctx.image_features
    other = replace(ctx, batch=ctx.batch | {"image": -ctx.batch["image"]})
    torch.testing.assert_close(other.image_features, -before)
    assert ctx.clip.calls["image"] == 2


def test_logits_of_a_linear_head_are_its_product_without_another_scale() -> None:
    head = torch.randn(3, D, generator=torch.Generator().manual_seed(9)).requires_grad_()
    ctx = context(head)
    logits = ctx.logits
    assert ctx.logits is logits
    for row in range(4):
        for column in range(3):
            expected = sum(ctx.image_features[row, k].item() * head[column, k].item() for k in range(D))
            assert logits[row, column].item() == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert ctx.clip.calls == {"image": 1}, "the text tower has no part in it"
    logits.sum().backward()
    assert head.grad is not None
    assert ctx.clip.weight.grad is not None


def test_logits_of_the_text_head_are_scaled_cosines_with_the_class_means() -> None:
    ctx = context()
    for row in range(4):
        for column, name in enumerate(NAMES):
            mean = (ctx.clip.feature(f"a {name}.") + ctx.clip.feature(f"the {name}!")) / 2
            cosine = torch.nn.functional.cosine_similarity(ctx.image_features[row], mean, dim=0)
            assert ctx.logits[row, column].item() == pytest.approx(30.0 * cosine.item(), rel=1e-5, abs=1e-5)
    assert ctx.clip.calls == {"image": 1, "text": 1}
    assert not ctx.twin.calls
