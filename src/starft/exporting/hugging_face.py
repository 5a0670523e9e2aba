"""A ViT CLIP of open_clip as `transformers.CLIPModel`, with its processor."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer, get_clean_fn
from open_clip.transformer import QuickGELU, ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from starft.errors import ConfigError, WeightsError
from starft.inference.classifier import Classifier

END = 49407
"""Id of the end token, the highest of CLIP's vocabulary."""
NAMED = {END - 1: "<|startoftext|>", END: "<|endoftext|>"}
"""What transformers calls start and end."""
TOLERANCE = 1e-8
"""How far unit features may differ in double precision before the export is refused; rounding stays far below."""
CLEAN = get_clean_fn("lower")
"""How the captions of CLIP are cleaned."""


def check_hugging_face(model: Classifier) -> None:
    """Refuse a model that `transformers.CLIPModel` can't hold.

    Args:
        model: What is to be exported.

    Raises:
        ConfigError: It is of another architecture, or transformers isn't installed.
    """
    if find_spec("transformers") is None:
        raise ConfigError("The format hf needs transformers; install it with `pip install 'starft[export]'`.")
    why = _unlike(model.clip.model, model.clip.tokenize)
    if why:
        raise ConfigError(f"transformers has no CLIP with {why}; take the format open_clip or onnx.")
    if model.preprocessing.resize_mode == "longest":
        raise ConfigError("transformers' CLIP processor can't pad images (longest); take the format open_clip or onnx.")


def write_hugging_face(model: Classifier, folder: Path) -> None:
    """Write config, weights, tokenizer and image processor as transformers reads them.

    Args:
        model: Accepted by `check_hugging_face`; on the CPU.
        folder: Where.

    Raises:
        WeightsError: The export doesn't give the same features.
    """
    import transformers  # noqa: PLC0415  # an extra

    clip: Any = model.clip.model
    made: Any = transformers.CLIPModel(_config(transformers, clip))
    made.load_state_dict(_state(clip))
    made.eval()
    _compare(model, made)
    with _no_bar(transformers.utils.logging):
        made.save_pretrained(folder)
    tokenizer: Any = model.clip.tokenize  # of `SimpleTokenizer`, checked before
    vocabulary = {NAMED.get(number, word): number for word, number in tokenizer.encoder.items()}
    merges: Any = list(tokenizer.bpe_ranks)  # pairs, as tokenizers takes them
    transformers.CLIPTokenizer(
        vocab=vocabulary, merges=merges, model_max_length=tokenizer.context_length
    ).save_pretrained(folder)
    _processor(transformers, model).save_pretrained(folder)


@contextmanager
def _no_bar(logs: Any) -> Iterator[None]:
    shown = logs.is_progress_bar_enabled()
    logs.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logs.enable_progress_bar()


def _unlike(clip: Any, tokenize: Any) -> str:
    """Return what of a model transformers' CLIP lacks; empty if nothing."""
    if not isinstance(clip, open_clip.CLIP):
        return f"the parts of {type(clip).__name__}"
    return _unlike_image(clip.visual) or _unlike_text(clip, tokenize)


def _unlike_image(visual: Any) -> str:
    if not isinstance(visual, VisionTransformer):
        return f"an image tower of the kind {type(visual).__name__}"
    (height, width), patch = visual.image_size, visual.patch_size
    if height != width or patch[0] != patch[1] or height % patch[0]:
        return f"images of {height} x {width} in patches of {patch[0]} x {patch[1]}: it wants squares that fit"
    if visual.attn_pool is not None or visual.pool_type != "tok" or not isinstance(visual.ln_pre, nn.LayerNorm):
        return "such pooling or norms in the image tower"
    if visual.proj is None:
        return "an image tower without a projection"
    return _unlike_blocks("image", visual.transformer, [visual.ln_pre, visual.ln_post])


def _unlike_text(clip: Any, tokenize: Any) -> str:
    if clip.text_pool_type != "argmax" or clip.attn_mask is None or not isinstance(clip.text_projection, nn.Parameter):
        return "such a text tower"
    if not isinstance(tokenize, SimpleTokenizer) or clip.vocab_size != END + 1:
        return "another vocabulary than CLIP's"
    if tokenize.reduction_fn is not None or tokenize.clean_fn is not CLEAN:
        return "a tokenizer that cleans or shortens captions in another way than CLIP's"
    if clip.logit_bias is not None:
        return "a bias of the logits"
    return _unlike_blocks("text", clip.transformer, [clip.ln_final])


def _unlike_blocks(tower: str, transformer: Any, norms: list[Any]) -> str:
    """Return what transformers' one description for all blocks and norms of a tower doesn't say."""
    blocks = transformer.resblocks
    if any(type(block) is not ResidualAttentionBlock for block in blocks):
        return f"open_clip's custom blocks in the {tower} tower"
    if any(not isinstance(scale, nn.Identity) for block in blocks for scale in (block.ls_1, block.ls_2)):
        return f"layer scale in the {tower} tower"
    if len({norm.eps for norm in norms + [norm for block in blocks for norm in (block.ln_1, block.ln_2)]}) > 1:
        return f"several values of eps in the norms of the {tower} tower"
    acts = {_activation(block.mlp.gelu) for block in blocks}
    return f"such activations in the {tower} tower" if None in acts or len(acts) > 1 else ""


def _activation(act: nn.Module) -> str | None:
    """Return what transformers calls an activation; None for those that it lacks or that are unknown here."""
    if isinstance(act, QuickGELU):
        return "quick_gelu"
    return {"none": "gelu", "tanh": "gelu_pytorch_tanh"}[act.approximate] if type(act) is nn.GELU else None


def _config(transformers: Any, clip: Any) -> Any:
    visual = clip.visual
    image = {
        "image_size": visual.image_size[0],
        "patch_size": visual.patch_size[0],
        **_sizes(visual.transformer),
    }
    text = {
        "vocab_size": clip.vocab_size,
        "max_position_embeddings": clip.context_length,
        "eos_token_id": END,
        "bos_token_id": END - 1,
        "pad_token_id": END,
        **_sizes(clip.transformer),
    }
    width = clip.text_projection.shape[1]
    parts = {"vision_config": image | {"projection_dim": width}, "text_config": text | {"projection_dim": width}}
    return transformers.CLIPConfig(**parts, projection_dim=width)


def _sizes(tower: Any) -> dict[str, Any]:
    first = tower.resblocks[0]
    return {
        "hidden_size": tower.width,
        "num_hidden_layers": len(tower.resblocks),
        "num_attention_heads": first.attn.num_heads,
        "intermediate_size": first.mlp.c_fc.out_features,
        "hidden_act": _activation(first.mlp.gelu),
        "layer_norm_eps": first.ln_1.eps,
    }


def _state(clip: Any) -> dict[str, Tensor]:
    visual = clip.visual
    state = {
        "logit_scale": clip.logit_scale.reshape(()),
        "visual_projection.weight": visual.proj.T,
        "text_projection.weight": clip.text_projection.T,
        "vision_model.embeddings.class_embedding": visual.class_embedding,
        "vision_model.embeddings.patch_embedding.weight": visual.conv1.weight,
        "vision_model.embeddings.position_embedding.weight": visual.positional_embedding,
        "text_model.embeddings.token_embedding.weight": clip.token_embedding.weight,
        "text_model.embeddings.position_embedding.weight": clip.positional_embedding,
    }
    norms = {
        "vision_model.pre_layrnorm": visual.ln_pre,
        "vision_model.post_layernorm": visual.ln_post,
        "text_model.final_layer_norm": clip.ln_final,
    }
    for side, tower in (("vision_model", visual.transformer), ("text_model", clip.transformer)):
        for number, block in enumerate(tower.resblocks):
            at = f"{side}.encoder.layers.{number}"
            norms |= {f"{at}.layer_norm1": block.ln_1, f"{at}.layer_norm2": block.ln_2}
            norms |= {f"{at}.mlp.fc1": block.mlp.c_fc, f"{at}.mlp.fc2": block.mlp.c_proj}
            norms |= {f"{at}.self_attn.out_proj": block.attn.out_proj}
            for kind in ("weight", "bias"):
                parts = getattr(block.attn, f"in_proj_{kind}").chunk(3)
                state |= {f"{at}.self_attn.{name}_proj.{kind}": part for name, part in zip("qkv", parts, strict=True)}
    for name, layer in norms.items():
        state |= {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def _compare(model: Classifier, made: Any) -> None:
    """Refuse an export that isn't the same function: in double precision nothing hides behind rounding."""
    clip: Any = model.clip.model
    pixels = torch.randn(2, 3, *model.preprocessing.size, generator=torch.Generator().manual_seed(0)).double()
    tokens = model.clip.tokenize(["a photo of a duck.", "a", "the lake " * clip.context_length])
    with _in_double(made):
        said = made(input_ids=tokens, pixel_values=pixels)
        theirs = (said.image_embeds, said.text_embeds)
    with _in_double(clip):
        ours = (clip.encode_image(pixels, normalize=True), clip.encode_text(tokens, normalize=True))
    off = max(float((item - other).abs().max()) for item, other in zip(theirs, ours, strict=True))
    if not off <= TOLERANCE:
        raise WeightsError(
            f"transformers' CLIP gives other features than this model (off by {off:.1e}); take open_clip."
        )


@contextmanager
def _in_double(model: nn.Module) -> Iterator[None]:
    """Compute in double precision, without gradients, with weights that are of single precision before and after."""
    model.double()
    try:
        with torch.no_grad():
            yield
    finally:
        model.float()


def _processor(transformers: Any, model: Classifier) -> Any:
    wanted = model.preprocessing
    height, width = wanted.size
    squash = wanted.resize_mode == "squash"
    return transformers.CLIPImageProcessor(
        size={"height": height, "width": width} if squash else {"shortest_edge": min(height, width)},
        do_center_crop=not squash,
        crop_size={"height": height, "width": width},
        resample={"nearest": 0, "bilinear": 2, "bicubic": 3}[wanted.interpolation],
        image_mean=list(wanted.mean),
        image_std=list(wanted.std),
    )
