"""Weights into a model: nothing is resized, left out or left as it was without a word."""

import math
import pickle
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip.factory
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed, resize_text_pos_embed
from torch import Tensor, nn

from starft.clip.encoder import text_tower_of
from starft.clip.hub import why
from starft.clip.weight_files import read_weights
from starft.errors import StarftError, WeightsError
from starft.safe_text import say

IMAGE_POSITIONS = "visual.positional_embedding"
TEXT_POSITIONS = ("positional_embedding", "text.positional_embedding")
POSITION_IDS = "text.transformer.embeddings.position_ids"
"""Held by older weights of transformers; no number that is trained."""

Load = Callable[..., Any]


def load_weights(model: nn.Module, path: Path) -> list[str]:
    """Fill a model with the weights of a file.

    Args:
        model: Any open_clip model.
        path: A weight file, or a folder of transformers.

    Returns:
        What is worth knowing, each a sentence without its period: what was resized, and what wasn't taken.

    Raises:
        WeightsError: They can't be read, or don't fit.
    """
    try:
        if path.suffix in (".npz", ".npy"):  # of big_vision, SigLIP's own
            open_clip.factory.load_checkpoint(model, str(path))
            return []
        state, notes = read_weights(path, model)
        notes += _fit(state, model, path)
        model.load_state_dict(state)
    except StarftError:
        raise
    except Exception as error:  # safetensors, pickle, zip and size errors share no base
        raise WeightsError(f"The weights {path} don't load into this model: {mismatch_message(error)}.") from error
    return notes


@contextmanager
def loading_as_here(notes: list[str]) -> Iterator[None]:
    """Let open_clip load the weights of tags, folders and the hub as `load_weights` does.

    Args:
        notes: Takes what is worth knowing.
    """
    theirs: Load = open_clip.factory.load_checkpoint

    def load(model: nn.Module, checkpoint_path: str, **_: Any) -> None:
        if Path(checkpoint_path).suffix in (".npz", ".npy"):
            theirs(model, checkpoint_path)
        else:
            notes.extend(load_weights(model, Path(checkpoint_path)))

    open_clip.factory.load_checkpoint = load
    try:
        yield
    finally:
        open_clip.factory.load_checkpoint = theirs


def tell(notes: Sequence[str]) -> None:
    """Print what is worth knowing of weights, on stderr; once where several processes load them.

    Args:
        notes: Each a sentence without its period.
    """
    lightning = sys.modules.get("lightning.fabric.utilities.rank_zero")  # captions are read without it
    rank_zero_only = getattr(lightning, "rank_zero_only", None)
    for note in notes if getattr(rank_zero_only, "rank", 0) == 0 else ():
        say(f"Note: {note[0].upper()}{note[1:]}.", file=sys.stderr)


def _fit(state: dict[str, Tensor], model: Any, path: Path) -> list[str]:
    """Change a state in place to suit a model, as open_clip does; return what it did that changes features."""
    state_before = dict(state)
    state.clear()
    state |= convert_state_dict(model, state_before)
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        custom = convert_to_custom_text_state_dict(dict(state))
        state.clear()
        state |= custom
    for name in ("logit_scale", "logit_bias"):
        mine: Tensor | None = getattr(model, name, None)
        if name not in state:
            continue
        if mine is None:
            raise WeightsError(
                f"The weights {path} hold a {name}, as SigLIP's do, and the model has none; give init_logit_bias (such "
                "as -10) in its model config, or the model that they are of."
            )
        if state[name].ndim != mine.ndim:
            state[name] = state[name].reshape(mine.shape)
    notes = []
    if getattr(model, "logit_bias", None) is not None and "logit_bias" not in state:
        state["logit_bias"] = torch.zeros_like(model.logit_bias)
        notes.append(f"the weights {path} hold no logit_bias; the model's is set to 0, which changes no class")
    if POSITION_IDS in state and POSITION_IDS not in model.state_dict():
        del state[POSITION_IDS]
    return notes + _resize(state, model, path)


def _resize(state: dict[str, Tensor], model: Any, path: Path) -> list[str]:
    """Resize positions as open_clip does; return what was resized."""
    notes = []
    before = state.get(IMAGE_POSITIONS)
    resize_pos_embed(state, model)
    if before is not None and len(state[IMAGE_POSITIONS]) != len(before):
        side = math.isqrt(len(before) - 1)
        patch, (height, width) = model.visual.patch_size, model.visual.image_size
        old = f"{side * patch[0]} x {side * patch[1]}"
        notes.append(
            f"the weights {path} are of a model for images of {old} px ({side} x {side} positions) and this one takes "
            f"{height} x {width} px ({height // patch[0]} x {width // patch[1]}): the positions of its image tower are "
            "interpolated, and its numbers aren't those of the weights; set vision_cfg.image_size to "
            f"{side * patch[0]}, or tune it"
        )
    text = next((name for name in TEXT_POSITIONS if name in state), None)
    if text is None or not hasattr(text_tower_of(model), "positional_embedding"):
        return notes
    old_count = len(state[text])
    resize_text_pos_embed(state, model)
    if (count := len(state[text])) != old_count:
        notes.append(
            f"the weights {path} are of a model for captions of {old_count} tokens and this one takes {count}: the "
            "positions of its text tower are interpolated, and its numbers aren't those of the weights; set "
            f"text_cfg.context_length to {old_count}, or tune it"
        )
    return notes


def mismatch_message(error: Exception) -> str:
    """Return what is wrong with weights: the first key that doesn't fit, or that their file is no such file.

    Args:
        error: As loading them raised it.
    """
    message = str(error)
    if isinstance(error, pickle.UnpicklingError):
        return "it isn't a weight file that can be read safely; give safetensors or a state dict"
    shapes = r"size mismatch for (\S+): .*?torch\.Size\((\[.*?\])\).*?torch\.Size\((\[.*?\])\)"
    if match := re.search(shapes, message):
        return f"{match[1]} is {match[2]} in the file and {match[3]} in the model, so perhaps it is another model's"
    if match := re.search(r"(Missing|Unexpected) key\(s\) in state_dict: \"([^\"]+)\"", message):
        return f"{match[1].lower()} key {match[2]}, so perhaps it is another model's"
    return why(error)
