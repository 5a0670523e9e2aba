"""What must hold of any model: ours is open_clip's own, by features, gradients, frozen parts, memory and exports."""

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import onnxruntime
import open_clip
import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

import plain_lora
from starft.clip import ClipEncoder, checkpoint_activations, encode_in_chunks, freeze, image_preprocessing
from starft.clip.lora import LoRA
from starft.errors import ConfigError
from starft.exporting.formats import write_about, write_open_clip
from starft.exporting.hugging_face import check_hugging_face, write_hugging_face
from starft.exporting.onnx_file import FILE, write_onnx
from starft.inference.classifier import Classifier, load
from starft.runs.checkpoint_files import WholeCheckpointIO
from starft.training.module import FinetuneModule

CAPTIONS = [
    "a photo of a duck on the lake at night .",
    "a photo of a duck in the city .",
    "a gull .",
    "crow",
    "a " * 99,
]
CLOSE = 1e-6
"""How far two tensors of double precision may differ, relative to their norm; some layers round to single inside."""
NAMES = ("duck", "gull")

Gradients = dict[str, Tensor]


def assert_close(ours: Tensor, theirs: Tensor, what: str, close: float = CLOSE, floor: float = 1e-9) -> None:
    ours, theirs = ours.detach(), theirs.detach()
    off = float((ours - theirs).norm())
    assert off <= close * float(theirs.norm()) + floor, f"{what} is off by {off:.1e} of {float(theirs.norm()):.1e}"


def copy_of(clip: ClipEncoder) -> ClipEncoder:
    """Copy the model; a tokenizer has parts by the hundred thousand, and is never changed."""
    return ClipEncoder(deepcopy(clip.model), clip.tokenize, clip.trim)


def pictures(clip: ClipEncoder) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    size = image_preprocessing(clip.model).size
    return torch.randn(3, 3, *size, generator=generator).to(clip.model.logit_scale.dtype)


def plain_features(clip: ClipEncoder) -> tuple[Tensor, Tensor]:
    """Encode by open_clip's own methods."""
    model = clip.model
    tokens = clip.tokenize(CAPTIONS)
    return F.normalize(model.encode_image(pictures(clip)), dim=-1), F.normalize(model.encode_text(tokens), dim=-1)


def our_features(clip: ClipEncoder) -> tuple[Tensor, Tensor]:
    return clip.encode_image(pictures(clip)), clip.encode_text(CAPTIONS)


def gradients(clip: ClipEncoder, features: tuple[Tensor, Tensor]) -> Gradients:
    """Go back from a loss that reads every entry of the features."""
    clip.zero_grad()
    generator = torch.Generator().manual_seed(2)
    loss = sum((part * torch.randn(part.shape, generator=generator).to(part)).sum() for part in features)
    loss.backward()  # type: ignore[union-attr]
    return {name: p.grad.clone() for name, p in clip.model.named_parameters() if p.grad is not None}


def assert_same_gradients(ours: Gradients, theirs: Gradients, what: str) -> None:
    assert ours.keys() == theirs.keys(), f"{what}: {sorted(ours.keys() ^ theirs.keys())[:3]} has a gradient on one side"
    scale = max(float(value.norm()) for value in theirs.values())
    for name, value in theirs.items():
        assert_close(ours[name], value, f"{what}: the gradient of {name}", floor=1e-9 * scale)


def check_features_and_gradients(clip: ClipEncoder) -> str:
    ours, theirs = our_features(clip), plain_features(clip)
    for kind, one, other in zip(("image", "text"), ours, theirs, strict=True):
        assert_close(one, other, f"the {kind} features")
        # after training, before, or by a chance of weights: features that are all alike would hide everything
        assert float((other[0] - other[1]).detach().norm()) > 1e-6, f"the {kind} features are all alike"
    assert_same_gradients(gradients(clip, ours), gradients(clip, theirs), "trimmed")
    return "features and gradients are open_clip's"


def check_micro_batches(clip: ClipEncoder) -> str:
    whole = gradients(clip, our_features(clip))
    chunked = ClipEncoder(clip.model, clip.tokenize, clip.trim)
    try:
        encode_in_chunks([chunked], 2)
    except ConfigError:
        assert any(isinstance(part, _BatchNorm) for part in clip.modules()), "refused without a batch norm"
        return "micro batches refused: batch norms"
    assert not any(isinstance(part, _BatchNorm) for part in clip.modules())
    assert_same_gradients(gradients(chunked.eval(), our_features(chunked)), whole, "in micro batches")
    return "gradients in micro batches"


def check_freezing(clip: ClipEncoder) -> str:
    whole = gradients(clip, our_features(clip))
    some = copy_of(clip)
    freeze(some.model, text_blocks=1, image_blocks=1)
    frozen = {name for name, p in some.model.named_parameters() if not p.requires_grad}
    for tower in ("visual.", ""):
        of_tower = [name for name in frozen if name.startswith(tower) and (tower or not name.startswith("visual."))]
        blocks = _by_block([n for n, _ in some.model.named_parameters() if n.startswith("visual.") == bool(tower)])
        assert of_tower, f"nothing of {tower or 'the text tower'} is frozen"
        if blocks:
            first, last = blocks[min(blocks)], blocks[max(blocks)]
            assert set(first) <= frozen, f"{sorted(set(first) - frozen)[:2]} of the first block isn't frozen"
            assert not set(last) & frozen, f"{sorted(set(last) & frozen)[:2]} of the last block is frozen"
    left = gradients(some, our_features(some))
    expected = {name: value for name, value in whole.items() if name not in frozen}
    assert_same_gradients(left, expected, "behind frozen blocks")
    for option in ("text_blocks", "image_blocks"):
        try:
            freeze(some.model, **{option: 999})
        except ConfigError:
            continue
        raise AssertionError(f"999 {option} were frozen")
    return "frozen blocks"


def _by_block(names: list[str]) -> dict[tuple[int, ...], list[str]]:
    """Return names of weights by the numbers of their block, of the list of blocks that comes last in a tower."""
    blocks: dict[tuple[int, ...], list[str]] = {}
    for name in names:
        if any(part in name for part in ("text_decoder", "attn_pool", "patch_embed")):
            continue
        if match := re.search(r"(?:resblocks|blocks|layers?|block|stages)\.(\d+)(?:\.blocks\.(\d+))?\.", name):
            blocks.setdefault(tuple(int(number) for number in match.groups() if number), []).append(name)
    return blocks if len(blocks) > 1 else {}


def check_recomputing(clip: ClipEncoder) -> str:
    plain, recomputing = copy_of(clip), copy_of(clip)
    try:
        checkpoint_activations(recomputing.model)
    except ConfigError:
        assert "ResNet" in type(clip.model.visual).__name__, "only CLIP's ResNets are refused"
        return "recomputing refused: CLIP's ResNets"
    calls: dict[str, int] = {}
    for name, part in recomputing.model.named_modules():
        if not isinstance(part, nn.Identity):
            part.register_forward_pre_hook(lambda *_, name=name: calls.__setitem__(name, calls.get(name, 0) + 1))
    sides = []
    for some in (plain, recomputing):
        some.train()
        torch.manual_seed(3)
        sides.append((gradients(some, our_features(some)), dict(some.model.named_buffers())))
    (whole, kept), (again, buffers) = sides
    assert max(count for name, count in calls.items() if name.startswith("visual")) > 1, "no image block was repeated"
    assert_same_gradients(again, whole, "recomputed")
    for name, value in kept.items():
        assert torch.equal(buffers[name], value), f"recomputed: the statistics {name} differ"
    return "recomputed activations"


def check_checkpoint(module: FinetuneModule, folder: Path) -> tuple[Classifier, str]:
    """Write a checkpoint and load it; return what was loaded."""
    path = folder / "last.ckpt"
    checkpoint: dict[str, Any] = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams)}
    module.on_save_checkpoint(checkpoint)
    WholeCheckpointIO().save_checkpoint(checkpoint, path)
    clip = module.clip.eval()
    model = load(path, "cpu")
    assert torch.equal(model.clip.tokenize(CAPTIONS), clip.tokenize(CAPTIONS)), "another tokenizer"
    with torch.no_grad():
        for kind, one, other in zip(("image", "text"), our_features(model.clip), plain_features(clip), strict=True):
            assert_close(one, other, f"loaded: the {kind} features", 1e-5, 1e-6)
    assert model.preprocessing == image_preprocessing(clip.model)
    return model, "checkpoints are loaded as they were"


@torch.no_grad()
def check_open_clip_export(model: Classifier, folder: Path) -> str:
    folder.mkdir()
    write_open_clip(model, folder)
    write_about(model, folder, "open_clip")
    name = f"local-dir:{folder}"
    theirs = open_clip.create_model(name).eval()
    tokens = open_clip.get_tokenizer(name)(CAPTIONS)
    assert torch.equal(tokens, model.clip.tokenize(CAPTIONS)), "open_clip: another tokenizer"
    theirs_as_ours = ClipEncoder(theirs, open_clip.get_tokenizer(name))
    again = load(folder, "cpu").clip
    state, features = model.clip.model.state_dict(), plain_features(model.clip)
    for what, clip in (("open_clip", theirs_as_ours), ("starft", again)):
        read = clip.model.state_dict()
        assert read.keys() == state.keys()
        assert [name for name in state if not torch.equal(read[name], state[name])] == [], f"{what} reads other weights"
        for one, other in zip(plain_features(clip), features, strict=True):
            # where weights lie in memory moves the last digits on some processors
            assert_close(one, other, f"{what}: the features of the export", 1e-5, 1e-6)
    return "exports for open_clip"


@torch.no_grad()
def check_hugging_face_export(model: Classifier, folder: Path) -> str:
    try:
        check_hugging_face(model)
    except ConfigError:
        return "exports for transformers refused"
    write_hugging_face(model, folder)
    theirs = transformers.CLIPModel.from_pretrained(folder).eval()
    said = theirs(input_ids=model.clip.tokenize(CAPTIONS), pixel_values=pictures(model.clip))
    image, text = plain_features(model.clip)
    assert_close(said.image_embeds, image, "transformers: the image features", 1e-5)
    assert_close(said.text_embeds, text, "transformers: the text features", 1e-5)
    own = model.clip.model.get_logits(pictures(model.clip), model.clip.tokenize(CAPTIONS))[0]
    assert_close(said.logits_per_image, own, "transformers: the logits", 1e-5)
    return "exports for transformers"


@torch.no_grad()
def check_onnx_export(model: Classifier, folder: Path) -> str:
    folder.mkdir()
    write_onnx(model, folder)
    session = onnxruntime.InferenceSession(folder / FILE, providers=["CPUExecutionProvider"])
    features = torch.from_numpy(session.run(["features"], {"image": pictures(model.clip).numpy()})[0])
    assert_close(features, plain_features(model.clip)[0], "onnxruntime: the image features", 1e-4)
    return "exports for onnxruntime"


def check_adapters(clip: ClipEncoder) -> str:
    """Updates of low rank in every layer that has them: features and gradients are those of merged weights."""
    lora = LoRA(rank=2, alpha=3)
    student = plain_lora.adapted(clip, lora)
    plain = plain_lora.merged(clip, student, lora)
    features, expected = our_features(student), plain_features(plain)
    for ours, theirs in zip(features, expected, strict=True):
        assert_close(ours, theirs, "adapters: features")
    found = gradients(student, features)
    gradients(plain, expected)
    scale = max(float(p.grad.norm()) for p in plain.model.parameters() if p.grad is not None)
    wanted = plain_lora.expected_gradients(plain, student, lora)
    for name, (up, down) in wanted.items():
        prefix, _, weight = name.rpartition(".")
        for part, theirs in (("up", up), ("down", down)):
            key = f"{prefix}.lora.{weight}.{part}"
            assert key in found, f"adapters: {key} gets no gradient"
            assert_close(found[key], theirs, f"adapters: the gradient of {key}", floor=1e-9 * scale)
    return f"adapters: {len(wanted)} weights"
