"""What is frozen stays as it is and out of the optimizer; recomputing and compiling change nothing but time."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import KINDS, TEXT, timm, write
from architectures import weights as weights_of
from test_kinds import ROWS, starft, step
from torch import Tensor, nn

from starft.clip import ClipEncoder, Twin, build_clip, checkpoint_activations, freeze, freeze_unread
from starft.errors import ConfigError
from starft.training.module import FinetuneModule

BLOCKS = {"vit": (3, 2), "resnet": (5, 2), "siglip": (12, 2), "timm": (4, 2), "hf": (3, 2), "coca": (3, 2)}
"""Kind -> blocks of its image tower and of its text tower."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    made = {kind: write(tmp_path_factory.mktemp(f"towers-{kind}"), kind) for kind in KINDS}
    return {kind: (config, weights_of(config)) for kind, config in made.items()}


def build(files: dict[str, tuple[Path, Path]], kind: str) -> ClipEncoder:
    config, weights = files[kind]
    return build_clip(str(config), str(weights))


def frozen(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if not parameter.requires_grad}


def named(model: nn.Module, *beginnings: str) -> set[str]:
    return {name for name, _ in model.named_parameters() if name.startswith(beginnings)}


# Which parameters


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_tower_is_frozen_whole(files: dict[str, tuple[Path, Path]], kind: str) -> None:
    model = build(files, kind).model
    freeze(model, image_tower=True)
    assert frozen(model) == named(model, "visual.")
    model = build(files, kind).model
    freeze(model, text_tower=True)
    outside = {"logit_scale", "logit_bias"} | named(model, "visual.", "text_decoder.")
    assert frozen(model) == {name for name, _ in model.named_parameters()} - outside


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "count", "beginnings"),
    [
        ("vit", 1, ("conv1.", "class_embedding", "positional_embedding", "ln_pre.", "transformer.resblocks.0.")),
        ("resnet", 2, ("conv", "bn", "layer1.", "layer2.0.")),
        ("resnet", 5, ("conv", "bn", "layer")),
        ("timm", 1, ("trunk.conv1.", "trunk.bn1.", "trunk.layer1.")),
        (
            "siglip",
            2,
            ("trunk.pos_embed", "trunk.cls_token", "trunk.patch_embed.", "trunk.blocks.0.", "trunk.blocks.1."),
        ),
        ("coca", 3, ("conv1.", "class_embedding", "positional_embedding", "ln_pre.", "transformer.")),
    ],
)
def test_the_first_blocks_of_the_image_tower(
    files: dict[str, tuple[Path, Path]], kind: str, count: int, beginnings: tuple[str, ...]
) -> None:
    model = build(files, kind).model
    freeze(model, image_blocks=count)
    assert frozen(model) == named(model, *(f"visual.{beginning}" for beginning in beginnings))


@pytest.mark.parametrize(
    ("kind", "beginnings"),
    [
        ("vit", ("token_embedding.", "positional_embedding", "transformer.resblocks.0.")),
        ("siglip", ("text.token_embedding.", "text.positional_embedding", "text.transformer.resblocks.0.")),
        (
            "coca",
            ("text.token_embedding.", "text.positional_embedding", "text.cls_emb", "text.transformer.resblocks.0."),
        ),
        ("hf", ("text.transformer.embeddings.", "text.transformer.encoder.layer.0.")),
    ],
)
def test_the_first_blocks_of_the_text_tower(
    files: dict[str, tuple[Path, Path]], kind: str, beginnings: tuple[str, ...]
) -> None:
    model = build(files, kind).model
    freeze(model, text_blocks=1)
    assert frozen(model) == named(model, *beginnings)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vit", "resnet", "timm", "hf"])
@pytest.mark.parametrize("count", [-1, 99])
def test_more_blocks_than_there_are(files: dict[str, tuple[Path, Path]], kind: str, count: int) -> None:
    model = build(files, kind).model
    with pytest.raises(ConfigError, match=rf"^freeze_text_blocks must lie in 0\.\.2, .* text tower; got {count}\.$"):
        freeze(model, text_blocks=count)
    with pytest.raises(ConfigError, match=rf"^freeze_image_blocks must lie in 0\.\.\d+, .* image tower; got {count}\."):
        freeze(model, image_blocks=count)
    assert frozen(model) == set()


@pytest.mark.slow
def test_what_no_loss_reads(files: dict[str, tuple[Path, Path]]) -> None:
    for kind in KINDS:
        model = build(files, kind).model
        freeze_unread(model)
        assert frozen(model) == named(model, "logit_bias", "text_decoder.")


# In a run


def run(files: dict[str, tuple[Path, Path]], kind: str, **given: Any) -> tuple[FinetuneModule, set[str], set[str]]:
    """Train a step; return the module, what moved of its state, and what the optimizer holds."""
    config, weights = files[kind]
    module = starft(config, weights, **given)
    before = {name: value.clone() for name, value in module.clip.model.state_dict().items()}
    trainer = step(module)
    after = module.clip.model.state_dict()
    held = {id(parameter) for group in trainer.optimizers[0].param_groups for parameter in group["params"]}
    names = {name for name, parameter in module.clip.model.named_parameters() if id(parameter) in held}
    return module, {name for name in before if not torch.equal(before[name], after[name])}, names


def test_frozen_parts_stay_out_of_the_optimizer_and_still(files: dict[str, tuple[Path, Path]]) -> None:
    module, moved, held = run(files, "vit", freeze_text_tower=True, freeze_image_blocks=2)
    assert held == {name for name, p in module.clip.model.named_parameters() if p.requires_grad}
    assert moved <= held
    still = ("token_embedding", "positional_embedding", "transformer.", "text_projection", "visual.conv1")
    assert not any(name.startswith(still) for name in held)
    assert {"visual.proj", "logit_scale", "visual.transformer.resblocks.2.ln_1.weight"} <= moved


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["resnet", "timm"])
def test_statistics_of_frozen_batch_norms_stay(files: dict[str, tuple[Path, Path]], kind: str) -> None:
    def statistics(moved: set[str]) -> set[str]:
        return {name for name in moved if "running_" in name or "num_batches" in name}

    _, moved, _ = run(files, kind)
    every = statistics(moved)
    assert len(every) >= 3 * 10, "the test sees statistics at all"
    _, moved, _ = run(files, kind, freeze_image_tower=True)
    assert statistics(moved) == set()
    _, moved, _ = run(files, kind, freeze_image_blocks=1)
    trunk = tuple(f"visual.trunk.{part}" for part in ("conv1.", "bn1.", "layer1."))
    first = {"resnet": ("visual.bn", "visual.layer1."), "timm": trunk}[kind]
    assert statistics(moved) == {name for name in every if not name.startswith(first)}


def test_a_frozen_part_stays_in_eval_mode_and_comes_back_thawed(files: dict[str, tuple[Path, Path]]) -> None:
    clip = build(files, "hf")  # with dropout
    freeze(clip.model, text_tower=True)
    clip.train()
    assert clip.model.visual.training
    assert not any(part.training for part in clip.model.text.modules())
    clip.model.text.requires_grad_(True)
    clip.train()
    assert all(part.training for part in clip.modules())


# Memory for time


def gradients(clip: ClipEncoder, size: int) -> dict[str, Tensor]:
    torch.manual_seed(0)
    images = torch.randn(ROWS, 3, size, size, dtype=torch.float64)
    clip.zero_grad()
    (clip.encode_image(images) @ clip.encode_text(["a duck .", "a gull", "crow"]).T).log_softmax(1).sum().backward()
    return {name: p.grad.clone() for name, p in clip.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", ["vit", pytest.param("timm", marks=pytest.mark.slow), "hf", "coca"])
def test_recomputed_activations_give_the_same_gradients(files: dict[str, tuple[Path, Path]], kind: str) -> None:
    clip = build(files, kind).double().eval()
    size = 160 if kind == "timm" else 32
    whole = gradients(clip, size)
    calls = []
    blocks = {"vit": clip.model.visual, "coca": clip.model.visual}.get(kind, getattr(clip.model, "text", None))
    part = blocks.transformer.encoder.layer[0].attention if kind == "hf" else blocks.transformer.resblocks[0]
    part.register_forward_pre_hook(lambda *args: calls.append(1))
    checkpoint_activations(clip.model)
    if kind == "hf":
        clip.train()  # transformers recomputes in training only
        for dropout in (part for part in clip.modules() if isinstance(part, nn.Dropout)):
            dropout.p = 0.0
    recomputed = gradients(clip, size)
    assert len(calls) == 2, "forward, and again on the way back"
    assert recomputed.keys() == whole.keys()
    for name, value in whole.items():
        torch.testing.assert_close(recomputed[name], value, rtol=1e-9, atol=1e-12, msg=name)


def test_clips_resnets_dont_recompute(files: dict[str, tuple[Path, Path]]) -> None:
    config, weights = files["resnet"]
    with pytest.raises(ConfigError, match=r"^CLIP's ResNets can't recompute activations; set gradient_ch"):
        starft(config, weights, gradient_checkpointing=True)


def test_the_twin_recomputes_nothing(files: dict[str, tuple[Path, Path]]) -> None:
    config, weights = files["vit"]
    module = starft(config, weights, gradient_checkpointing=True)
    assert module.clip.model.visual.transformer.grad_checkpointing
    assert module.clip.model.transformer.grad_checkpointing
    assert isinstance(module.twin, Twin)
    assert not module.twin.model.visual.transformer.grad_checkpointing


# Compiled


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Compile without a compiler; leaves the class of each module that is compiled."""
    compiled: list[str] = []
    compile_module = nn.Module.compile

    def eager(self: nn.Module, *args: Any, **kwargs: Any) -> None:
        compiled.append(type(self).__name__)
        compile_module(self, *args, backend="eager", **kwargs)

    monkeypatch.setattr(nn.Module, "compile", eager)
    return compiled


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # the compiler's own
def test_a_compiled_model_trains_the_same_and_its_checkpoints_load_both_ways(
    files: dict[str, tuple[Path, Path]], backends: list[str], tmp_path: Path
) -> None:
    config, weights = files["vit"]
    plain, compiled = starft(config, weights), starft(config, weights, compile=True)
    assert backends == ["VisionTransformer", "Transformer"] * 2, "student and twin"
    assert list(compiled.state_dict()) == list(plain.state_dict())
    losses = []
    for module, name in ((plain, "plain"), (compiled, "compiled")):
        trainer = step(module)
        losses.append(float(trainer.callback_metrics["train/loss"]))
        trainer.save_checkpoint(tmp_path / f"{name}.ckpt")
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0, "nothing was compiled"
    for name, other in (("plain", True), ("compiled", False)):
        loaded = FinetuneModule.load_from_checkpoint(tmp_path / f"{name}.ckpt", map_location="cpu", compile=other)
        state = torch.load(tmp_path / f"{name}.ckpt", weights_only=True)["state_dict"]
        assert all(torch.equal(loaded.state_dict()[key], value) for key, value in state.items())


@pytest.mark.parametrize(("pool", "last"), [("map", "attn_pool"), ("token", "head")])
def test_what_timm_counts_beside_blocks_is_called_so(pool: str, last: str, tmp_path: Path) -> None:
    keys = {
        "embed_dim": 64 if pool == "map" else 8,
        "vision_cfg": timm("test_vit", pool, "none" if pool == "map" else ""),
        "text_cfg": TEXT,
        "custom_text": True,
    }
    path = tmp_path / f"beside-{pool}.json"
    path.write_text(json.dumps(keys), encoding="utf-8")
    model = build_clip(str(path), None).model
    with pytest.raises(ConfigError, match=rf"in 0\.\.7, .*; got 8\. The last of these is no block but {last}\.$"):
        freeze(model, image_blocks=8)
