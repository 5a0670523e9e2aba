"""The schedule against the authors' run, the groups against a hand count."""

import doctest
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from starft.errors import ConfigError
from starft.training import optim
from starft.training.optim import parameter_groups, plan_notes, warmup_cosine

TRAJECTORY = Path(__file__).parents[1] / "golden" / "trajectory.npz"


class Small(nn.Module):
    """Parameters of each rank: a matrix, biases, a scalar, one frozen, one shared."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.kernel = nn.Parameter(torch.zeros(2, 3, 1, 1))
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.frozen = nn.Parameter(torch.zeros(4, 4), requires_grad=False)


def test_schedule_is_the_authors() -> None:
    with np.load(TRAJECTORY) as arrays:
        expected = arrays["lr"]
    got = [1e-3 * warmup_cosine(step, warmup_steps=3, total_steps=12) for step in range(12)]
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=0)


def test_schedule_by_hand() -> None:
    got = [warmup_cosine(step, 4, 8) for step in range(10)]
    root = math.sqrt(0.5)
    assert got == pytest.approx([0.25, 0.5, 0.75, 1, 1, (1 + root) / 2, 0.5, (1 - root) / 2, 0, 0], abs=1e-15)


def test_no_warmup_starts_at_the_peak() -> None:
    assert [warmup_cosine(step, 0, 2) for step in range(3)] == pytest.approx([1.0, 0.5, 0.0], abs=1e-15)


@pytest.mark.parametrize("total", [0, 1, 3, 4])
def test_warmup_longer_than_the_run(total: int) -> None:
    got = [warmup_cosine(step, 4, total) for step in range(6)]
    assert got == [0.25, 0.5, 0.75, 1.0, 0.0, 0.0]


def test_an_empty_run_divides_by_nothing() -> None:
    assert warmup_cosine(0, 0, 0) == 0.0


def test_schedule_drives_a_lambda_lr() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=2.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warmup_cosine(step, 2, 5))
    seen = []
    for _ in range(5):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert seen == pytest.approx([1.0, 2.0, 2.0, 1.5, 0.5], abs=1e-12)
    assert optimizer.param_groups[0]["lr"] == 0.0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((-1, 3, 12), "step must be at least 0, got -1"),
        ((0, -3, 12), "warmup_steps must be at least 0, got -3"),
        ((0, 3, -1), "total_steps must be at least 0, got -1"),
    ],
)
def test_negative_steps_are_refused(arguments: tuple[int, int, int], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        warmup_cosine(*arguments)


def test_the_paper_decays_every_trainable_parameter_once() -> None:
    model = Small()
    (group,) = parameter_groups(model, weight_decay=0.1)
    assert group["weight_decay"] == 0.1
    expected = [model.kernel, model.scale, model.first.weight, model.first.bias, model.second.bias]
    assert len(group["params"]) == len(expected)
    assert {id(p) for p in group["params"]} == {id(p) for p in expected}


def test_vectors_and_scalars_can_be_left_undecayed() -> None:
    model = Small()
    decayed, undecayed = parameter_groups(model, weight_decay=0.1, decay_one_dimensional=False)
    assert (decayed["weight_decay"], undecayed["weight_decay"]) == (0.1, 0.0)
    assert {id(p) for p in decayed["params"]} == {id(model.kernel), id(model.first.weight)}
    assert {id(p) for p in undecayed["params"]} == {id(model.scale), id(model.first.bias), id(model.second.bias)}


def test_a_group_with_nothing_in_it_is_left_out() -> None:
    model = nn.Linear(3, 2, bias=False)
    assert [g["weight_decay"] for g in parameter_groups(model, 0.1, decay_one_dimensional=False)] == [0.1]


def test_groups_fit_adamw_and_decay_what_they_say() -> None:
    model = nn.Linear(3, 2)
    nn.init.ones_(model.weight)
    nn.init.ones_(model.bias)
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.1, decay_one_dimensional=False), lr=0.5, weight_decay=0.3)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # no gradient: what moves, moves by its decay, 1 - lr * decay
    torch.testing.assert_close(model.weight.data, torch.full((2, 3), 0.95))
    torch.testing.assert_close(model.bias.data, torch.ones(2))


@pytest.mark.parametrize("weight_decay", [-0.1, math.nan, math.inf])
def test_a_decay_that_cannot_be_is_refused(weight_decay: float) -> None:
    with pytest.raises(ConfigError, match=f"weight_decay must be .* at least 0, got {weight_decay}"):
        parameter_groups(nn.Linear(2, 2), weight_decay)


def test_a_model_with_nothing_to_train_is_refused() -> None:
    with pytest.raises(ConfigError, match="Linear has no trainable parameter"):
        parameter_groups(nn.Linear(2, 2).requires_grad_(False), 0.1)


def test_examples_in_the_docstrings() -> None:
    result = doctest.testmod(optim)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ((3, 12, 120, 30), []),
        ((6, 12, 109, 10), []),
        ((50, 10, 140, 128), ["warm-up is 50 steps, the run 10: .*never reaches its peak"]),
        ((7, 12, 120, 30), ["7 of the run's 12 steps, more than half"]),
        ((0, 1, 145, 128), ["leaves out 17 of the 145 training images"]),
    ],
)
def test_a_run_too_short_is_told(plan: tuple[int, int, int, int], told: list[str]) -> None:
    notes = plan_notes(*plan)
    assert len(notes) == len(told)
    assert all(re.search(*pair) for pair in zip(told, notes, strict=True))
