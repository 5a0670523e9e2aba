"""Build a model again from what its checkpoint or export says of it, without the names and weights it came from."""

import json
import logging
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import open_clip
from open_clip.model import get_model_preprocess_cfg
from open_clip.tokenizer import HFTokenizer
from torch import Tensor, nn

from starft.clip.encoder import ClipEncoder, Tokenize
from starft.clip.hub import LOCAL, OFFLINE, asked_once, check_extra, needs_hub, why
from starft.clip.names import FOLDER_CONFIG
from starft.errors import StarftError, WeightsError


def folder_config(name: str, model_cfg: Mapping[str, Any], model: nn.Module, quick_gelu: bool) -> dict[str, Any]:
    """Return what builds a model again, the content of an ``open_clip_config.json``.

    Args:
        name: As open_clip takes it.
        model_cfg: Its config there.
        model: As it was built by that name.
        quick_gelu: Whether the weights asked for the quick GELU, whatever the architecture says.
    """
    config = {"model_cfg": model_cfg, "preprocess_cfg": get_model_preprocess_cfg(model)}
    plain: dict[str, Any] = json.loads(json.dumps(config))  # a copy, and tuples become lists
    if quick_gelu:
        plain["model_cfg"]["quick_gelu"] = True
    text = plain["model_cfg"]["text_cfg"]
    if name.startswith(LOCAL) and text.get("hf_tokenizer_name"):  # open_clip takes the folder's own
        text["hf_tokenizer_name"] = str(Path(name.removeprefix(LOCAL)).resolve())
    return plain


def rebuild_clip(config: Mapping[str, Any], state: Mapping[str, Tensor], tokens: Path | None = None) -> ClipEncoder:
    """Build a CLIP model with its tokenizer and fill it with weights, in eval mode on the CPU.

    Args:
        config: As `folder_config` returns it.
        state: The model's weights, by open_clip's names.
        tokens: Folder of the tokenizer of transformers, where the model has one and it lies beside the weights.

    Raises:
        ConfigError: The model needs an extra that isn't installed.
        WeightsError: Config and weights don't belong together, or its tokenizer can't be had.
    """
    model_cfg = dict(config["model_cfg"])
    check_extra("this model", model_cfg)
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.CRITICAL)  # open_clip warns of weights that it doesn't find; they come below
    try:
        with TemporaryDirectory() as folder, asked_once(tokens is None and needs_hub("", None, model_cfg)):
            (Path(folder) / FOLDER_CONFIG).write_text(json.dumps(config), encoding="utf-8")
            name = f"{LOCAL}{folder}"
            model: nn.Module = open_clip.create_model(name, load_weights=False, pretrained_text=False)
            tokenize = _tokenizer(name, model_cfg["text_cfg"], tokens)
    except StarftError:
        raise
    except Exception as error:  # as in `build_clip`: the hub's files, configs and weights share no base
        raise WeightsError(f"The model can't be built from its own description: {why(error)}. {OFFLINE}") from error
    finally:
        root.setLevel(level)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"The weights don't fit their own description: {unfit(error)}") from error
    model.eval()
    return ClipEncoder(model, tokenize, config=config)


def _tokenizer(name: str, text: Mapping[str, Any], tokens: Path | None) -> Tokenize:
    source = text.get("hf_tokenizer_name")
    if not source:
        own: Tokenize = open_clip.get_tokenizer(name)
        return own
    made: Tokenize = HFTokenizer(
        str(tokens or source),
        context_length=text.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH),
        tokenizer_mode=text.get("tokenizer_mode"),
        **text.get("tokenizer_kwargs", {}),
    )
    return made


def unfit(error: Exception) -> str:
    """Return what is wrong with weights: the first key that doesn't fit, or that their file is no such file.

    Args:
        error: As loading them raised it.
    """
    told = str(error)
    if isinstance(error, pickle.UnpicklingError):
        return "it isn't a weight file that can be read safely; give safetensors or a state dict"
    shapes = r"size mismatch for (\S+): .*?torch\.Size\((\[.*?\])\).*?torch\.Size\((\[.*?\])\)"
    if match := re.search(shapes, told):
        return f"{match[1]} is {match[2]} in the file and {match[3]} in the model; is it another model's?"
    if match := re.search(r"(Missing|Unexpected) key\(s\) in state_dict: \"([^\"]+)\"", told):
        return f"{match[1].lower()} key {match[2]}; is it another model's?"
    return why(error)
