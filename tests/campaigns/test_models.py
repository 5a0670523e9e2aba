"""Every model config that open_clip lists, made small and filled with random weights, against open_clip's own code.

Run by ``make test-models``. Errors that are planted into the code under test must be found.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from campaigns import model_checks as checks
from campaigns.small_models import fill, small_config, small_towers
from starft.clip import ClipEncoder, build_clip, encoder, last_block, packing, recomputing, towers
from starft.errors import WeightsError
from starft.exporting import hugging_face
from starft.training.module import FinetuneModule

MODELS = open_clip.list_models()
ONNX = (
    *("ViT-B-32", "RN50", "convnext_base", "EVA02-B-16", "MobileCLIP-S1", "MobileCLIP2-S3", "MobileCLIP-B"),
    *("swin_base_patch4_window7_224", "ViTamin-S", "ViT-B-16-SigLIP", "PE-Core-T-16-384", "coca_ViT-B-32"),
    *("vit_medium_patch16_gap_256", "vit_relpos_medium_patch16_cls_224", "ViT-H-14-CLIPA"),
)
"""One model of each kind of image tower: an ONNX file takes as long as all else together."""


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    with small_towers():
        yield


def module_of(name: str, folder: Path) -> FinetuneModule:
    """Build the training module of a small model whose weights are all filled."""
    torch.manual_seed(0)
    module = FinetuneModule(model_name=str(small_config(name, folder)), pretrained=None)
    fill(module.clip.model)
    module.describe(checks.NAMES, ("a photo of a {}.",))
    module.clip.model.requires_grad_(True)
    return module


def double(module: FinetuneModule) -> ClipEncoder:
    return module.clip.double().eval()


@pytest.mark.parametrize("name", MODELS)
def test_model(name: str, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    module = module_of(name, tmp_path)
    model, result = checks.check_checkpoint(module, tmp_path)
    results = [result]
    results.append(checks.check_open_clip_export(model, tmp_path / "open_clip"))
    results.append(checks.check_hugging_face_export(model, tmp_path / "hf"))
    if name in ONNX:
        results.append(checks.check_onnx_export(model, tmp_path / "onnx"))
    clip = double(module)
    results.append(checks.check_features_and_gradients(clip))
    results.append(checks.check_micro_batches(clip))
    results.append(checks.check_freezing(clip))
    results.append(checks.check_recomputing(clip))
    results.append(checks.check_adapters(clip))
    for line in results:
        record_property("check", line)


def test_the_list_is_whole() -> None:
    assert len(MODELS) >= 144
    assert set(ONNX) <= set(MODELS)


# Errors that are planted

Patch = pytest.MonkeyPatch


def pool_the_token_before(patch: Patch) -> None:
    pooled = encoder._pooled
    patch.setattr(encoder, "_pooled", lambda tower, tokens: pooled(tower, tokens) - 1)


def shift_positions(patch: Patch) -> None:
    pack = packing.pack

    def shifted(*given: Any) -> Any:
        packed = pack(*given)
        later = (packed.positions + 1).clamp(max=int(packed.positions.max()))
        return packing.Packed(packed.tokens, later, packed.visible, packed.rows, packed.columns)

    patch.setattr(encoder, "pack", shifted)


def share_a_token_too_many(patch: Patch) -> None:
    shared = packing._shared
    patch.setattr(packing, "_shared", lambda text, other: min(shared(text, other) + bool(other), len(text) - 1))


def cut_the_last_patch(patch: Patch) -> None:
    attention = last_block._class_token_attention
    patch.setattr(last_block, "_class_token_attention", lambda part, x: attention(part, x[:, :-1]))


def drop_a_bias(patch: Patch) -> None:
    attention = last_block._class_token_attention

    def unbiased(part: Any, x: Any) -> Any:
        width = part.embed_dim
        bias = part.in_proj_bias
        del part._parameters["in_proj_bias"]
        part.in_proj_bias = torch.cat([bias[: 2 * width], torch.zeros_like(bias[2 * width :])])
        answer = attention(part, x)
        del part.in_proj_bias
        part.in_proj_bias = bias
        return answer

    patch.setattr(last_block, "_class_token_attention", unbiased)


def update_statistics_twice(patch: Patch) -> None:
    patch.setattr(recomputing, "_keep", lambda part, inputs: None)


def freeze_a_block_too_few(patch: Patch) -> None:
    patch.setattr(towers, "STEM", 0)


def leave_a_micro_batch_out(patch: Patch) -> None:
    def chunked(self: Any, encode: Any, rows: Any) -> Any:
        size = self.micro_batch_size
        return encode(rows) if size is None else torch.cat([encode(rows[:size]), encode(rows[size:]).detach()])

    patch.setattr(ClipEncoder, "_in_chunks", chunked)


def write_another_activation(patch: Patch) -> None:
    patch.setattr(hugging_face, "_activation", lambda act: "gelu_pytorch_tanh")


def write_weights_in_half(patch: Patch) -> None:
    plain = checks.write_open_clip.__globals__["_plain"]
    patch.setitem(
        checks.write_open_clip.__globals__,
        "_plain",
        lambda state: {name: value.half().to(value.dtype) for name, value in plain(state).items()},
    )


PLANTED: list[tuple[Callable[[Patch], None], str]] = [
    (pool_the_token_before, "ViT-B-32"),
    (pool_the_token_before, "EVA02-B-16"),
    (shift_positions, "convnext_base"),
    (share_a_token_too_many, "ViT-B-16"),
    (cut_the_last_patch, "ViT-B-32"),
    (drop_a_bias, "ViT-L-14"),
    (update_statistics_twice, "MobileCLIP-S1"),
    (update_statistics_twice, "MobileCLIP2-S2"),
    (freeze_a_block_too_few, "ViT-B-16-SigLIP"),
    (leave_a_micro_batch_out, "EVA02-B-16"),
    (write_another_activation, "ViT-B-32-quickgelu"),
    (write_weights_in_half, "ViTamin-S"),
]
"""What is planted, and into a model that shows it."""


@pytest.mark.parametrize(("plant", "name"), PLANTED, ids=lambda value: getattr(value, "__name__", value))
def test_a_planted_error_is_found(
    plant: Callable[[Patch], None],
    name: str,
    tmp_path: Path,
    monkeypatch: Patch,
    record_property: Callable[[str, object], None],
) -> None:
    with monkeypatch.context() as patch:
        plant(patch)
        with pytest.raises((AssertionError, WeightsError)):
            test_model(name, tmp_path, lambda *_: None)
    record_property("check", "planted errors found")


def test_a_hiera_is_written_for_onnxruntime(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """open_clip lists none, but builds one; its attention has five dimensions."""
    path = small_config("convnext_base", tmp_path)
    text = path.read_text(encoding="utf-8").replace("convnext_base", "hiera_tiny_224")
    own = tmp_path / "hiera-small.json"
    own.write_text(text, encoding="utf-8")
    clip = build_clip(str(own), None)
    fill(clip.model)
    model = checks.Classifier(clip, checks.NAMES, ("a photo of a {}.",), None)
    record_property("check", checks.check_onnx_export(model, tmp_path / "onnx"))
