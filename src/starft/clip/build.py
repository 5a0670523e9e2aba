"""Build the CLIP models that open_clip knows, the embedded world's own among them."""

import hashlib
import json
import logging
from pathlib import Path

import open_clip
from open_clip.factory import load_checkpoint
from torch import nn

from starft.clip.encoder import ClipEncoder, Tokenize
from starft.clip.preprocessing import shared_preprocessing
from starft.errors import ConfigError, WeightsError, did_you_mean
from starft.resources import PACKAGE

MINI_MODEL = "starft-mini"
"""Name of the embedded world's model config."""

MINI_TAG = "mini"
"""Tag of its pre-trained weights, which come with the package."""

MINI_FOLDER = PACKAGE / "mini"
SCHEMAS = ("hf-hub:", "local-dir:")


def build_clip(model_name: str, pretrained: str | None, trim: bool = True) -> ClipEncoder:
    """Build a CLIP model with its tokenizer and load its weights, in float32 on the CPU.

    Args:
        model_name: An open_clip architecture, a ``hf-hub:`` or ``local-dir:`` name, or a model config (JSON path).
        pretrained: A tag of open_clip, ``mini`` for the embedded world's weights, a local weight file, or null for
            random weights.
        trim: Cut padding off token rows where the text tower allows it.

    Raises:
        ConfigError: Name or tag doesn't exist.
        WeightsError: The weights are damaged, don't fit, or can't be had.
    """
    name = register_model(model_name)
    quick_gelu = False
    weights: Path | None = None
    if pretrained is not None and not name.startswith(SCHEMAS):
        weights = _local_weights(name, pretrained)
        tag = open_clip.get_pretrained_cfg(name, pretrained)
        quick_gelu = bool(tag.get("quick_gelu", False))
    model, tokenize = _create(name, None if weights is not None else pretrained, quick_gelu)
    if weights is not None:
        _load(model, weights)
    model.eval()
    return ClipEncoder(model, tokenize, trim)


def register_model(model_name: str) -> str:
    """Return the name under which open_clip knows the model, after telling it of a model config file.

    Args:
        model_name: As `build_clip` takes it.

    Raises:
        ConfigError: There is no such model, or its config can't be used.
    """
    if MINI_MODEL not in open_clip.list_models():
        open_clip.add_model_config(MINI_FOLDER / f"{MINI_MODEL}.json")
    if model_name.startswith(SCHEMAS):
        return model_name
    if model_name.endswith(".json"):
        path = Path(model_name)
        try:
            keys = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"The model config {model_name} can't be read: {error}.") from error
        held = keys if isinstance(keys, dict) else {}
        missing = [key for key in ("embed_dim", "vision_cfg", "text_cfg") if key not in held]
        if missing:
            raise ConfigError(f"The model config {model_name} lacks {', '.join(missing)}; see those of open_clip.")
        known = open_clip.get_model_config(path.stem)
        if known is not None and known != keys:
            raise ConfigError(
                f"The model config {model_name} differs from the model {path.stem!r} that is known already, "
                "and models are known by their file's name; rename the file."
            )
        if known is None:
            open_clip.add_model_config(path)
        return path.stem
    if model_name not in open_clip.list_models():
        raise ConfigError(
            f"There is no model {model_name!r}.{did_you_mean(model_name, open_clip.list_models())} "
            "Give an open_clip architecture, hf-hub:ORG/NAME, local-dir:PATH, or a model config (.json)."
        )
    return model_name


def _local_weights(name: str, pretrained: str) -> Path | None:
    """Return the weight file to load ourselves, or null where ``pretrained`` is a tag that open_clip loads."""
    if name == MINI_MODEL and pretrained == MINI_TAG:
        return checked_mini_weights()
    if Path(pretrained).is_file():
        return Path(pretrained)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if open_clip.get_pretrained_cfg(name, pretrained):
        return None
    known = [MINI_TAG] if name == MINI_MODEL else tags
    raise ConfigError(
        f"{pretrained!r} is neither a file nor a tag of weights for {name}.{did_you_mean(pretrained, known)} "
        f"Its tags: {', '.join(known) or 'none'}."
    )


def checked_mini_weights(folder: Path = MINI_FOLDER) -> Path:
    """Return the path of the embedded world's weights after checking them against their checksum.

    Args:
        folder: Where weights and checksum are.

    Raises:
        WeightsError: A file is missing or the weights aren't the ones that were shipped.
    """
    path = folder / f"{MINI_MODEL}.safetensors"
    try:
        words = path.with_suffix(".sha256.txt").read_text(encoding="utf-8", errors="replace").split()
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(f"The embedded world's weights can't be read: {error}. Install starft again.") from error
    expected = words[0] if words else "no checksum"
    if found != expected:
        raise WeightsError(
            f"{path} is damaged: its SHA-256 is {found[:12]}..., expected {expected[:12]}...; install starft again."
        )
    return path


def _create(name: str, pretrained: str | None, quick_gelu: bool) -> tuple[nn.Module, Tokenize]:
    preprocessing = None if pretrained is not None or name.startswith(SCHEMAS) else shared_preprocessing(name)
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.CRITICAL)  # open_clip warns of random weights, which null asks for, and logs what it raises
    try:
        model: nn.Module = open_clip.create_model(
            name,
            pretrained=pretrained,
            force_quick_gelu=quick_gelu,
            force_preprocess_cfg=preprocessing,
            pretrained_text=False,  # null asks for random weights, and a weight file holds both towers
            require_pretrained=pretrained is not None or name.startswith(SCHEMAS),
        )
        return model, open_clip.get_tokenizer(name)
    except Exception as error:  # the network, a hub's files and a person's model config share no base
        raise WeightsError(
            f"The model {name} with weights {pretrained!r} can't be loaded: {_first_line(error)} "
            "Without a network, give pretrained a local weight file or model_name a local-dir:PATH."
        ) from error
    finally:
        root.setLevel(level)


def _load(model: nn.Module, path: Path) -> None:
    try:
        load_checkpoint(model, str(path), strict=True, weights_only=True)
    except Exception as error:  # safetensors, pickle, zip and size errors share no base
        raise WeightsError(f"The weights {path} don't load into this model: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".:") + "."
