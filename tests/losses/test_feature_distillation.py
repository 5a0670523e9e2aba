"""Feature distillation by hand, and nothing at the start."""

from types import SimpleNamespace
from typing import Any

import torch

from starft.losses import FeatureDistillation


def test_value_and_gradient_by_hand(with_teacher: Any) -> None:
    """Rows at squared distances (0.4^2 + 0.2^2) = 0.2 and 2; gradient 2 * (f - f0) / N."""
    student = torch.tensor([[0.6, 0.8], [1.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    teacher[0] = torch.tensor([0.2, 0.6])
    value = FeatureDistillation()(with_teacher(SimpleNamespace(image_features=teacher), image_features=student))
    torch.testing.assert_close(value.item(), (0.2 + 2.0) / 2)
    value.backward()
    torch.testing.assert_close(student.grad, torch.tensor([[0.4, 0.2], [1.0, -1.0]]))


def test_nothing_at_the_start(first_step: Any) -> None:
    ctx, module = first_step(FeatureDistillation())
    value = module.terms["feature_distillation"](ctx)
    assert value.item() == 0.0
    value.backward()
    gradients = [p.grad for p in module.clip.model.visual.parameters()]
    assert all(g is not None and not g.any() for g in gradients)
