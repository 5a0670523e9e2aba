"""CAR-FT against its formula written out, and nothing at the start."""

import math
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from starft.errors import ConfigError
from starft.losses import CarFT
from starft.losses.teachers import Teacher

CONTEXTS = ["a photo of a {}.", "a sketch of a {} on a lake.", "{}"]


def test_value_and_gradient_by_the_formula(unit: Any, with_teacher: Any) -> None:
    """Mean KL(p0 || p), p = softmax(s0 f C^T); the gradient at f is s0 * sum_k (p_k - p0_k) c_k / N."""
    scale, features, frozen = 10.0, unit(1), unit(2)
    texts = {f"{context} {name}": unit(7 * t + c, n=1)[0].detach()
             for t, context in enumerate("xyz") for c, name in enumerate(["duck", "owl"])}  # fmt: skip
    names = {context.replace("{}", name): texts[f"{short} {name}"]
             for short, context in zip("xyz", CONTEXTS, strict=True) for name in ("duck", "owl")}  # fmt: skip
    twin = SimpleNamespace(
        encode_text=lambda captions: torch.stack([names[caption] for caption in captions]),
        logit_scale=torch.tensor(scale, dtype=torch.float64),
        once=lambda key, make: make(),
    )
    teacher = SimpleNamespace(image_features=frozen)
    ctx = with_teacher(teacher, image_features=features, twin=twin, class_names=("duck", "owl"))
    value = CarFT(contexts=CONTEXTS)(ctx)
    value.backward()

    rows = []
    for short in "xyz":
        mean = (texts[f"{short} duck"] + texts[f"{short} owl"]) / 2
        rows.append(mean / mean.norm())
    total = 0.0
    for i in range(5):
        p0, p = (
            [math.exp(scale * float(f[i] @ c)) / sum(math.exp(scale * float(f[i] @ d)) for d in rows) for c in rows]
            for f in (frozen.detach(), features.detach())
        )
        total += sum(a * math.log(a / b) for a, b in zip(p0, p, strict=True))
        slope = sum(scale * (b - a) * c for a, b, c in zip(p0, p, rows, strict=True)) / 5
        torch.testing.assert_close(features.grad[i], slope, rtol=1e-9, atol=1e-12)
    assert value.item() == pytest.approx(total / 5, rel=1e-10)
    assert frozen.grad is None


def test_nothing_at_the_start(first_step: Any) -> None:
    ctx, module = first_step(CarFT(contexts=CONTEXTS))
    value = module.terms["car_ft"](ctx)
    assert value.item() == 0.0
    value.backward()
    steepest = max(p.grad.abs().max().item() for p in module.clip.parameters() if p.grad is not None)
    assert 0 <= steepest < 1e-5


def test_contexts_are_unit_means_over_classes_encoded_once(first_step: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx, module = first_step(CarFT(contexts=CONTEXTS))
    term, twin = module.terms["car_ft"], module.twin
    seen: list[str] = []
    encode = Teacher.encode_text
    monkeypatch.setattr(Teacher, "encode_text", lambda self, texts: seen.extend(texts) or encode(self, texts))
    term(ctx)
    term(ctx)
    assert sorted(seen) == sorted(context.replace("{}", name) for context in CONTEXTS for name in module.class_names)
    head = twin.once(("contexts", tuple(CONTEXTS), module.class_names), lambda: pytest.fail("it wasn't remembered"))
    texts = encode(twin, [f"a sketch of a {name} on a lake." for name in module.class_names])
    torch.testing.assert_close(head[1], twin.logit_scale * F.normalize(texts.mean(dim=0), dim=0))


def test_the_default_contexts_are_openai_s() -> None:
    contexts = CarFT().contexts
    assert len(contexts) == 80
    assert {"a bad photo of a {}.", "a sketch of a {}.", "itap of a {}."} <= set(contexts)


@pytest.mark.parametrize(
    ("contexts", "sentence"),
    [
        (["a {}."], "contexts of CarFT must be at least 2 templates; got 1."),
        (["a {}.", "a bird"], "Each context of CarFT must hold {} exactly once; got 'a bird'."),
    ],
)
def test_contexts_that_cant_be_used_are_told(contexts: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        CarFT(contexts=contexts)
