"""TRACER against its formula written out; when it starts."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from starft.losses import Tracer
from starft.losses.context import Progress
from starft.losses.teachers import WeightedAverage


def test_value_and_gradient_by_the_formula(unit: Any) -> None:
    """Half of -mean_i sum_j p0_ij log p_ij over rows and half over columns; each model with its own scale."""
    image, text, teacher_image, teacher_text = (unit(seed) for seed in range(4))
    scale = torch.tensor(7.0, dtype=torch.float64, requires_grad=True)
    teacher = SimpleNamespace(
        image_features=teacher_image, text_features=teacher_text, logit_scale=torch.tensor(9.0, dtype=torch.float64)
    )
    ctx: Any = SimpleNamespace(
        image_features=image,
        text_features=text,
        clip=SimpleNamespace(logit_scale=scale),
        teacher={WeightedAverage(): teacher}.__getitem__,
    )
    value = Tracer()(ctx)
    value.backward()

    own, theirs = (7.0 * image @ text.T).detach(), (9.0 * teacher_image @ teacher_text.T).detach()
    total, slope = 0.0, torch.zeros(5, 5, dtype=torch.float64)
    for z, t, into in ((own, theirs, slope), (own.T, theirs.T, slope.T)):
        for i in range(5):
            p0, p = (
                [math.exp(x) / sum(math.exp(y) for y in row.tolist()) for x in row.tolist()] for row in (t[i], z[i])
            )
            total -= sum(a * math.log(b) for a, b in zip(p0, p, strict=True)) / 5 / 2
            into[i] += torch.tensor([b - a for a, b in zip(p0, p, strict=True)], dtype=torch.float64) / 5 / 2
    assert value.item() == pytest.approx(total, rel=1e-12)
    torch.testing.assert_close(image.grad, 7.0 * slope @ text.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(text.grad, 7.0 * slope.T @ image.detach(), rtol=1e-10, atol=1e-12)
    assert scale.grad is not None
    assert scale.grad.item() == pytest.approx((slope * own / 7.0).sum().item(), rel=1e-10)
    assert teacher_image.grad is None
    assert teacher_text.grad is None


def test_it_starts_at_step_one() -> None:
    term = Tracer(0.7)
    assert [term.weight_at(Progress(step, 10, 0, 1)) for step in (0, 1, 9)] == [0.0, 0.7, 0.7]


def test_teacher_and_student_are_one_at_the_start(first_step: Any) -> None:
    """Then it is the entropy of the student's own distributions, whose gradient is nothing."""
    ctx, module = first_step(Tracer(), "text")
    assert list(module.teachers) == ["weighted_average"]
    with torch.no_grad():
        logits = ctx.clip.logit_scale * ctx.image_features @ ctx.text_features.T
        entropies = [-(p * p.log()).sum(dim=1).mean() for p in (logits.softmax(dim=1), logits.T.softmax(dim=1))]
    value = module.terms["tracer"](ctx)
    torch.testing.assert_close(value.detach(), sum(entropies) / 2)
    value.backward()
    assert max(p.grad.abs().max().item() for p in module.clip.parameters() if p.grad is not None) < 1e-5
