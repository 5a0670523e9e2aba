"""GroupDRO: weights by a plain transcription over five steps, value and gradient, refusals, and a run."""

import math
import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from starft.errors import ConfigError, DataError
from starft.losses.group_dro import GroupDRO

COUNTS = {"a": 100, "b": 4, "c": 25, "d": 1}


def step(seed: int, groups: list[int]) -> tuple[Any, Tensor]:
    """A context of plain values and its logits (N, 3), a leaf that takes gradients."""
    generator = torch.Generator().manual_seed(seed)
    logits = (2 * torch.randn(len(groups), 3, generator=generator)).requires_grad_()
    labels = torch.randint(0, 3, (len(groups),), generator=generator)
    return SimpleNamespace(logits=logits, labels=labels, groups=torch.tensor(groups)), logits


STEPS = [[0, 0, 1, 2, 3], [0, 0, 0, 0, 0], [1, 1, 2, 3, 3], [2, 0, 2, 0, 2], [3, 3, 3, 0, 1]]
"""Groups are absent from some of them."""


@pytest.mark.parametrize(("eta", "adjustment"), [(0.01, 0.0), (0.5, 0.0), (0.3, 2.0)])
def test_five_steps(eta: float, adjustment: float) -> None:
    """In plain Python numbers: group means, weights, loss; the gradient of row i is q_g / n_g times its own."""
    term = GroupDRO(eta=eta, adjustment=adjustment)
    term.start(COUNTS)
    q = [0.25] * 4
    for seed, groups in enumerate(STEPS):
        ctx, logits = step(seed, groups)
        rows = [
            math.log(sum(math.exp(z) for z in row)) - row[label]
            for row, label in zip(logits.tolist(), ctx.labels.tolist(), strict=True)
        ]
        losses = []
        for group, size in enumerate(COUNTS.values()):
            own = [loss for loss, its in zip(rows, groups, strict=True) if its == group]
            losses.append((sum(own) / len(own) if own else 0.0) + adjustment / math.sqrt(size))
        q = [weight * math.exp(eta * loss) for weight, loss in zip(q, losses, strict=True)]
        q = [weight / sum(q) for weight in q]
        value = term(ctx)
        value.backward()
        assert term.q.tolist() == pytest.approx(q, rel=1e-5)
        assert float(value.detach()) == pytest.approx(
            sum(w * loss for w, loss in zip(q, losses, strict=True)), rel=1e-5
        )
        share = torch.tensor([q[group] / groups.count(group) for group in groups])
        alone = logits.detach().softmax(dim=1) - F.one_hot(ctx.labels, 3)
        torch.testing.assert_close(logits.grad, share[:, None] * alone, rtol=1e-5, atol=1e-7)
    assert max(q) - min(q) > 0.01 * eta, "the weights must have moved"


@pytest.mark.parametrize("name", ["group_dro_plain", "group_dro_adjusted"])
def test_eight_steps_are_the_authors(name: str, golden: Any) -> None:
    """Loss, q and gradient of each; step 3 has no image of group 2."""
    case = golden(name)
    term = GroupDRO(eta=case["step_size"].item(), adjustment=case["adjustment"].item())
    term.start({str(group): int(count) for group, count in enumerate(case["counts"])})
    for at, rows in enumerate(case["logits"].float()):
        logits = rows.requires_grad_()
        value = term(SimpleNamespace(logits=logits, labels=case["labels"][at], groups=case["groups"][at]))
        value.backward()
        torch.testing.assert_close(value.double(), case["loss"][at], rtol=2e-7, atol=2e-7)
        torch.testing.assert_close(term.q.double(), case["q"][at], rtol=2e-7, atol=2e-7)
        assert logits.grad is not None
        torch.testing.assert_close(logits.grad.double(), case["grad"][at], rtol=2e-7, atol=2e-7)


def test_one_step_by_hand() -> None:
    """Two groups, losses ln 2 and ln 4 at uniform logits over 2 and 4 classes' worth: q = (2, 4) / 6 with eta 1."""
    logits = torch.tensor([[0.0, 0.0], [0.0, math.log(3.0)]])
    ctx: Any = SimpleNamespace(logits=logits, labels=torch.tensor([0, 0]), groups=torch.tensor([0, 1]))
    term = GroupDRO(eta=1.0)
    term.start({"a": 10, "b": 10})
    assert float(term(ctx)) == pytest.approx(math.log(2) / 3 + 2 * math.log(4) / 3, rel=1e-6)
    assert term.q.tolist() == pytest.approx([1 / 3, 2 / 3])


def test_groups_without_training_images_weigh_nothing() -> None:
    term = GroupDRO(adjustment=1.0)
    term.start({"a": 3, "b": 0, "c": 1})
    assert term.q.tolist() == [0.5, 0.0, 0.5]
    value = term(step(0, [0, 2, 2])[0])
    assert math.isfinite(float(value.detach()))
    assert float(term.q[1]) == 0.0


def test_huge_losses_stay_finite() -> None:
    term = GroupDRO(eta=10.0)
    term.start(COUNTS)
    ctx, logits = step(0, STEPS[0])
    ctx.logits = logits * 1000
    value = term(ctx)
    value.backward()
    assert math.isfinite(float(value.detach()))
    assert float(term.q.sum()) == pytest.approx(1.0)
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


def test_q_is_in_the_state_and_goes_on_to_the_last_bit() -> None:
    whole, first, second = (GroupDRO(eta=0.5) for _ in range(3))
    for term in (whole, first, second):
        term.start(COUNTS)
    for seed, groups in enumerate(STEPS):
        whole(step(seed, groups)[0])
    for seed in (0, 1):
        first(step(seed, STEPS[seed])[0])
    second.load_state_dict(first.state_dict())
    for seed in (2, 3, 4):
        second(step(seed, STEPS[seed])[0])
    assert torch.equal(second.q, whole.q)
    told = GroupDRO()  # a test, where no training data are there
    told.load_state_dict(whole.state_dict())
    assert torch.equal(told.q, whole.q)


def test_other_groups_than_the_checkpoint_s_are_told() -> None:
    old, new = GroupDRO(), GroupDRO()
    old.start(COUNTS)
    new.start({"a": 1, "b": 2})
    sentence = (
        "The checkpoint's GroupDRO has 4 groups, the training images have 2; continue it on its own data, or start a "
        "new run."
    )
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        new.load_state_dict(old.state_dict())


def test_q_keeps_its_digits_in_half_precision() -> None:
    term = GroupDRO()
    term.start({"a": 1, "b": 1, "c": 1})
    before = term.q.clone()
    assert torch.equal(term.bfloat16().q, before)


def test_groups_are_needed() -> None:
    sentence = (
        "GroupDRO needs groups, and the training images have none; give data with an attribute or a group, or another "
        "objective, such as starft.losses.CrossEntropy."
    )
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        GroupDRO().start({})


@pytest.mark.parametrize(("name", "value"), [("eta", -0.1), ("adjustment", math.inf)])
def test_numbers_that_cant_be_used_are_told(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} of GroupDRO must be a finite number, at least 0; got {value}\.$"):
        GroupDRO(**{name: value})
