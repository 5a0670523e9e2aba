"""One step of the tiny CLIP, and contexts of plain tensors."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from starft.captions.sampler import CaptionSampler
from starft.losses.base import Term
from starft.losses.context import Progress, StepContext
from starft.losses.objectives import CrossEntropy
from starft.mini import MiniWorld
from starft.training.module import FinetuneModule

Unit = Callable[..., Tensor]
Golden = Callable[[str], dict[str, Tensor]]
FirstStep = Callable[..., tuple[StepContext, FinetuneModule]]


@pytest.fixture
def unit() -> Unit:
    """Unit rows (n, d) in float64, leaves that take gradients."""

    def draw(seed: int, n: int = 5, d: int = 4) -> Tensor:
        rows = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        return F.normalize(rows, dim=-1).requires_grad_()

    return draw


@pytest.fixture
def first_step() -> FirstStep:
    """The first step of a run of the tiny CLIP with one regularizer, student in training mode."""

    def make(term: Term, head: Literal["text", "linear"] = "linear") -> tuple[StepContext, FinetuneModule]:
        module = FinetuneModule(
            CrossEntropy(), "starft-mini", "mini", head, regularizers=[term], pool="mini_scenes"
        ).train()
        module.describe(MiniWorld().class_names, ("a photo of a {}.", "a sketch of a {}."))
        module.captions = CaptionSampler(module.class_names, module.templates, module.pool, 0)
        labels = torch.tensor([0, 3, 3, 7, 11, 2])
        module._host_labels = labels.tolist()
        images = torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(1))
        batch: Any = {"image": images, "label": labels, "index": torch.arange(6)}
        return module._context(batch, Progress(0, 10, 0, 2)), module

    return make


@pytest.fixture
def with_teacher() -> Callable[..., Any]:
    """A context of plain values whose only teacher is the one given, the frozen twin."""

    def make(teacher: Any, **given: Any) -> Any:
        return SimpleNamespace(teacher={None: teacher}.__getitem__, **given)

    return make


@pytest.fixture(scope="session")
def golden() -> Golden:
    """Inputs and numbers of one case of the rivals' own code, in float64; labels, groups and counts as they are."""
    with np.load(Path(__file__).parents[1] / "golden" / "rivals.npz") as file:
        arrays = {key: torch.from_numpy(np.asarray(file[key])) for key in file.files}

    def case(name: str) -> dict[str, Tensor]:
        mine = {key.removeprefix(f"{name}/"): value for key, value in arrays.items() if key.startswith(f"{name}/")}
        return {key: value.double() if value.is_floating_point() else value for key, value in mine.items()}

    return case


@pytest.fixture
def agrees() -> Callable[..., None]:
    """Hold a loss and its gradients to the authors' numbers: 1e-5 of the largest entry, which float32 has left."""

    def check(value: Tensor, expected: Tensor, leaves: dict[str, Tensor], case: dict[str, Tensor], prefix: str) -> None:
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-5)
        gradients = torch.autograd.grad(value, list(leaves.values()))
        for name, gradient in zip(leaves, gradients, strict=True):
            theirs = case[f"{prefix}{name}"]
            torch.testing.assert_close(gradient, theirs, rtol=1e-5, atol=1e-5 * max(1.0, theirs.abs().max().item()))

    return check
