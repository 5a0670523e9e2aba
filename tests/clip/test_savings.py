"""A step of ours against the plain way, for towers of three kinds: the same loss, the same gradient of every weight."""

from pathlib import Path
from typing import Any, Literal

import architectures
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import plain_step
from starft.captions.sampler import CaptionSampler
from starft.losses import SpuriosityAlignment
from starft.losses.context import Progress
from starft.losses.objectives import Contrastive, CrossEntropy
from starft.training.module import FinetuneModule

NAMES = ("duck", "gull", "crow")
LABELS = [0, 1, 0, 2, 0, 1]
WEIGHT = 0.5
METHODS = ("ce", "flyp", "starft", "starft_ce")
OWN = ("Two ducks at dawn.", "a gull over a ship", "A crow.", "Two ducks at dawn.", "a gull")
INDEX = [3, 1, 0, 2, 0, 4]
"""Captions of images' own, which StarFT on the contrastive objective has here, and the batch's places among them."""
CUT = {"vit": "shared", "siglip": "", "hf": "padding"}
"""Kind of text tower -> what of captions may be left out: what they share, too, their padding alone, or nothing."""


@pytest.fixture(
    scope="module", params=["vit", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("siglip", "hf"))]
)
def kind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return request.param, architectures.write(tmp_path_factory.mktemp("savings"), request.param)


def make(config: Path, method: str, dtype: torch.dtype) -> FinetuneModule:
    """Return a module whose student has moved away from its twin, as after some steps.

    Far enough for float32: where captions' features are all but equal, as those of a random text tower of transformers
    are, the plain way's own gradients are off by more than 1e-5 from those of float64.
    """
    torch.manual_seed(0)
    head: Literal["text", "linear"] = "linear" if method.endswith("ce") else "text"
    objective = CrossEntropy() if head == "linear" else Contrastive()
    terms: list[Any] = [SpuriosityAlignment(WEIGHT, "constant")] if method.startswith("starft") else []
    module = FinetuneModule(objective, str(config), None, head, regularizers=terms, pool="backgrounds")
    module.describe(NAMES, ("a photo of a {}.",))
    assert module.pool is not None
    own = OWN if method == "starft" else None
    module.captions = CaptionSampler(NAMES, ("a photo of a {}.", "the {}."), module.pool, 3, own)
    with torch.no_grad():
        for weights in module.clip.parameters():
            weights.add_(torch.randn_like(weights), alpha=0.1)
    return module.to(dtype).eval()  # no dropout, which would fall differently


def batch_of(module: FinetuneModule) -> Any:
    stream = torch.Generator().manual_seed(1)
    images = torch.randn(len(LABELS), 3, *module.preprocessing.size, generator=stream)
    return {"image": images.to(module.clip.model.logit_scale.dtype), "label": torch.tensor(LABELS)}


def our_loss(module: FinetuneModule) -> Tensor:
    """Return what `training_step` returns, which needs a trainer for its log."""
    progress = Progress(0, 10, 0, 2)
    module._host_labels, module._host_index = LABELS, INDEX
    ctx = module._context(batch_of(module), progress)
    return torch.stack([term.weight_at(progress) * term(ctx) for _, term in module._active_terms()]).sum()


def plain_loss(module: FinetuneModule, method: str) -> Tensor:
    assert module.captions is not None
    clean, spurious = module.captions.draw(LABELS, 0, index=INDEX)
    assert method != "starft" or clean == [OWN[at] for at in INDEX]
    images, labels = batch_of(module)["image"], torch.tensor(LABELS)
    if method == "ce":
        assert module.linear_head is not None
        return plain_step.cross_entropy(module.clip, images, module.linear_head, labels)
    if method == "flyp":
        return plain_step.flyp(module.clip, images, clean)
    return plain_step.starft(module.clip, module.twin, images, clean, spurious, labels, WEIGHT, head=module.linear_head)


def gradients(module: FinetuneModule, loss: Tensor) -> dict[str, Tensor | None]:
    module.zero_grad(set_to_none=True)
    loss.backward()
    return {name: weights.grad for name, weights in module.named_parameters()}


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "relative"), [(torch.float32, 1e-5), (torch.float64, 1e-12)], ids=["32", "64"])
@pytest.mark.parametrize("method", METHODS)
def test_loss_and_every_gradient_are_those_of_the_plain_way(
    kind: tuple[str, Path], method: str, dtype: torch.dtype, relative: float
) -> None:
    module = make(kind[1], method, dtype)
    if method.startswith("starft"):
        assert module.captions is not None
        module.twin.remember(module.captions.all_spurious(float("inf")))
    loss = our_loss(module)
    ours = gradients(module, loss)
    expected = plain_loss(module, method)
    theirs = gradients(module, expected)
    assert loss.dtype == dtype
    assert abs(loss.item() - expected.item()) <= relative * expected.item()
    trained = [name for name, weights in module.named_parameters() if weights.requires_grad]
    read = [name for name in trained if theirs[name] is not None]
    assert len(read) > 10
    for name in trained:
        mine, wanted = ours[name], theirs[name]
        if mine is None or wanted is None:
            assert mine is wanted, f"{name} gets a gradient one way only"
            continue
        assert (mine - wanted).norm() <= relative * wanted.norm() + (ZERO[dtype] * all_norm(theirs)), name


ZERO = {torch.float32: 1e-8, torch.float64: 1e-16}
"""Share of the whole gradient's norm below which a weight's gradient is 0 but for rounding, as a key's bias is."""


def all_norm(gradients_of: dict[str, Tensor | None]) -> Tensor:
    return torch.stack([one.norm() for one in gradients_of.values() if one is not None]).norm()


class TextCalls:
    """Shapes (rows, length) of what goes through a model's text tower."""

    def __init__(self, model: Any) -> None:
        self.shapes: list[tuple[int, ...]] = []
        tower = model.text.transformer if hasattr(model, "text") else model.transformer
        tower.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, module: Any, inputs: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        first = inputs[0] if inputs else named["input_ids"]
        self.shapes.append(tuple(first.shape[:2]))


def test_each_saving_is_taken_where_the_tower_allows_it(kind: tuple[str, Path]) -> None:
    module = make(kind[1], "starft", torch.float32)
    assert module.captions is not None
    clean, spurious = module.captions.draw(LABELS, 0, index=INDEX)
    student, twin = TextCalls(module.clip.model), TextCalls(module.twin.model)
    our_loss(module)
    assert len(student.shapes) == 1, "clean and spurious captions in one call"
    assert student.shapes == shapes(module, {*clean, *spurious}, CUT[kind[0]])
    assert twin.shapes == shapes(module, set(spurious), CUT[kind[0]])
    assert len({*clean, *spurious}) < len([*clean, *spurious]), "or there was nothing to save"


def shapes(module: FinetuneModule, captions: set[str], cut: str) -> list[tuple[int, ...]]:
    """Return what should go through a tower: a row a caption, or one row that holds each beginning of them once."""
    if not captions:
        return []
    if not cut:
        return [(len(captions), 16)]
    tokens = module.clip.tokenize(sorted(captions))
    if cut == "padding":
        return [(len(captions), max(row.index(2) if 2 in row else 16 for row in tokens.tolist()))]
    rows = [row[: row.index(max(row)) + 1] for row in tokens.tolist()]
    return [(1, len({tuple(row[: end + 1]) for row in rows for end in range(len(row))}))]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "calls"), [("ce", 0), ("flyp", 1), ("starft", 1), ("starft_ce", 1)])
def test_no_method_encodes_what_it_doesnt_read(kind: tuple[str, Path], method: str, calls: int) -> None:
    module = make(kind[1], method, torch.float32)
    assert module.captions is not None
    clean, spurious = module.captions.draw(LABELS, 0, index=INDEX)
    student, twin = TextCalls(module.clip.model), TextCalls(module.twin.model)
    our_loss(module)
    read = {"ce": set(), "flyp": set(clean), "starft": {*clean, *spurious}, "starft_ce": set(spurious)}[method]
    assert student.shapes == shapes(module, read, CUT[kind[0]])
    assert len(student.shapes) == calls
    assert len(twin.shapes) == method.startswith("starft")


def test_attention_is_torchs_own_kernel(kind: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The student's: towers without a graph take torch's fused inference form of a whole attention layer."""
    module = make(kind[1], "starft", torch.float32).train()
    calls: list[torch.Size] = []
    kernel = F.scaled_dot_product_attention

    def counted(query: Tensor, *args: Any, **options: Any) -> Tensor:
        calls.append(query.shape)
        return kernel(query, *args, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    module.clip.encode_text(["a photo of a duck."])
    assert len(calls) == 2, "one call a layer"
