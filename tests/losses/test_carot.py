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
from starft.losses.context import Progress
from starft.losses.teachers import ExponentialAverage


@pytest.mark.parametrize("name", ["small", "batch", "one"])
def test_self_distillation_is_the_authors(name: str, golden: Any, agrees: Any) -> None:
    case = golden(name)
    leaves = {key: case[f"student_{key}"].requires_grad_() for key in ("image", "text", "scale")}
    teacher = SimpleNamespace(
        image_features=case["teacher_image"], text_features=case["teacher_text"], logit_scale=case["teacher_scale"]
    )
    ctx: Any = SimpleNamespace(
        image_features=leaves["image"],
        text_features=leaves["text"],
        clip=SimpleNamespace(logit_scale=leaves["scale"]),
        labels=torch.arange(5),
        progress=Progress(1, 10, 0, 1),
        teacher={ExponentialAverage(): teacher}.__getitem__,
    )
    value = Carot(distillation=1.0, orthogonality=0.0, cross=0.0)(ctx)
    agrees(value, case["carot/loss"], leaves, case, "carot/grad_")
    assert torch.equal(Carot(orthogonality=0.0, cross=0.0)(ctx), 1.5 * value)
    ctx.progress = Progress(0, 10, 0, 1)
    assert Carot(orthogonality=0.0, cross=0.0)(ctx).item() == 0.0


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
    value = Carot(orthogonality=0, cross=0)(ctx)
    value.backward()
    assert value.item() == 0.0
    gradients = [parameter.grad for parameter in module.clip.parameters() if parameter.grad is not None]
    assert gradients, "0 times, not left out: DDP waits for them"
    assert not any(gradient.any() for gradient in gradients)


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
