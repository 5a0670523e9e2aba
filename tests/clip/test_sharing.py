"""A frozen beginning is computed once for student and teachers: same loss and gradients as two passes, in less work."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import architectures
import pytest
import torch
from open_clip.transformer import PatchDropout
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from fakes.quiet_trainer import trainer
from starft.captions.sampler import CaptionSampler
from starft.clip.lora import LoRA
from starft.clip.sharing import frozen_beginning, share_beginnings
from starft.losses import KD, SpuriosityAlignment
from starft.losses.context import Progress
from starft.losses.objectives import Contrastive
from starft.mini import MiniWorld
from starft.runs.checkpoints import fingerprint
from starft.training.module import FinetuneModule

NAMES = ("duck", "gull", "crow")
LABELS = [0, 1, 0, 2, 0, 1]
RELATIVE = 1e-5


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("sharing")
    made: dict[str, Path] = {}
    return lambda kind: made.setdefault(kind, architectures.write(folder, kind))


def build(config: Path, **options: Any) -> FinetuneModule:
    """Return a module in training, whose trained weights have moved away from its twin's; it remembers no captions."""
    torch.manual_seed(0)
    terms: list[Any] = [SpuriosityAlignment(0.5, "constant"), KD(teacher="ema")]
    module = FinetuneModule(Contrastive(), str(config), None, regularizers=terms, pool="backgrounds", **options)
    assert module.pool is not None
    module.describe(NAMES, ("a photo of a {}.",))
    module.captions = CaptionSampler(NAMES, ("a photo of a {}.", "the {}."), module.pool, 3, None)
    with torch.no_grad():
        for weights in module.clip.parameters():
            if weights.requires_grad:
                weights.add_(torch.randn_like(weights), alpha=0.05)
    return module


def loss_and_gradients(module: FinetuneModule) -> tuple[Tensor, dict[str, Tensor]]:
    stream = torch.Generator().manual_seed(1)
    images = torch.randn(len(LABELS), 3, *module.preprocessing.size, generator=stream)
    progress = Progress(0, 10, 0, 2)
    module._host_labels, module._host_index = LABELS, list(range(len(LABELS)))
    batch: Any = {"image": images, "label": torch.tensor(LABELS)}
    torch.manual_seed(2)  # of dropout behind the beginning
    ctx = module._context(batch, progress)
    loss = torch.stack([term.weight_at(progress) * term(ctx) for _, term in module._active_terms()]).sum()
    module.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach(), {name: weight.grad for name, weight in module.named_parameters() if weight.grad is not None}


def share(module: FinetuneModule) -> None:
    share_beginnings(module.clip, [module.twin, *module._followers()])


def flops(work: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


FREEZE = {"freeze_image_blocks": 1, "freeze_text_blocks": 1}
EACH = [
    ("vit", FREEZE, {"image", "text"}),
    ("vit", {"freeze_image_tower": True, "freeze_text_blocks": 2}, {"image", "text"}),
    ("vit", FREEZE | {"micro_batch_size": 4}, {"image"}),
    ("vit", FREEZE | {"gradient_checkpointing": True}, {"image", "text"}),
    ("vit", {"adapter": LoRA(rank=2, blocks="last 1")}, {"image", "text"}),
    ("vit", FREEZE | {"adapter": LoRA(rank=2)}, {"image", "text"}),
    ("resnet", {"freeze_image_blocks": 3}, {"image"}),
    ("timm", {"freeze_image_blocks": 2}, {"image"}),
    ("siglip", FREEZE, {"image", "text"}),
    ("hf", FREEZE, {"image", "text"}),
    ("coca", FREEZE, {"image", "text"}),
]


@pytest.mark.parametrize(
    ("kind", "options", "towers"),
    [pytest.param(*each, marks=pytest.mark.slow if at else ()) for at, each in enumerate(EACH)],
    ids=[f"{kind} {'-'.join(options)}" for kind, options, _ in EACH],
)
def test_loss_and_every_gradient_are_those_of_two_passes(
    configs: Callable[[str], Path], kind: str, options: dict[str, Any], towers: set[str]
) -> None:
    module = build(configs(kind), **options)
    expected, theirs = loss_and_gradients(module)
    share(module)
    assert {*module.clip.beginnings} == {*module.twin.beginnings} == towers
    loss, ours = loss_and_gradients(module)
    assert abs(loss - expected) <= RELATIVE * expected
    assert ours.keys() == theirs.keys()
    whole = torch.stack([one.norm() for one in theirs.values()]).norm()
    for name, mine in ours.items():
        assert (mine - theirs[name]).norm() <= RELATIVE * theirs[name].norm() + 1e-7 * whole, name


@pytest.mark.slow
def test_what_is_frozen_is_computed_once_and_held_once(configs: Callable[[str], Path]) -> None:
    module = build(configs("vit"), freeze_image_blocks=2)
    loss_and_gradients(module)  # teachers keep their heads
    two_passes = flops(lambda: loss_and_gradients(module))
    share(module)
    images = torch.zeros(len(LABELS), 3, 32, 32)
    beginning = flops(lambda: module.clip.begin_images(images))
    assert two_passes - flops(lambda: loss_and_gradients(module)) == 2 * beginning > 0, "the twin's and the average's"
    places = {weight.data_ptr() for weight in module.parameters()}
    frozen = list(module.clip.beginnings["image"].weights(module.clip.model))
    assert len(places) == len(list(module.parameters())) - 2 * len(frozen)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("vit", lambda module: module.clip.model.visual.conv1.weight.data.mul_(2)),  # as of another training
        ("vit", lambda module: setattr(module.clip.model.visual, "patch_dropout", PatchDropout(0.5))),
        ("vit", lambda module: setattr(module.twin, "in_bfloat16", True)),
        ("timm", lambda module: module.clip.model.visual.trunk.bn1.requires_grad_(True)),
    ],
    ids=["other weights", "dropout", "precision", "trained before"],
)
def test_where_the_passes_would_differ_nothing_is_shared(
    configs: Callable[[str], Path], kind: str, spoil: Callable[[FinetuneModule], Any]
) -> None:
    module = build(configs(kind), freeze_image_blocks=1)
    spoil(module)
    share(module)
    assert module.clip.beginnings == module.twin.beginnings == {}


def test_a_block_that_is_thawed_in_the_middle_isnt_shared_any_more(configs: Callable[[str], Path]) -> None:
    module = build(configs("vit"), **FREEZE)
    share(module)
    module.clip.model.requires_grad_(True)
    assert module.clip.begin_images(torch.zeros(1, 3, 32, 32)) is None
    assert module.clip.begin_texts(["a duck"]) is None


def test_what_is_thawed_is_the_teachers_own_again(configs: Callable[[str], Path]) -> None:
    module = build(configs("vit"), **FREEZE)
    teachers = [module.twin, *module._followers()]
    share(module)
    start = [fingerprint(teacher.model.state_dict()) for teacher in teachers]
    module.clip.model.requires_grad_(True)
    _, gradients = loss_and_gradients(module)
    assert "clip.model.visual.conv1.weight" in gradients
    with torch.no_grad():
        for weights in module.clip.parameters():
            weights.add_(1)
    assert [fingerprint(teacher.model.state_dict()) for teacher in teachers] == start


def test_of_an_adapter_in_the_last_blocks_the_others_are_the_beginning(configs: Callable[[str], Path]) -> None:
    module = build(configs("vit"), adapter=LoRA(rank=2, blocks="last 1", towers=["image"]))
    found = {tower: frozen_beginning(module.clip.model, tower) for tower in ("image", "text")}
    assert [item and (len(item.blocks), round(item.share, 2)) for item in found.values()] == [(2, 0.67), (1, 0.5)]


def test_frozen_updates_that_a_checkpoint_brought_are_no_part_of_the_twin(configs: Callable[[str], Path]) -> None:
    module = build(configs("vit"), freeze_image_blocks=1, adapter=LoRA(rank=2, towers=["image"]))
    share(module)
    assert {*module.clip.beginnings} == {"image", "text"}
    next(iter(module.clip.beginnings["image"].updates(module.clip.model))).up.data.fill_(1)
    share(module)
    assert {*module.clip.beginnings} == {"text"}


@pytest.mark.slow
def test_a_run_shares_unless_its_option_says_no() -> None:
    for share_frozen in (True, False):
        module = FinetuneModule(
            Contrastive(), "starft-mini", "mini", freeze_image_blocks=2, share_frozen=share_frozen, pool="mini_scenes"
        )
        trainer(max_steps=1).fit(module, datamodule=MiniWorld(train_size=12, val_size=12, batch_size=12))
        assert bool(module.clip.beginnings) == share_frozen
