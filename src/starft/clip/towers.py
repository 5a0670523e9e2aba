"""The parts of a model's two towers: freezing some of them, encoding a few rows at a time, compiling."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from open_clip.hf_model import HFTextEncoder
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import Attention, VisionTransformer
from timm.models import group_parameters
from torch import nn

from starft.clip.encoder import ClipEncoder, text_tower_of
from starft.clip.recomputing import mixes_images
from starft.errors import ConfigError

Part = nn.Module | nn.Parameter
STEM = 1
"""How many of a tower's parts come before its blocks."""


def check_blocks(name: str, model: nn.Module) -> None:
    """Refuse a kind of block that open_clip builds and can't compute.

    Args:
        name: Of the model.
        model: As it was built.

    Raises:
        ConfigError: It has scaled cosine attention, which multiplies three-dimensional tensors and is given others.
    """
    if any(isinstance(part, Attention) and part.scaled_cosine for part in model.modules()):
        raise ConfigError(
            f"The model {name} asks for scaled cosine attention, which open_clip builds and can't compute; "
            "set scaled_cosine_attn to false in its config, or qk_norm to true instead."
        )


def freeze_unread(model: Any) -> None:
    """Freeze what no loss of ours reads, so that no process waits for its gradient: SigLIP's bias, CoCa's decoder.

    A bias that all logits share drops out of every softmax, and all losses here are softmax ones.

    Args:
        model: Any open_clip model.
    """
    for part in (getattr(model, "logit_bias", None), getattr(model, "text_decoder", None)):
        if part is not None:
            part.requires_grad_(False)


def freeze(
    model: Any, text_tower: bool = False, image_tower: bool = False, text_blocks: int = 0, image_blocks: int = 0
) -> None:
    """Freeze one tower with its projection, or the first blocks of one and all before them.

    A block is a residual block, or what timm lists as one layer of its model.

    Args:
        model: Any open_clip model.
        text_tower: The whole text tower.
        image_tower: The whole image tower.
        text_blocks: How many blocks of the text tower.
        image_blocks: How many blocks of the image tower.

    Raises:
        ConfigError: There are fewer blocks.
    """
    text = text_tower_of(model)
    if text_tower:
        names = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection")
        _freeze([text] if text is not model else [getattr(model, name) for name in names])
    if image_tower:
        _freeze([model.visual])
    if text_blocks:
        _freeze_first("freeze_text_blocks", "text tower", _text_parts(text), text_blocks)
    if image_blocks:
        parts, beside = _image_parts(model.visual), _beside_blocks(model.visual)
        _freeze_first("freeze_image_blocks", "image tower", parts, image_blocks, beside)


def tower_layers(model: Any, behind: bool = True) -> list[list[list[Part]]]:
    """Return the layers of both towers: the stem or the embeddings, then the blocks; a part may be None.

    Args:
        model: Any open_clip model.
        behind: Return what timm lists behind an image tower's blocks, such as its pooling, as layers too.

    Raises:
        ConfigError: The blocks of a tower aren't known.
    """
    image_layers = _image_parts if behind else _image_layers_to_last_block
    return [image_layers(model.visual), _text_parts(text_tower_of(model))]


def before_last_blocks(model: Any, tower: str, count: int) -> Iterator[nn.Parameter]:
    """Yield the weights of a tower's stem and of all but its last blocks; what timm lists behind these is none.

    Args:
        model: Any open_clip model.
        tower: ``image`` or ``text``.
        count: How many blocks are the last ones.

    Raises:
        ConfigError: There are fewer blocks.
    """
    parts = _image_layers_to_last_block(model.visual) if tower == "image" else _text_parts(text_tower_of(model))
    blocks = len(parts) - STEM
    if count > blocks:
        raise ConfigError(
            f"blocks of model.adapter is last {count}, and the {tower} tower has {blocks} blocks; give all, or fewer."
        )
    for part in (part for listed in parts[: STEM + blocks - count] for part in listed):
        if part is not None:
            yield from [part] if isinstance(part, nn.Parameter) else part.parameters()


def encode_in_chunks(encoders: Sequence[ClipEncoder], size: int | None) -> None:
    """Let images and captions go through the towers a few at a time; loss and gradients stay those of the whole batch.

    Args:
        encoders: Student and teachers.
        size: How many at a time; None for all.

    Raises:
        ConfigError: The size is below 1, or a tower in training mixes the images of a batch.
    """
    if size is None:
        return
    if size < 1:
        raise ConfigError(f"micro_batch_size must be at least 1, or null for the whole batch; got {size}.")
    if any(mixes_images(part) for encoder in encoders for part in _trained_parts(encoder)):
        raise ConfigError(
            "micro_batch_size can't give the gradients of the whole batch where batch norms are trained, as in CLIP's "
            "ResNets; set it to null, or freeze_image_tower to true, or give a model_name such as ViT-B-16."
        )
    for encoder in encoders:
        encoder.micro_batch_size = size


def _trained_parts(encoder: ClipEncoder) -> list[nn.Module]:
    """Return the parts that are in training mode while the encoder is trained."""
    modes = [(part, part.training) for part in encoder.modules()]
    encoder.train()
    parts = [part for part, _ in modes if part.training]
    for part, mode in modes:
        part.training = mode
    return parts


def compile_towers(model: Any) -> None:
    """Compile both towers in place, when they are first used; names of weights stay as they are.

    Args:
        model: Any open_clip model.
    """
    text = text_tower_of(model)
    model.visual.compile()
    (text if isinstance(text, HFTextEncoder) else text.transformer).compile()


def _freeze(parts: Sequence[Part | None]) -> None:
    for part in parts:
        if part is not None:
            part.requires_grad_(False)


def _freeze_first(
    argument: str, tower: str, parts: Sequence[Sequence[Part]], count: int, beside: Sequence[str] = ()
) -> None:
    blocks = len(parts) - STEM
    if not 0 < count <= blocks:
        last = f" The last of these {'is' if len(beside) == 1 else 'are'} no block but {', '.join(beside)}."
        raise ConfigError(
            f"{argument} must lie in 0..{blocks}, the blocks of this {tower}; got {count}.{last if beside else ''}"
        )
    for part in parts[: STEM + count]:
        _freeze(part)


def _image_parts(visual: Any) -> list[list[Part]]:
    """Return the stem, then the blocks; the last norm comes with timm's last block, and isn't listed in the others."""
    if isinstance(visual, VisionTransformer):
        stem = [visual.conv1, visual.class_embedding, visual.positional_embedding, visual.ln_pre]
        return [stem, *([block] for block in visual.transformer.resblocks)]
    if isinstance(visual, ModifiedResNet):
        stem = [visual.conv1, visual.bn1, visual.conv2, visual.bn2, visual.conv3, visual.bn3]
        stages = (visual.layer1, visual.layer2, visual.layer3, visual.layer4)
        return [stem, *([block] for stage in stages for block in stage)]
    if not isinstance(visual, TimmModel) or not hasattr(visual.trunk, "group_matcher"):
        raise ConfigError(
            f"Blocks of {type(visual).__name__} aren't known; set freeze_image_blocks to 0 and layer_decay to 1."
        )
    layers = group_parameters(visual.trunk, visual.trunk.group_matcher())
    return [[visual.trunk.get_parameter(name) for name in layers[layer]] for layer in sorted(layers)]


def _beside_blocks(visual: Any) -> list[str]:
    """Return what timm lists behind an image tower's blocks, such as its pooling, norm or head; empty for others."""
    if not isinstance(visual, TimmModel):
        return []
    layers = group_parameters(visual.trunk, visual.trunk.group_matcher())
    behind = [layers[layer] for layer in sorted(layers)[STEM:]]
    numbered = [any(re.match(r"\w+\.\d+\.", name) for name in names) for names in behind]
    return [
        "/".join(dict.fromkeys(name.partition(".")[0] for name in names))
        for names, is_block in zip(behind, numbered, strict=True)
        if not is_block
    ]


def _image_layers_to_last_block(visual: Any) -> list[list[Part]]:
    """Return an image tower's stem and its blocks, without what timm lists behind these."""
    parts = _image_parts(visual)
    return parts[: len(parts) - len(_beside_blocks(visual))]


def _text_parts(text: Any) -> list[list[Part]]:
    """Return the embeddings, then the blocks; what comes behind the last block isn't listed."""
    if isinstance(text, HFTextEncoder):
        transformer = text.transformer
        encoder = getattr(transformer, "encoder", transformer)
        stem, blocks = (
            next((getattr(owner, name) for name in names if hasattr(owner, name)), None)
            for owner, names in ((transformer, ("embeddings", "embed_tokens")), (encoder, ("layer", "layers", "block")))
        )
        if stem is None or blocks is None:
            raise ConfigError(
                f"Blocks of {type(transformer).__name__} aren't known; "
                "set freeze_text_blocks to 0 and layer_decay to 1."
            )
        return [[stem], *([block] for block in blocks)]
    stem = [text.token_embedding, text.positional_embedding]
    if getattr(text, "cls_emb", None) is not None:
        stem.append(text.cls_emb)
    return [stem, *([block] for block in text.transformer.resblocks)]
