"""Build a model again from what its checkpoint or export says of it, without the names and weights it came from."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import open_clip.factory
from open_clip.model import get_model_preprocess_cfg
from open_clip.tokenizer import HFTokenizer
from torch import Tensor, nn

from starft.clip.encoder import ClipEncoder, Tokenize
from starft.clip.hub import LOCAL, OFFLINE, asked_once, check_extra, needs_hub, why
from starft.clip.loading import mismatch_message, tell
from starft.clip.model_names import FOLDER_CONFIG, NOTES, VOCABULARY, siglip_vocabulary
from starft.clip.undrawn import Undrawn
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
    if (vocabulary := siglip_vocabulary(name, model_cfg)) is not None:
        plain[VOCABULARY] = vocabulary
    return plain


def export_config(config: Mapping[str, Any], tokenizer_files: bool) -> dict[str, Any]:
    """Return the description of a model for a folder that open_clip reads as ``local-dir:``.

    Args:
        config: As `folder_config` returns it.
        tokenizer_files: Whether the files of a tokenizer of transformers lie in the folder.
    """
    plain: dict[str, Any] = json.loads(json.dumps(config))
    if tokenizer_files and plain.pop(VOCABULARY, None) is not None:
        own = {"hf_tokenizer_name": "timm/ViT-B-16-SigLIP", "tokenizer_kwargs": {"clean": "canonicalize"}}
        plain["model_cfg"]["text_cfg"] |= own  # open_clip takes the folder's files whatever the name
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
            with Undrawn():
                model: nn.Module = open_clip.create_model(name, load_weights=False, pretrained_text=False)
            tokenize = _tokenizer(name, config, tokens)
    except StarftError:
        raise
    except Exception as error:  # as in `build_clip`: the hub's files, configs and weights share no base
        hint = f" {OFFLINE}" if tokens is None and needs_hub("", None, model_cfg) else ""
        raise WeightsError(f"The model can't be built from its own description: {why(error)}.{hint}") from error
    finally:
        root.setLevel(level)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"The weights don't fit their own description: {mismatch_message(error)}.") from error
    model.eval()
    tell(config.get(NOTES, ()))
    return ClipEncoder(model, tokenize, config=config)


def _tokenizer(name: str, config: Mapping[str, Any], tokens: Path | None) -> Tokenize:
    text: Mapping[str, Any] = config["model_cfg"]["text_cfg"]
    context = text.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH)
    source, vocabulary = text.get("hf_tokenizer_name"), config.get(VOCABULARY)
    if source:
        made: Tokenize = HFTokenizer(
            str(tokens or source),
            context_length=context,
            tokenizer_mode=text.get("tokenizer_mode"),
            **text.get("tokenizer_kwargs", {}),
        )
    elif vocabulary is not None:
        made = open_clip.factory.SigLipTokenizer(vocabulary, context_length=context)
    else:
        made = open_clip.get_tokenizer(name)
    return made
