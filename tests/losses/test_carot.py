"""CaRot's three parts against their formulas written out, and its teacher's share in them."""

import math
import re
from types import SimpleNamespace
from typing import Any

import open_clip
import pytest
import torch
from torch import nn

from starft.errors import ConfigError
from starft.losses import Carot
from starft.losses.carot import projection_penalty, projections
from starft.losses.teachers import ExponentialAverage


def softmax(row: list[float]) -> list[float]:
    return [math.exp(x) / sum(math.exp(y) for y in row) for x in row]


def test_self_distillation_by_the_formula(unit: Any) -> None:
    """Half of mean_i KL(p0_i || p_i) over rows and half over columns; each model with its own scale."""
    image, text, frozen_image, frozen_text = (unit(seed) for seed in range(4))
    scale = torch.tensor(7.0, dtype=torch.float64, requires_grad=True)
    teacher = SimpleNamespace(
        image_features=frozen_image, text_features=frozen_text, logit_scale=torch.tensor(9.0, dtype=torch.float64)
    )
    ctx: Any = SimpleNamespace(
        image_features=image,
        text_features=text,
        clip=SimpleNamespace(logit_scale=scale),
        labels=torch.arange(5),
        teacher={ExponentialAverage(): teacher}.__getitem__,
    )
    value = Carot(orthogonality=0.0, cross=0.0)(ctx)
    value.backward()

    own, theirs = (7.0 * image @ text.T).detach(), (9.0 * frozen_image @ frozen_text.T).detach()
    total, slope = 0.0, torch.zeros(5, 5, dtype=torch.float64)
    for z, t, into in ((own, theirs, slope), (own.T, theirs.T, slope.T)):
        for i in range(5):
            p0, p = softmax(t[i].tolist()), softmax(z[i].tolist())
            total += sum(a * math.log(a / b) for a, b in zip(p0, p, strict=True)) / 5 / 2
            apart = torch.tensor([b - a for a, b in zip(p0, p, strict=True)], dtype=torch.float64)
            into[i] += 1.5 * apart / 5 / 2
    assert value.item() == pytest.approx(1.5 * total, rel=1e-10)
    torch.testing.assert_close(image.grad, 7.0 * slope @ text.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(text.grad, 7.0 * slope.T @ image.detach(), rtol=1e-10, atol=1e-12)
    assert scale.grad is not None
    assert scale.grad.item() == pytest.approx((slope * own / 7.0).sum().item(), rel=1e-10)
    assert frozen_image.grad is None
    assert frozen_text.grad is None


def test_penalties_by_hand() -> None:
    """Two matrices of 2 x 2.

    V'V - I = [[0, 2], [2, 4]] (norm sqrt(24)), V T' = [[3, 0], [4, 0]] (norm 5).
    """
    image = torch.tensor([[1.0, 2.0], [0.0, 1.0]], requires_grad=True)
    text = torch.tensor([[-5.0, 4.0], [0.0, 0.0]], requires_grad=True)
    assert (image @ text.T).tolist() == [[3.0, 0.0], [4.0, 0.0]]
    value = projection_penalty(image, text, orthogonality=0.2, cross=0.05)
    assert value.item() == pytest.approx(0.2 * math.sqrt(24) + 0.05 * 5, rel=1e-6)
    value.backward()
    # d||V T'|| / dV = (V T') T / 5, d||V'V - I|| / dV = 2 V (V'V - I) / sqrt(24)
    cross = torch.tensor([[3.0, 0.0], [4.0, 0.0]]) @ text.detach() / 5
    apart = 2 * image.detach() @ torch.tensor([[0.0, 2.0], [2.0, 4.0]]) / math.sqrt(24)
    torch.testing.assert_close(image.grad, 0.05 * cross + 0.2 * apart)
    torch.testing.assert_close(text.grad, 0.05 * torch.tensor([[3.0, 0.0], [4.0, 0.0]]).T @ image.detach() / 5)


def test_an_orthogonal_projection_costs_nothing_and_gives_no_nan() -> None:
    image = torch.eye(3)[:, :2].clone().requires_grad_()
    value = projection_penalty(image, torch.ones(4, 2), orthogonality=1.0, cross=0.0)
    value.backward()
    assert value.item() == 0.0
    assert image.grad is not None
    assert not image.grad.any()


def test_the_whole_is_the_sum_and_distillation_is_nothing_at_the_start(first_step: Any) -> None:
    ctx, module = first_step(Carot(), "text")
    assert list(module.teachers) == ["exponential_average"]
    value = module.terms["carot"](ctx)
    visual, text = module.clip.model.visual.proj, module.clip.model.text_projection
    penalty = (
        0.05 * (visual @ text.T).square().sum().sqrt() + 0.2 * (visual.T @ visual - torch.eye(96)).square().sum().sqrt()
    )
    torch.testing.assert_close(value, penalty)
    assert Carot(orthogonality=0, cross=0)(ctx).item() == 0.0


def test_no_distillation_no_teacher(first_step: Any) -> None:
    _, module = first_step(Carot(distillation=0.0), "text")
    assert len(module.teachers) == 0


def test_projections_of_open_clip_s_towers() -> None:
    """A ResNet's pooling and a text tower's linear layer hold theirs as (D, width)."""
    resnet = open_clip.model.CLIP(
        4,
        vision_cfg={"layers": [1, 1, 1, 1], "width": 8, "image_size": 32, "head_width": 64},
        text_cfg={"context_length": 6, "vocab_size": 9, "width": 5, "heads": 1, "layers": 1, "proj_bias": False},
    )
    image, text = projections(resnet)
    assert image.data_ptr() == resnet.visual.attnpool.c_proj.weight.data_ptr()
    assert (image.shape, text.shape) == ((256, 4), (5, 4))
    linear: Any = SimpleNamespace(visual=SimpleNamespace(proj=torch.ones(6, 4)), text_projection=nn.Linear(5, 4))
    assert [matrix.shape for matrix in projections(linear)] == [(6, 4), (5, 4)]


def test_a_model_without_projections_is_refused() -> None:
    bare: Any = SimpleNamespace(visual=SimpleNamespace(), text_projection=torch.ones(5, 4))
    with pytest.raises(
        ConfigError, match=r"^The image tower of this model ends in no projection matrix, which Carot's"
    ):
        projections(bare)
    bare = SimpleNamespace(visual=SimpleNamespace(proj=torch.ones(6, 4)), text_projection=None)
    with pytest.raises(ConfigError, match=r"^The text tower of this model ends in no projection matrix, which Carot's"):
        projections(bare)


@pytest.mark.parametrize("name", ["distillation", "orthogonality", "cross"])
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_factors_out_of_bounds_are_refused(name: str, value: float) -> None:
    sentence = f"{name} of Carot must be a finite number, at least 0; got {value}."
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        Carot(**{name: value})


def test_the_paper_s_factors() -> None:
    term = Carot()
    assert (term.distillation, term.orthogonality, term.cross) == (1.5, 0.2, 0.05)
