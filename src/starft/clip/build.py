"""Build the CLIP models that open_clip knows, the embedded world's own among them."""

import hashlib
import logging
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import open_clip
from open_clip.factory import load_checkpoint
from torch import nn

from starft.clip.encoder import ClipEncoder
from starft.clip.hub import HUB, OFFLINE, asked_once, check_extra, near_hub_names, needs_hub, why
from starft.clip.names import MINI_FOLDER, MINI_MODEL, SCHEMAS, near_paths, register_model
from starft.clip.preprocessing import shared_preprocessing
from starft.clip.rebuild import folder_config, unfit
from starft.digests import check_weights_file
from starft.errors import ConfigError, StarftError, WeightsError, did_you_mean

__all__ = ["MINI_FOLDER", "MINI_MODEL", "MINI_TAG", "build_clip", "checked_mini_weights", "load_tokenizer"]

MINI_TAG = "mini"
"""Tag of the embedded world's pre-trained weights, which come with the package."""


def build_clip(model_name: str, pretrained: str | None, trim: bool = True) -> ClipEncoder:
    """Build a CLIP model with its tokenizer and load its weights, in float32 on the CPU.

    Args:
        model_name: An open_clip architecture, a ``hf-hub:`` or ``local-dir:`` name, or a model config (JSON path).
        pretrained: A tag of open_clip, ``mini`` for the embedded world's weights, a local weight file, or null for
            random weights; ``hf-hub:`` and ``local-dir:`` models bring their own.
        trim: Leave out what reaches no feature, where a tower allows it.

    Raises:
        ConfigError: Name or tag doesn't exist, or the model needs an extra that isn't installed.
        WeightsError: The weights are damaged, don't fit, or can't be had.
    """
    name = register_model(model_name)
    own = name.startswith(SCHEMAS)
    weights = None if pretrained is None or own else _local_weights(name, pretrained)
    tag = None if own or weights is not None else pretrained
    options: dict[str, Any] = {
        "pretrained": tag,
        "require_pretrained": own or tag is not None,
        "force_quick_gelu": tag is not None and bool(open_clip.get_pretrained_cfg(name, tag).get("quick_gelu")),
        "force_preprocess_cfg": None if own or tag is not None else shared_preprocessing(name),
        "pretrained_text": False,  # null asks for random weights, and a weight file holds both towers
    }
    with _told(name, f" with weights {pretrained!r}", tag) as config:
        check_extra(name, config)
        model: nn.Module = open_clip.create_model(name, **options)
        tokenize = open_clip.get_tokenizer(name)
    if weights is not None:
        _load(model, weights)
    model.eval()
    described = folder_config(name, config, model, quick_gelu=options["force_quick_gelu"])
    return ClipEncoder(model, tokenize, trim, described)


def load_tokenizer(model_name: str) -> Any:
    """Return the tokenizer of a model, without building it.

    Args:
        model_name: As `build_clip` takes it.

    Raises:
        ConfigError: There is no such model, or it needs an extra that isn't installed.
        WeightsError: The tokenizer can't be had.
    """
    name = register_model(model_name)
    with _told(name, "'s tokenizer", None) as config:
        check_extra(name, config)
        return open_clip.get_tokenizer(name)


@contextmanager
def _told(name: str, what: str, tag: str | None) -> Iterator[dict[str, Any]]:
    """Yield a model's config with the hub at hand and the log quiet; whatever goes wrong is told in one sentence."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.CRITICAL)  # open_clip warns of random weights, which null asks for, and logs what it raises
    try:
        config: dict[str, Any] = {} if name.startswith(HUB) else open_clip.get_model_config(name)
        with asked_once(needs_hub(name, tag, config)):
            try:
                yield open_clip.get_model_config(name) if name.startswith(HUB) else config
            except StarftError:
                raise
            except Exception as error:  # the network, a hub's files and a person's model config share no base
                raise WeightsError(
                    f"The model {name}{what} can't be loaded: {why(error)}.{near_hub_names(name)} {OFFLINE}"
                ) from error
    finally:
        root.setLevel(level)


def _local_weights(name: str, pretrained: str) -> Path | None:
    """Return the weight file to load ourselves, or null where ``pretrained`` is a tag that open_clip loads."""
    if name == MINI_MODEL and pretrained == MINI_TAG:
        return checked_mini_weights()
    if Path(pretrained).is_file():
        check_weights_file(Path(pretrained))
        return Path(pretrained)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if open_clip.get_pretrained_cfg(name, pretrained):
        return None
    known = [MINI_TAG] if name == MINI_MODEL else tags
    near = did_you_mean(pretrained, known) or near_paths(Path(pretrained))
    raise ConfigError(
        f"{pretrained!r} is neither a file nor a tag of weights for {name}.{near} "
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


def _load(model: nn.Module, path: Path) -> None:
    if _holds_code(path):
        raise WeightsError(
            f"The weights {path} are a TorchScript archive, which holds code, as OpenAI's own downloads do; "
            "turn it into a plain weight file first, see docs/models.md."
        )
    try:
        load_checkpoint(model, str(path), strict=True, weights_only=True)
    except Exception as error:  # safetensors, pickle, zip and size errors share no base
        raise WeightsError(f"The weights {path} don't load into this model: {unfit(error)}.") from error


def _holds_code(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name or name.endswith("constants.pkl") for name in archive.namelist())
