"""One step of the tiny CLIP, and contexts of plain tensors."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal

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
