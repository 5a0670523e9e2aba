"""ReCalCon and class positives against the released code's numbers, and a batch without negatives."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from starft.errors import ConfigError
from starft.losses import Contrastive, ReCalCon
from starft.losses.base import Term


def step_of(case: dict[str, torch.Tensor]) -> tuple[Any, dict[str, torch.Tensor]]:
    leaves = {key: case[key].clone().requires_grad_() for key in ("image", "text", "scale")}
    ctx = SimpleNamespace(
        image_features=leaves["image"],
        text_features=leaves["text"],
        clip=SimpleNamespace(logit_scale=leaves["scale"]),
        labels=case["labels"],
    )
    return ctx, leaves


@pytest.mark.parametrize("name", ["small", "batch", "distinct"])
@pytest.mark.parametrize(
    ("term", "key"), [(ReCalCon(), "recalcon"), (Contrastive(positives="class"), "class_positives")]
)
def test_value_and_gradients_are_the_authors(term: Term, key: str, name: str, golden: Any, agrees: Any) -> None:
    case = golden(f"recalcon_{name}")
    ctx, leaves = step_of(case)
    agrees(term(ctx), case[key], leaves, case, f"{key}_grad_")


def test_where_no_two_rows_share_a_class_class_positives_are_the_diagonal(golden: Any) -> None:
    ctx, _ = step_of(golden("recalcon_distinct"))
    torch.testing.assert_close(Contrastive(positives="class")(ctx), Contrastive()(ctx))


def test_where_all_captions_of_a_class_are_equal_class_positives_are_the_diagonal(golden: Any) -> None:
    """Each row of a class then has the same logits; what both do to a class's one caption is the sum over its rows."""
    case = golden("recalcon_batch")
    same = case["labels"][:, None] == case["labels"][None, :]
    assert same.sum() > len(same), "some rows share a class"
    case["text"] = case["text"][same.int().argmax(dim=1)]
    found = []
    for term in (Contrastive(positives="class"), Contrastive()):
        ctx, leaves = step_of(case)
        value = term(ctx)
        image, text, scale = torch.autograd.grad(value, [leaves[key] for key in ("image", "text", "scale")])
        found.append((value, image, same.to(text.dtype) @ text, scale))
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("term", [ReCalCon(), Contrastive(positives="class")])
def test_a_batch_of_one_class_stays_finite(term: Term, golden: Any) -> None:
    ctx, leaves = step_of(golden("recalcon_batch"))
    ctx.labels = torch.zeros(32, dtype=torch.int64)
    value = term(ctx)
    assert value.isfinite()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(value, list(leaves.values())))


def test_other_positives_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^positives must be one of diagonal, class; got 'all'\.$"):
        Contrastive(positives="all")  # type: ignore[arg-type]
