"""Build the CLIP models that open_clip knows, the embedded world's own among them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import open_clip
from torch import nn

from starft.clip.encoder import ClipEncoder
from starft.clip.feature_check import check_features
from starft.clip.finite import first_not_finite
from starft.clip.hub import HUB, OFFLINE, asked_once, check_extra, near_hub_names, needs_hub, why
from starft.clip.loading import load_weights, loading_as_here, tell
from starft.clip.model_names import (
    MINI_MODEL,
    NOTES,
    SCHEMAS,
    is_path,
    near_paths,
    register_model,
    siglip_vocabulary,
)
from starft.clip.preprocessing import shared_preprocessing, unlike_preprocessing
from starft.clip.rebuild import folder_config
from starft.clip.shipped_weights import MINI_TAGS, checked_mini_weights
from starft.clip.towers import check_blocks
from starft.clip.undrawn import Undrawn
from starft.errors import ConfigError, StarftError, WeightsError
from starft.files.digests import check_weights_file
from starft.wording import did_you_mean


def build_clip(model_name: str, pretrained: str | None, trim: bool = True) -> ClipEncoder:
    """Build a CLIP model with its tokenizer and load its weights, in float32 on the CPU.

    Args:
        model_name: An open_clip architecture, a ``hf-hub:`` or ``local-dir:`` name, or a model config (JSON path).
        pretrained: A tag of open_clip, a local weight file, or None for random weights; the embedded worlds' model has
            ``mini``, ``mini_weak`` and ``mini_looks``; ``hf-hub:`` and ``local-dir:`` models bring their own.
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
    filled = weights is not None or options["require_pretrained"]
    notes: list[str] = []
    with _told(name, f" with weights {pretrained!r}", tag) as config, loading_as_here(notes):
        check_extra(name, config)
        with Undrawn() if filled else nullcontext():
            model: nn.Module = open_clip.create_model(name, **options)
        check_blocks(name, model)
        tokenize = _tokenizer(name, config)
    if weights is not None:
        notes += load_weights(model, weights) + unlike_preprocessing(model, weights)
    if filled:
        check_finite(model, pretrained if weights is not None or not own else name)
    else:
        _draw_what_is_left_out(model)
    model.eval()
    if own or is_path(model_name):  # those that open_clip lists are in order
        notes += check_features(model_name, model, tokenize)
    tell(notes)
    described = folder_config(name, config, model, quick_gelu=options["force_quick_gelu"])
    if notes:
        described[NOTES] = notes
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
        return _tokenizer(name, config)


def _tokenizer(name: str, config: dict[str, Any]) -> Any:
    """Return a model's tokenizer as open_clip finds it, by the config or else by the name."""
    vocabulary = siglip_vocabulary(name, config)
    try:
        return open_clip.get_tokenizer(name)
    except Exception as error:  # the network and the tokenizers of transformers share no base
        if vocabulary is None:
            raise
        raise WeightsError(
            f"The model config {name} names no tokenizer, and because of its name open_clip takes SigLIP's "
            f"({vocabulary}), which can't be had: {why(error)}. Name one as text_cfg.hf_tokenizer_name, such as "
            'timm/ViT-B-16-SigLIP with tokenizer_kwargs {"clean": "canonicalize"}, or, for CLIP\'s own, give the file '
            "a name without siglip."
        ) from error


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
                hint = OFFLINE if _asks_for_network(name, tag, config, error) else "Mend its model config."
                raise WeightsError(
                    f"The model {name}{what} can't be loaded: {why(error)}.{near_hub_names(name)} {hint}"
                ) from error
    finally:
        root.setLevel(level)


def _asks_for_network(name: str, tag: str | None, config: dict[str, Any], error: Exception) -> bool:
    """Return whether a model fails for want of a file of the hub, and not for what its own config says."""
    if name.startswith(HUB) or tag is not None:
        return True
    return needs_hub(name, tag, config) and isinstance(error, OSError | RuntimeError)


def _local_weights(name: str, pretrained: str) -> Path | None:
    """Return the weight file to load ourselves, or None where ``pretrained`` is a tag that open_clip loads."""
    if name == MINI_MODEL and pretrained in MINI_TAGS:
        return checked_mini_weights(pretrained)
    if Path(pretrained).is_file():
        check_weights_file(Path(pretrained))
        return Path(pretrained)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if open_clip.get_pretrained_cfg(name, pretrained):
        return None
    if Path(pretrained).is_dir():
        return Path(pretrained)
    known = list(MINI_TAGS) if name == MINI_MODEL else tags
    near = did_you_mean(pretrained, known) or near_paths(Path(pretrained))
    raise ConfigError(
        f"{pretrained!r} is neither a file nor a tag of weights for {name}.{near} "
        f"Its tags: {', '.join(known) or 'none'}."
    )


def _draw_what_is_left_out(model: nn.Module) -> None:
    """Draw the weight of a model without weights that open_clip leaves as the memory was: CoCa's last projection."""
    projection = getattr(getattr(model, "text_decoder", None), "text_projection", None)
    if isinstance(projection, nn.Parameter):
        nn.init.normal_(projection, std=projection.shape[0] ** -0.5)


def check_finite(model: nn.Module, source: object) -> None:
    """Refuse pre-trained weights that aren't finite numbers.

    Args:
        model: With its weights.
        source: Where they are from.

    Raises:
        WeightsError: One holds a NaN or an infinity.
    """
    name = first_not_finite(model.state_dict().items())
    if name is not None:
        raise WeightsError(f"The weights {source} can't be used: {name} holds a NaN or an infinity; give others.")
