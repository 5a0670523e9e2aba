"""L2-SP by hand, and nothing at the start."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from starft.losses import L2SP


def context(student: nn.Module, twin: nn.Module) -> Any:
    clip = SimpleNamespace(model=student, device=torch.device("cpu"))
    return SimpleNamespace(clip=clip, twin=SimpleNamespace(model=twin), linear_head=torch.full((2, 2), 100.0))


def layer(weight: list[list[float]], bias: list[float]) -> nn.Linear:
    made = nn.Linear(2, 2)
    made.weight.data, made.bias.data = torch.tensor(weight), torch.tensor(bias)
    return made


def test_value_and_gradient_by_hand() -> None:
    """(1 + 4 + 0 + 9) + (0.25 + 0); gradient 2 * (theta - theta0); the head has no part in it."""
    student = layer([[2.0, 0.0], [5.0, -1.0]], [0.5, 1.0])
    twin = layer([[1.0, 2.0], [5.0, 2.0]], [0.0, 1.0]).requires_grad_(False)
    value = L2SP()(context(student, twin))
    assert value.item() == 14.25
    value.backward()
    assert student.weight.grad is not None
    assert student.weight.grad.tolist() == [[2.0, -4.0], [0.0, -6.0]]
    assert student.bias.grad is not None
    assert student.bias.grad.tolist() == [1.0, 0.0]


def test_what_isnt_trained_isnt_counted() -> None:
    student = layer([[2.0, 0.0], [5.0, -1.0]], [0.5, 1.0])
    twin = layer([[1.0, 2.0], [5.0, 2.0]], [0.0, 1.0])
    student.weight.requires_grad_(False)
    assert L2SP()(context(student, twin)).item() == 0.25
    student.bias.requires_grad_(False)
    assert L2SP()(context(student, twin)).item() == 0


def test_the_paper_s_weight() -> None:
    assert L2SP().weight == 0.01


def test_nothing_at_the_start(first_step: Any) -> None:
    ctx, module = first_step(L2SP())
    value = module.terms["l2_sp"](ctx)
    assert value.item() == 0.0
    value.backward()
    gradients = [p.grad for p in module.clip.parameters() if p.requires_grad]
    assert gradients
    assert all(g is not None and not g.any() for g in gradients)
