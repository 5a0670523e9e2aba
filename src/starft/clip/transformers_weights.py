"""Weights of transformers' CLIP by the names of open_clip."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from open_clip.transformer import QuickGELU
from torch import Tensor, nn

from starft.errors import WeightsError

PARTS = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.": "visual.conv1.",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.": "visual.ln_pre.",
    "vision_model.post_layernorm.": "visual.ln_post.",
    "vision_model.encoder.layers.": "visual.transformer.resblocks.",
    "text_model.embeddings.token_embedding.": "token_embedding.",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.": "ln_final.",
    "text_model.encoder.layers.": "transformer.resblocks.",
}
"""How a name begins there, and here."""
IN_BLOCK = {
    ".layer_norm1.": ".ln_1.",
    ".layer_norm2.": ".ln_2.",
    ".mlp.fc1.": ".mlp.c_fc.",
    ".mlp.fc2.": ".mlp.c_proj.",
    ".self_attn.out_proj.": ".attn.out_proj.",
}
PROJECTIONS = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}
POSITION_IDS = ".embeddings.position_ids"
"""No numbers that are trained."""


def is_transformers(state: Mapping[str, Tensor]) -> bool:
    """Return whether weights have the names of one of transformers' models with an image or a text tower.

    Args:
        state: Names and tensors.
    """
    return any(name.startswith(("vision_model.", "text_model.")) for name in state)


def from_transformers(path: Path, state: Mapping[str, Tensor], model: nn.Module) -> tuple[dict[str, Tensor], list[str]]:
    """Return weights of transformers' ``CLIPModel`` by open_clip's names, and what is worth knowing of them.

    Args:
        path: Their file; a ``config.json`` beside it tells the activation.
        state: Names and tensors.
        model: What they are for.

    Raises:
        WeightsError: They are another model's of transformers, or the model's activation is another.
    """
    if any(name.startswith("vision_model.head.") for name in state):
        raise WeightsError(
            f"The weights {path} are of SigLIP as transformers has it, which isn't read here; give open_clip's, such "
            "as model_name ViT-B-16-SigLIP with pretrained webli."
        )
    lacking = [name for name in (*PROJECTIONS, "text_model.final_layer_norm.weight") if name not in state]
    if lacking:
        raise WeightsError(
            f"The weights {path} are of transformers, but no whole CLIPModel: {lacking[0]} is missing; give those of "
            "both towers with their projections."
        )
    made: dict[str, Tensor] = {}
    joined: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        if name.endswith(POSITION_IDS):
            continue
        if name in PROJECTIONS:
            made[PROJECTIONS[name]] = tensor.T.contiguous()
            continue
        start = next((start for start in PARTS if name.startswith(start)), "")
        new = PARTS.get(start, "") + name.removeprefix(start)
        before, attention, behind = new.partition(".self_attn.")
        if attention and behind[:7] in ("q_proj.", "k_proj.", "v_proj."):
            joined.setdefault(f"{before}.attn.in_proj_{behind[7:]}", {})[behind[0]] = tensor
            continue
        for theirs, ours in IN_BLOCK.items():
            new = new.replace(theirs, ours)
        made[new] = tensor
    made |= {name: torch.cat([parts[item] for item in "qkv"]) for name, parts in joined.items()}
    return made, _check_activation(path, model)


def _check_activation(path: Path, model: nn.Module) -> list[str]:
    """Refuse weights of another activation than the model's; note it where their file doesn't tell."""
    quick = any(isinstance(part, QuickGELU) for part in model.modules())
    ours = "quick_gelu" if quick else "gelu"
    theirs = _activation(path.parent / "config.json")
    if theirs is None:
        return [
            f"the weights {path} are of transformers' CLIP without its config.json, which tells the activation; the "
            f"model's is {ours}, and OpenAI's weights want quick_gelu"
        ]
    if theirs != ours:
        other = "doesn't end" if quick else "ends"
        raise WeightsError(
            f"The weights {path} want the activation {theirs}, and the model has {ours}; give a model_name that "
            f"{other} in -quickgelu, or set quick_gelu in its model config."
        )
    return []


def _activation(config: Path) -> str | None:
    try:
        value = json.loads(config.read_text(encoding="utf-8"))
        part = value.get("vision_config") or {}
        return str(part.get("hidden_act", "quick_gelu"))  # what transformers takes where nothing is said
    except (OSError, ValueError, AttributeError):
        return None
