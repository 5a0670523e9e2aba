"""Micro batches: the loss and gradients of the whole batch, a few rows at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from starft.__main__ import main
from starft.captions.sampler import CaptionSampler
from starft.clip import build_clip, encode_in_chunks
from starft.errors import ConfigError
from starft.losses import KD, L2SP, CarFT, Carot, FeatureDistillation, LipsumFT, SpuriosityAlignment, Tracer
from starft.losses.base import Term
from starft.losses.context import Progress
from starft.losses.group_dro import GroupDRO
from starft.losses.objectives import Contrastive, CrossEntropy
from starft.mini import MiniWorld
from starft.training.gradients import check_accumulation
from starft.training.module import FinetuneModule

MINI = Path(__file__).parents[2] / "lightning_configs" / "mini"
LABELS = [0, 3, 3, 7, 11, 2, 0]


def step(head: Any, micro: int | None) -> tuple[Tensor, dict[str, Tensor], list[int]]:
    """Loss and gradients of one step of StarFT with cross-entropy beside it, and the rows of each encoding."""
    regularizers: list[Term] = [CrossEntropy(), SpuriosityAlignment(0.5, "constant", teacher="ema")]
    module = FinetuneModule(
        Contrastive(),
        "starft-mini",
        "mini",
        head,
        regularizers=regularizers,
        pool="mini_scenes",
        micro_batch_size=micro,
    ).double()
    module.describe(MiniWorld().class_names, ("a photo of a {}.", "a sketch of a {}."))
    module.captions = CaptionSampler(module.class_names, module.templates, module.pool, 0)
    noise = torch.Generator().manual_seed(5)
    for parameter in module.clip.parameters():
        if parameter.ndim:
            parameter.data += 0.02 * torch.randn(parameter.shape, generator=noise) * parameter.data.std()
    rows: list[int] = []
    for part in (module.clip.model.visual, module.teachers["exponential_average"].model.visual):
        part.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    images = torch.randn(len(LABELS), 3, 64, 64, generator=torch.Generator().manual_seed(1)).double()
    module._host_labels = LABELS
    batch: Any = {"image": images, "label": torch.tensor(LABELS), "index": torch.arange(len(LABELS))}
    ctx = module.double()._context(batch, Progress(3, 10, 0, 2))
    loss = torch.stack([term(ctx) for _, term in module._active_terms()]).sum()
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in module.named_parameters() if p.grad is not None}, rows


@pytest.mark.slow
@pytest.mark.parametrize("head", ["text", "linear"])
def test_loss_and_gradients_are_those_of_the_whole_batch(head: str) -> None:
    whole, expected, rows = step(head, None)
    assert rows == [7, 7]
    loss, got, rows = step(head, 3)
    assert sorted(rows) == [1, 1, 1, 3, 3, 3, 3, 3, 3], "the student's twice, its teacher's once"
    torch.testing.assert_close(loss, whole, rtol=1e-9, atol=0)
    assert got.keys() == expected.keys()
    assert len(got) > 80
    for name, gradient in expected.items():
        assert (got[name] - gradient).norm() <= 1e-8 * gradient.norm() + 1e-12, name


def test_random_draws_are_the_same_on_the_way_back() -> None:
    clip = build_clip("starft-mini", "mini", trim=False).train()
    encode, drawn = clip.model.encode_image, []

    def dropping(images: Tensor) -> Tensor:
        drawn.append(torch.rand(len(images), 1))
        features: Tensor = encode(images) * (drawn[-1] > 0.5)
        return features

    clip.model.encode_image = dropping
    encode_in_chunks([clip], 2)
    clip.encode_image(torch.ones(3, 3, 64, 64)).sum().backward()
    assert sorted(map(len, drawn)) == [1, 1, 2, 2], "each chunk was encoded twice"
    pairs, single = ([one for one in drawn if len(one) == size] for size in (2, 1))
    assert torch.equal(pairs[0], pairs[1])
    assert torch.equal(single[0], single[1])
    assert not torch.equal(pairs[0][:1], single[0])


def test_nothing_is_cut_up_where_no_gradient_is_wanted() -> None:
    clip = build_clip("starft-mini", "mini").eval()
    rows: list[int] = []
    clip.model.visual.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    encode_in_chunks([clip], 2)
    with torch.no_grad():
        clip.encode_image(torch.ones(3, 3, 64, 64))
    assert rows == [3]


def test_what_cant_be_cut_up_is_refused() -> None:
    clip = build_clip("starft-mini", "mini")
    with pytest.raises(ConfigError, match=r"^micro_batch_size must be at least 1, or null .* got 0\.$"):
        encode_in_chunks([clip], 0)
    clip.model.visual.extra = torch.nn.BatchNorm2d(3)
    with pytest.raises(ConfigError, match=r"^micro_batch_size can't give the gradients of the whole batch where "):
        encode_in_chunks([clip], 2)
    clip.model.visual.extra.requires_grad_(False)
    encode_in_chunks([clip], 2)
    assert clip.micro_batch_size == 2


# Adding up gradients of small batches instead

ACROSS: list[Callable[..., Term]] = [Contrastive, SpuriosityAlignment, Carot, Tracer, GroupDRO]
APART: list[Callable[..., Term]] = [CrossEntropy, KD, CarFT, FeatureDistillation, L2SP, LipsumFT]


@pytest.mark.parametrize("term", ACROSS)
def test_gradients_of_a_loss_across_the_batch_dont_add_up(term: Callable[..., Term]) -> None:
    check_accumulation([CrossEntropy(), term()], 1)
    check_accumulation([CrossEntropy(), term(weight=0.0)], 4)
    with pytest.raises(ConfigError, match=rf"accumulate_grad_batches is 4, but {term.__name__} compares"):  # type: ignore[attr-defined]
        check_accumulation([CrossEntropy(), term()], 4)


def test_gradients_of_all_others_do() -> None:
    check_accumulation([term() for term in APART], 4)


@pytest.mark.slow
def test_the_command_refuses_it_and_names_the_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--data.init_args.train_size=24", "--data.init_args.val_size=12", "--data.init_args.batch_size=12"]
    folder = f"--trainer.default_root_dir={tmp_path / 'run'}"
    assert main(["fit", f"--config={MINI / 'flyp.yaml'}", "--trainer.accumulate_grad_batches=2", *small, folder]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "starft: trainer.accumulate_grad_batches is 2, but Contrastive compares the images of a batch with each other, "
        "so small batches don't add up to a large one; set it to 1, data.init_args.batch_size to the whole batch, and "
        "model.micro_batch_size to what fits in memory."
    )
    assert not (tmp_path / "run").exists()
