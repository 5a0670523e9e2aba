"""How a model wants its images: read off the model, not off its name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import open_clip
from open_clip.model import get_model_preprocess_cfg
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from torch import nn

from starft.errors import ConfigError
from starft.files.atomic import load_json
from starft.types import ImagePreprocessing

INTERPOLATIONS = ("bicubic", "bilinear", "nearest")
OPEN_CLIP = "open_clip_config.json"
DESCRIPTIONS = (OPEN_CLIP, "preprocessor_config.json")
"""Files that say how a model's images were prepared, open_clip's and transformers'."""
ROUNDING = 1e-3
"""How far numbers may lie apart that are meant to be one."""
RESIZE_MODES = ("shortest", "longest", "squash")


def image_preprocessing(model: nn.Module) -> ImagePreprocessing:
    """Return the size, normalisation and resizing that a model was trained with.

    Args:
        model: As open_clip built it; its weights' tag or its folder's ``preprocess_cfg`` is noted on it.

    Raises:
        ConfigError: What is noted there can't be used.
    """
    noted: dict[str, Any] = dict(get_model_preprocess_cfg(model))
    try:
        told = PreprocessCfg(**noted)
        size = told.size if isinstance(told.size, Sequence) else (told.size,)
        height, width = size[0], size[-1]
        mean, std = _channels(told.mean), _channels(told.std)
    except (AssertionError, TypeError, ValueError) as error:
        why = str(error) or "mode must be RGB"
        raise ConfigError(f"The model's preprocess_cfg {noted} can't be used: {why}; mend its config.") from error
    for key, value, known in (
        ("interpolation", told.interpolation, INTERPOLATIONS),
        ("resize_mode", told.resize_mode, RESIZE_MODES),
    ):
        if value not in known:
            raise ConfigError(f"{key} of the model's preprocess_cfg must be one of {', '.join(known)}; got {value!r}.")
    return ImagePreprocessing(
        size=(int(height), int(width)),
        mean=mean,
        std=std,
        interpolation=told.interpolation,
        resize_mode=told.resize_mode,
        fill_color=int(told.fill_color),
    )


def shared_preprocessing(name: str) -> dict[str, Any]:
    """Return what all published weights of an architecture agree on; empty where there are none or they differ.

    A local weight file doesn't tell how its images were prepared. SigLIP's models, say, all take the range -1..1.

    Args:
        name: An architecture of open_clip.
    """
    keys = ("mean", "std", "interpolation", "resize_mode")
    tags = open_clip.list_pretrained_tags_by_model(name)
    messages = [merge_preprocess_dict(PreprocessCfg(), open_clip.get_pretrained_cfg(name, tag)) for tag in tags]
    kinds = [{key: cfg[key] for key in keys} for cfg in messages]
    return kinds[0] if kinds and all(kind == kinds[0] for kind in kinds) else {}


def unlike_preprocessing(model: nn.Module, weights: Path) -> list[str]:
    """Return what a description beside weights says of their images that the model does otherwise, as a sentence.

    A weight file alone doesn't tell how its images were normalised; ``preprocessor_config.json`` of transformers and
    ``open_clip_config.json`` do.

    Args:
        model: As it was built.
        weights: Their file, or the folder that they are in.
    """
    folder = weights if weights.is_dir() else weights.parent
    ours = image_preprocessing(model)
    for name in DESCRIPTIONS:
        try:
            described = load_json((folder / name).read_bytes())
            described = described.get("preprocess_cfg", {}) if name == OPEN_CLIP else described
            theirs = [_channels(described.get(key) or described[f"image_{key}"]) for key in ("mean", "std")]
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue
        pairs = zip((*theirs[0], *theirs[1]), (*ours.mean, *ours.std), strict=True)
        if any(abs(pair - other) > ROUNDING for pair, other in pairs):
            return [
                f"the weights {weights} are of a model for images with mean {list(theirs[0])} and std "
                f"{list(theirs[1])} ({name} beside them), and this one takes mean {list(ours.mean)} and std "
                f"{list(ours.std)}: its numbers aren't those of the weights; give the model as local-dir: of a folder "
                f"whose {OPEN_CLIP} has theirs in preprocess_cfg, or tune it"
            ]
    return []


def _channels(values: Any) -> tuple[float, float, float]:
    red, green, blue = values
    return float(red), float(green), float(blue)
