"""Lipsum-FT against its formula written out, its draws, and nothing at the start."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from starft.errors import ConfigError
from starft.losses import LipsumFT


def test_value_and_gradient_by_the_formula(first_step: Any) -> None:
    """1/N sum_x 1/(2M) sum_m (v_m - v0_m)^2, v_m = s0 f . t_m, on texts encoded by open_clip alone."""
    term = LipsumFT(texts=5, length=3)
    ctx, module = first_step(term)
    with torch.no_grad():
        for parameter in module.clip.model.visual.parameters():
            parameter.mul_(1.05)
    features = ctx.image_features.detach().clone().requires_grad_()
    ctx.image_features = features
    value = term(ctx)
    value.backward()
    with torch.no_grad():
        model = module.twin.model
        texts = F.normalize(model.encode_text(term.draw(module.twin, 0)), dim=-1).double()
        frozen = F.normalize(model.encode_image(ctx.batch["image"]), dim=-1).double()
        scale = model.logit_scale.exp().double()
        total, slope = 0.0, torch.zeros(6, 96, dtype=torch.float64)
        for i in range(6):
            for text in texts:
                moved = scale * (features[i].double() @ text - frozen[i] @ text)
                total += (moved**2).item() / (2 * 5) / 6
                slope[i] += moved * scale * text / (5 * 6)
    assert value.item() == pytest.approx(total, rel=1e-4)
    assert total > 0.01
    torch.testing.assert_close(features.grad.double(), slope, rtol=1e-3, atol=1e-4)


def test_texts_are_drawn_anew_every_step_and_the_same_again(first_step: Any) -> None:
    term = LipsumFT()
    _, module = first_step(term)
    one, again, other = (term.draw(module.twin, step) for step in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert not torch.equal(LipsumFT(seed=1).draw(module.twin, 3), one)
    assert one.shape == (80, 24)
    assert (one[:, 0] == 49406).all(), "start"
    assert (one[:, 9] == 49407).all(), "end"
    assert not one[:, 10:].any(), "padding"
    assert one[:, 1:9].max() < 49406
    assert len(one[:, 1:9].unique()) > 600, "640 draws of 49,406 ids"


def test_nothing_at_the_start(first_step: Any) -> None:
    ctx, module = first_step(LipsumFT())
    value = module.terms["lipsum_ft"](ctx)
    assert value.item() == 0.0
    value.backward()
    gradients = [p.grad for p in module.clip.model.visual.parameters()]
    assert all(g is not None and not g.any() for g in gradients)
    assert all(p.grad is None for p in module.clip.model.transformer.parameters()), "the text tower has no part in it"


def test_what_cant_be_used_is_told(first_step: Any) -> None:
    for given, sentence in (
        ({"texts": 0}, "texts of LipsumFT must be at least 1; got 0."),
        ({"length": 0}, "length of LipsumFT must be at least 1; got 0."),
        ({"seed": -1}, "seed of LipsumFT must be at least 0; got -1."),
    ):
        with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
            LipsumFT(**given)
    term = LipsumFT(length=23)
    ctx, _ = first_step(term)
    with pytest.raises(ConfigError, match=r"^length of LipsumFT must be at most 22 for this model; got 23\.$"):
        term(ctx)
    other: Any = SimpleNamespace(tokenize=lambda texts: texts)
    with pytest.raises(ConfigError, match=r"^LipsumFT draws token ids of CLIP's own tokenizer, and this model has ano"):
        term.draw(other, 0)
