"""Alignment over kinds of the classes: against its formula written out, nothing at the start, and what it refuses."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from starft.captions.pools import Pool
from starft.errors import ConfigError
from starft.losses import KindAlignment
from starft.losses.context import Progress
from starft.training.gradients import check_terms

KINDS = {"landbird": ["owl"], "waterbird": ["duck", "gull"]}
POOL = Pool("p", "", ("{} on a lake",), {"landbird": ("{} in a forest",)}, {"source": "curated"})


def test_value_and_gradient_by_the_formula(unit: Any) -> None:
    """Mean KL(p0 || p), p = softmax(s0 f g^T), p0 = softmax(s0 f0 g0^T), over the three kinds."""
    scale, features, frozen, texts, frozen_texts = 10.0, unit(1), unit(2), unit(3, n=3), unit(4, n=3)
    asked: list[list[str]] = []

    def encoder(rows: torch.Tensor) -> Any:
        return SimpleNamespace(encode_text=lambda captions: asked.append(captions) or rows)

    teacher = SimpleNamespace(image_features=frozen, logit_scale=scale, model=encoder(frozen_texts))
    ctx: Any = SimpleNamespace(
        image_features=features,
        clip=encoder(texts),
        teacher={None: teacher}.__getitem__,
        class_names=("waterbird", "landbird"),
        templates=("a photo of a {}.",),
        pool=POOL,
        progress=Progress(3, 10, 0, 2),
    )
    value = KindAlignment(KINDS)(ctx)
    value.backward()

    assert asked[0] == asked[1]
    assert asked[0][:2] == ["a photo of a duck on a lake.", "a photo of a gull on a lake."], "in label order"
    assert asked[0][2] in {"a photo of a owl on a lake.", "a photo of a owl in a forest."}
    total = 0.0
    slopes = torch.zeros_like(texts)
    for i in range(5):
        p0, p = (
            [math.exp(scale * float(f[i] @ c)) / sum(math.exp(scale * float(f[i] @ d)) for d in g) for c in g]
            for f, g in ((frozen.detach(), frozen_texts.detach()), (features.detach(), texts.detach()))
        )
        total += sum(a * math.log(a / b) for a, b in zip(p0, p, strict=True))
        slope = sum(scale * (b - a) * c for a, b, c in zip(p0, p, texts.detach(), strict=True)) / 5
        torch.testing.assert_close(features.grad[i], slope, rtol=1e-9, atol=1e-12)
        for k in range(3):
            slopes[k] += scale * (p[k] - p0[k]) * features.detach()[i] / 5
    torch.testing.assert_close(texts.grad, slopes, rtol=1e-9, atol=1e-12)
    assert value.item() == pytest.approx(total / 5, rel=1e-10)
    assert frozen.grad is None
    assert frozen_texts.grad is None


def test_nothing_at_the_start(first_step: Any) -> None:
    kinds = {name: [name] for name in first_step(KindAlignment(KINDS))[0].class_names}
    ctx, module = first_step(KindAlignment(kinds))
    value = module.terms["kind_alignment"](ctx)
    assert value.item() == pytest.approx(0.0, abs=1e-6)
    value.backward()
    steepest = max(p.grad.abs().max().item() for p in module.clip.parameters() if p.grad is not None)
    assert 0 <= steepest < 1e-5


def test_a_draw_depends_on_seed_and_step_alone() -> None:
    pool = Pool("p", "", tuple(f"{{}} on lake {n}" for n in range(50)), {}, {"source": "curated"})
    names, templates = tuple(KINDS), ("a photo of a {}.", "a sketch of a {}.")

    def drawn(seed: int, step: int) -> list[str]:
        return KindAlignment(KINDS, seed=seed).draw(names, templates, pool, step)

    assert drawn(0, 4) == drawn(0, 4)
    assert drawn(0, 4) != drawn(0, 5)
    assert drawn(0, 4) != drawn(1, 4)


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        ({"landbird": [], "waterbird": ["duck", "gull"]}, r"at least one kind of 'landbird'; got \[\]"),
        ({"landbird": [" "], "waterbird": ["duck"]}, "at least one kind of 'landbird'"),
        ({"waterbird": ["duck"]}, "at least 2 kinds"),
    ],
)
def test_kinds_that_are_missing_are_refused(kinds: dict[str, list[str]], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        KindAlignment(kinds)


@pytest.mark.parametrize(
    ("kinds", "told"),
    [
        ({**KINDS, "seabird": ["tern"]}, "'seabird' is not one"),
        ({"waterbird": ["duck", "gull"]}, "'landbird' is missing"),
        ({"landbirds": ["owl"], "waterbird": ["duck"]}, r"'landbirds' is not one\. Did you mean landbird"),
    ],
)
def test_kinds_of_other_classes_are_refused(kinds: dict[str, list[str]], told: str) -> None:
    """Where the terms of a run are checked, before its first step."""
    with pytest.raises(ConfigError, match=told):
        check_terms([KindAlignment(kinds)], POOL, ("landbird", "waterbird"))
    check_terms([KindAlignment(KINDS)], POOL, ("landbird", "waterbird"))


def test_a_run_without_a_pool_and_a_negative_seed_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"set model\.pool"):
        KindAlignment(KINDS)(SimpleNamespace(pool=None))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least 0; got -1"):
        KindAlignment(KINDS, seed=-1)
