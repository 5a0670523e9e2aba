"""Knowledge distillation against its formula written out, and nothing at the start."""

import math
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from starft.errors import ConfigError
from starft.losses import KD


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_value_and_gradient_by_the_formula(temperature: float, with_teacher: Any) -> None:
    """tau^2 * mean KL(p || q); its gradient on student logit k of N rows is tau * (q_k - p_k) / N."""
    student = torch.tensor([[3.0, -1.0, 0.5], [0.0, 0.0, 2.0]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[1.0, 1.0, -2.0], [4.0, 0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    value = KD(temperature=temperature)(with_teacher(SimpleNamespace(logits=teacher), logits=student))
    value.backward()
    total = 0.0
    for row in range(2):
        p, q = (
            [math.exp(x / temperature) / sum(math.exp(y / temperature) for y in logits[row].tolist())
             for x in logits[row].tolist()]
            for logits in (teacher, student)
        )  # fmt: skip
        total += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        assert student.grad is not None
        expected = [temperature * (b - a) / 2 for a, b in zip(p, q, strict=True)]
        assert student.grad[row].tolist() == pytest.approx(expected, rel=1e-10)
    assert value.item() == pytest.approx(temperature**2 * total / 2, rel=1e-12)
    assert teacher.grad is None, "no gradient flows into the teacher"


@pytest.mark.parametrize("head", ["text", "linear"])
def test_nothing_at_the_start(head: Any, first_step: Any) -> None:
    ctx, module = first_step(KD(temperature=2.0), head)
    value = module.terms["kd"](ctx)
    assert value.item() == 0.0
    value.backward()
    steepest = max(p.grad.abs().max().item() for p in module.clip.parameters() if p.grad is not None)
    assert 0 <= steepest < 1e-5


@pytest.mark.parametrize("head", ["text", "linear"])
def test_the_frozen_twin_s_logits_are_zero_shot(head: Any, first_step: Any) -> None:
    """Against one class and template at a time, and with a student that has gone elsewhere."""
    ctx, module = first_step(KD(), head)
    twin = module.twin
    with torch.no_grad():
        for parameter in module.clip.parameters():
            parameter.mul_(1.1)
        images = twin.encode_image(ctx.batch["image"])
        for at, name in enumerate(module.class_names):
            mean = (twin.encode_text([f"a photo of a {name}."]) + twin.encode_text([f"a sketch of a {name}."])) / 2
            expected = twin.logit_scale * images @ (mean[0] / mean.norm())
            torch.testing.assert_close(ctx.teacher().logits[:, at], expected, rtol=1e-4, atol=1e-4)
    assert module.terms["kd"](ctx).item() > 0


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_out_of_bounds_is_refused(temperature: float) -> None:
    sentence = f"temperature of KD must be a finite number above 0; got {temperature}."
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        KD(temperature=temperature)
