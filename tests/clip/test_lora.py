"""LoRA against plain weights that have the updates in them: features, gradients, merging, and what is refused."""

from copy import deepcopy
from pathlib import Path

import architectures
import pytest
import torch
from open_clip.transformer import QuickGELU
from timm.models.beit import Attention as BeitAttention
from torch import nn

import plain_lora
from starft.clip import ClipEncoder, Twin, build_clip, checkpoint_activations, image_preprocessing
from starft.clip.lora import LoRA, add_updates, draw, freeze_base, merge, named_updates, round_matrices
from starft.clip.low_rank import LowRank, forget_sums, put_beside, sum_weights
from starft.errors import ConfigError

CAPTIONS = ["a photo of a duck.", "a gull on the lake"]
SMALL = LoRA(rank=4, alpha=6)
SLOW = ("siglip", "hf", "coca", "convnext")


@pytest.fixture(
    scope="module", params=["vit", "resnet", *(pytest.param(kind, marks=pytest.mark.slow) for kind in SLOW)]
)
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ClipEncoder:
    folder = tmp_path_factory.mktemp("lora")
    if request.param == "convnext":
        with pytest.MonkeyPatch.context() as patch:
            make = architectures.timm
            patch.setattr(architectures, "timm", lambda name, *rest: make("test_convnext", *rest))
            return built(architectures.write(folder, "timm"))
    return built(architectures.write(folder, request.param))


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> ClipEncoder:
    return built(architectures.write(tmp_path_factory.mktemp("lora_vit"), "vit"))


def built(config: Path) -> ClipEncoder:
    torch.manual_seed(0)
    clip = build_clip(str(config), None)
    with torch.no_grad():  # biases and gains too
        for weight in clip.model.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.05)
    return ClipEncoder(clip.model.double(), clip.tokenize, clip.trim)


def loss_of(clip: ClipEncoder) -> torch.Tensor:
    stream = torch.Generator().manual_seed(2)
    images = torch.randn(3, 3, *image_preprocessing(clip.model).size, generator=stream).double()
    features = torch.cat([clip.encode_image(images), clip.encode_text(CAPTIONS)])
    return (features * torch.randn(features.shape, generator=stream).double()).sum()


@pytest.mark.slow
def test_features_and_gradients_are_those_of_merged_weights(clip: ClipEncoder) -> None:
    check_against_merged(clip, trim=True)


def test_whole_towers_give_them_too(vit: ClipEncoder) -> None:
    check_against_merged(vit, trim=False)


def check_against_merged(clip: ClipEncoder, trim: bool) -> None:
    student = plain_lora.adapted(clip, SMALL)
    plain = plain_lora.merged(clip, student, SMALL)
    student.trim, plain.trim = trim, False
    losses = [loss_of(student), loss_of(plain)]
    assert abs((losses[0] - losses[1]).item()) < 1e-9
    assert (losses[0] - loss_of(clip)).abs().item() > 1e-3, "the updates do something"
    for loss in losses:
        loss.backward()  # type: ignore[no-untyped-call]
    expected = plain_lora.expected_gradients(plain, student, SMALL)
    updates = dict(named_updates(student.model))
    assert updates.keys() == expected.keys()
    for name, update in updates.items():
        for ours, theirs in zip((update.up.grad, update.down.grad), expected[name], strict=True):
            assert ours is not None, f"{name} gets no gradient"
            assert theirs.norm().item() > 0
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)
    assert not any(weight.grad is not None for weight in clip.model.parameters())


@pytest.mark.parametrize("way", ["micro batches", "recomputing"])
def test_with_less_memory_gradients_are_the_same(vit: ClipEncoder, way: str) -> None:
    gradients = []
    for changed in (False, True):
        student = plain_lora.adapted(vit, SMALL)
        if changed and way == "recomputing":
            checkpoint_activations(student.model)
        student.micro_batch_size = 1 if changed and way == "micro batches" else None
        loss_of(student.train()).backward()  # type: ignore[no-untyped-call]
        gradients.append([weight.grad for weight in student.parameters() if weight.requires_grad])
    for one, other in zip(*gradients, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_what_norms_and_activations_give_is_made_anew_and_not_kept(vit: ClipEncoder) -> None:
    """Of 3 blocks of the image tower (B 3, L 5, W 16) the norms' and the activations' outputs are kept by nothing."""
    student = plain_lora.adapted(vit, SMALL)
    outputs: list[torch.Tensor] = []
    for part in student.model.visual.transformer.resblocks[:2].modules():
        if isinstance(part, nn.LayerNorm | QuickGELU):
            part.register_forward_hook(lambda _, inputs, output: outputs.append(output))
    kept: set[int] = set()
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.add(x.data_ptr()) or x, lambda x: x):
        loss = loss_of(student)
    assert len(outputs) == 2 * 3
    assert not kept & {output.data_ptr() for output in outputs}
    assert loss.requires_grad


def test_updates_merge_into_the_weights_that_they_were_trained_on(clip: ClipEncoder) -> None:
    student = plain_lora.adapted(clip, SMALL)
    expected = plain_lora.merged(clip, student, SMALL).model.state_dict()
    kept = {name: value for name, value in student.model.state_dict().items() if ".lora." in name}
    again = ClipEncoder(deepcopy(clip.model), clip.tokenize)
    merge(again.model, SMALL, kept)
    state = again.model.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.allclose(value, expected[name], atol=1e-12) for name, value in state.items())


def test_updates_start_at_nothing_and_are_drawn_by_the_seed(vit: ClipEncoder) -> None:
    student = plain_lora.adapted(vit, SMALL)
    drawn = []
    for seed in (5, 6, 5):
        draw(student.model, seed)
        drawn.append(torch.cat([update.down.detach().flatten() for _, update in named_updates(student.model)]))
    assert not any(update.up.any() for _, update in named_updates(student.model))
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
    assert (loss_of(student) - loss_of(vit)).item() == pytest.approx(0, abs=1e-12)


def test_towers_layers_and_blocks_are_chosen(vit: ClipEncoder) -> None:
    def names(lora: LoRA) -> set[str]:
        return {name for name, _ in named_updates(plain_lora.adapted(vit, lora).model)}

    assert names(LoRA(rank=2, towers=["image"], layers=["attention"], blocks="last 1")) == {
        "visual.transformer.resblocks.2.attn.in_proj_weight",
        "visual.transformer.resblocks.2.attn.out_proj.weight",
    }
    assert names(LoRA(rank=2, towers=["text"], layers=["mlp"])) == {
        f"transformer.resblocks.{block}.mlp.{layer}.weight" for block in (0, 1) for layer in ("c_fc", "c_proj")
    }
    assert len(names(LoRA(rank=2))) == 4 * (3 + 2)


def test_a_pooling_behind_the_blocks_is_no_block(tmp_path: Path) -> None:
    """As of SigLIP in timm, whose attention pools."""
    model = build_clip(str(architectures.write(tmp_path, "siglip")), None).model
    last = len(model.visual.trunk.blocks) - 1
    add_updates(model, LoRA(rank=2, towers=["image"], blocks="last 1"), 0)
    parts = {
        name.removeprefix("visual.trunk.").split(".attn.")[0].split(".mlp.")[0] for name, _ in named_updates(model)
    }
    assert {part for part in parts if part.startswith("blocks")} == {f"blocks.{last}"}
    assert any(part.startswith("attn_pool") for part in parts)


def test_the_twin_has_the_frozen_weights_themselves_and_none_of_the_updates(vit: ClipEncoder) -> None:
    student = ClipEncoder(deepcopy(vit.model), vit.tokenize)
    freeze_base(student.model)
    twin = Twin(student, shares=True)
    add_updates(student.model, SMALL, 0)
    own = dict(student.model.named_parameters())
    for name, weight in twin.model.named_parameters():
        assert (weight is own[name]) == (name != "logit_scale"), name
    with torch.no_grad():
        for _, update in named_updates(student.model):
            update.up.add_(0.1)
    assert loss_of(twin).item() == pytest.approx(loss_of(vit).item(), abs=1e-12)
    assert loss_of(student).item() != pytest.approx(loss_of(vit).item(), abs=1e-3)


def test_dropout_falls_in_training_alone(vit: ClipEncoder) -> None:
    student = plain_lora.adapted(vit, LoRA(rank=4, alpha=6, dropout=0.5))
    student.eval()
    assert loss_of(student).item() == pytest.approx(loss_of(plain_lora.adapted(vit, SMALL)).item(), abs=1e-9)
    student.train()
    assert loss_of(student).item() != pytest.approx(loss_of(student).item(), abs=1e-9)


def test_matrices_are_rounded_and_stored_as_bfloat16(vit: ClipEncoder) -> None:
    rounded, stored = (deepcopy(vit.model) for _ in range(2))
    round_matrices(rounded)
    round_matrices(stored, store=True)
    name = "visual.transformer.resblocks.0.mlp.c_fc.weight"
    assert torch.equal(rounded.get_parameter(name), vit.model.get_parameter(name).bfloat16().double())
    types = {weight.dtype for key, weight in stored.named_parameters() if key.endswith(("proj.weight", "fc.weight"))}
    assert types == {torch.bfloat16}
    assert stored.get_parameter("token_embedding.weight").dtype == torch.float64


def test_a_layer_that_reads_its_parts_weights_gets_the_sum() -> None:
    """As timm's BEiT and EVA do, whose layer for q, k and v is never called."""
    torch.manual_seed(0)
    attention = BeitAttention(dim=16, num_heads=2, qkv_bias=True)
    x = torch.randn(2, 5, 16)
    update = LowRank(attention.qkv.weight, 2, 1.0, 0.0, read=True)
    nn.init.normal_(update.up)
    nn.init.normal_(update.down)
    put_beside(attention.qkv, "weight", update)
    attention.register_forward_pre_hook(sum_weights)
    attention.register_forward_hook(forget_sums, always_call=True)
    ours = attention(x)
    ours.sum().backward()
    assert update.up.grad is not None
    assert "weight" not in vars(attention.qkv), "the parameter is back"
    with torch.no_grad():
        attention.qkv.weight += update.up @ update.down
        update.up.zero_()
    assert torch.allclose(ours, attention(x), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        ("vit", {"rank": 17}, "rank of model.adapter must be at most 16 for "),
        ("vit", {"rank": 2, "blocks": "last 4"}, "is last 4, and the image tower has 3 blocks; give all, or fewer."),
        ("resnet", {"rank": 2, "layers": ["mlp"]}, r"layers of model.adapter is \['mlp'\], and the image tower"),
        ("resnet", {"rank": 2, "dropout": 0.1}, "dropout of model.adapter must be 0 here, for AttentionPool2d reads"),
        (
            "resnet",
            {"rank": 2, "towers": ["image"]},
            r"names mlp, and the image tower \(ModifiedResNet\) has none; leave it out.",
        ),
    ],
)
def test_what_a_tower_cannot_have_is_refused(
    tmp_path: Path, kind: str, options: dict[str, object], sentence: str
) -> None:
    model = build_clip(str(architectures.write(tmp_path, kind)), None).model
    with pytest.raises(ConfigError, match=sentence):
        add_updates(model, LoRA(**options), 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rank": 0}, "rank of model.adapter must be at least 1; got 0."),
        ({"alpha": 0.0}, "alpha of model.adapter must be a finite number above 0; got 0.0."),
        ({"dropout": 1.0}, r"dropout of model.adapter must lie in \[0, 1\); got 1.0."),
        ({"blocks": "first 2"}, "blocks of model.adapter must be all, or such as last 4; got 'first 2'."),
        ({"towers": []}, "must name one at least; leave them out for all."),
        ({"towers": ["image", "image"]}, "towers of model.adapter must name each one once; got image, image."),
        ({"layers": ["mlp", "mlp"]}, "layers of model.adapter must name each one once; got mlp, mlp."),
    ],
)
def test_what_no_model_could_have_is_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        LoRA(**options)  # type: ignore[arg-type]
