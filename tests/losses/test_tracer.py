"""TRACER against its authors' numbers; when its parts start, and what turns them off."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from starft.errors import ConfigError
from starft.losses import Tracer
from starft.losses.context import Progress
from starft.losses.teachers import WeightedAverage

PARTS = {"crd": "crd_loss", "fd": "fd_loss", "icl": "icl_loss", "ckd": "cross_kd_loss"}
OFF = dict.fromkeys((*PARTS, "cross"), 0.0)


def step_of(case: dict[str, torch.Tensor], step: int = 1) -> tuple[Any, dict[str, torch.Tensor]]:
    """A step with the case's features, and its leaves."""
    leaves = {key: case[f"student_{key}"].requires_grad_() for key in ("image", "text", "scale")}
    teacher = SimpleNamespace(
        image_features=case["teacher_image"], text_features=case["teacher_text"], logit_scale=case["teacher_scale"]
    )
    ctx = SimpleNamespace(
        image_features=leaves["image"],
        text_features=leaves["text"],
        clip=SimpleNamespace(logit_scale=leaves["scale"]),
        labels=torch.arange(len(leaves["image"])),
        progress=Progress(step, 10, 0, 1),
        teacher={WeightedAverage(): teacher}.__getitem__,
    )
    return ctx, leaves


@pytest.mark.parametrize("name", ["small", "batch", "one"])
def test_each_part_and_the_whole_are_the_authors(name: str, golden: Any, agrees: Any) -> None:
    case = golden(name)
    ctx, leaves = step_of(case)
    for part, theirs in PARTS.items():
        value = Tracer(distillation=1.0, **(OFF | {part: 1.0}))(ctx)
        torch.testing.assert_close(value, case[f"tracer/{theirs}"], rtol=1e-5, atol=1e-5)
    value = Tracer(distillation=1.0, cross=0.0)(ctx)
    agrees(value, case["tracer/total_kd_loss"], leaves, case, "tracer/grad_")
    torch.testing.assert_close(Tracer(cross=0.0)(ctx), 0.9 * value)


def test_nothing_of_the_teacher_at_step_zero(golden: Any) -> None:
    ctx, leaves = step_of(golden("small"), step=0)
    value = Tracer(cross=0.0)(ctx)
    assert value.item() == 0.0
    assert not any(gradient.any() for gradient in torch.autograd.grad(value, list(leaves.values())))


def test_the_penalty_alone_needs_no_teacher(first_step: Any) -> None:
    ctx, module = first_step(Tracer(), "text")
    assert list(module.teachers) == ["weighted_average"]
    visual, text = module.clip.model.visual.proj, module.clip.model.text_projection
    torch.testing.assert_close(module.terms["tracer"](ctx), 0.05 * (visual @ text.T).square().sum().sqrt())
    for term in (Tracer(distillation=0.0), Tracer(crd=0, fd=0, icl=0, ckd=0)):
        assert term.teacher is None
        assert term.learns_from_one_row
        torch.testing.assert_close(term(ctx), module.terms["tracer"](ctx))
    assert not Tracer().learns_from_one_row
    assert Tracer(crd=0, icl=0, ckd=0).learns_from_one_row, "a feature has its own target"


def test_the_paper_s_factors() -> None:
    term = Tracer()
    assert (term.weight, term.distillation, term.cross) == (1.0, 0.9, 0.05)
    assert term.factors == {"crd": 1.0, "fd": 2000.0, "icl": 1.0, "ckd": 1.0}


@pytest.mark.parametrize("name", ["distillation", "cross", *PARTS])
def test_factors_out_of_bounds_are_refused(name: str) -> None:
    for value in (-0.1, math.nan):
        with pytest.raises(
            ConfigError, match=rf"^{name} of Tracer must be a finite number, at least 0; got {value}\.$"
        ):
            Tracer(**{name: value})
