"""Two captions and a grey picture through a new model, before long work: what can't be encoded is told at once."""

from typing import Any

import torch
from torch import Tensor

from starft.clip.encoder import Tokenize, check_vocabulary
from starft.clip.hub import why
from starft.clip.preprocessing import image_preprocessing
from starft.errors import ConfigError

CAPTIONS = ["a photo of a duck.", "two crows at night"]


@torch.no_grad()
def check_features(name: str, model: Any, tokenize: Tokenize) -> list[str]:
    """Refuse a model that doesn't make one row of features of each caption and each image.

    Args:
        name: As the person wrote it.
        model: Any open_clip model, in eval mode.
        tokenize: Its tokenizer.

    Returns:
        What is worth knowing, each a sentence without its period.

    Raises:
        ConfigError: Tokenizer, towers and their config don't belong together.
    """
    tokens = tokenize(CAPTIONS)
    check_vocabulary(name, model, tokens)
    images = torch.zeros(1, 3, *image_preprocessing(model).size)
    text = _rows(name, "text", "captions", len(CAPTIONS), lambda: model.encode_text(tokens))
    image = _rows(name, "image", "images", 1, lambda: model.encode_image(images))
    if text.shape[1] != image.shape[1]:
        raise ConfigError(
            f"The text tower of {name} gives {text.shape[1]} numbers a caption and its image tower {image.shape[1]} an "
            "image; let both end in embed_dim, by their projections (text_cfg, vision_cfg)."
        )
    if torch.equal(text[0], text[1]) and text.any():
        return [
            f"the text tower of {name} makes the same features of all captions, so that no class is told from another: "
            "where it pools (text_cfg.pool_type, eos_id) isn't where its tokenizer ends them; mend its config"
        ]
    return []


def _rows(name: str, tower: str, things: str, count: int, encode: Any) -> Tensor:
    try:
        features = encode()
    except Exception as error:  # whatever the parts of a tower make of sizes that don't fit
        raise ConfigError(
            f"The {tower} tower of {name} can't encode {things}: {why(error)}; mend its config."
        ) from error
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != count:
        shape = f"features {tuple(features.shape)}" if isinstance(features, Tensor) else "several things"
        keys = "text_cfg.pool_type" if tower == "text" else "vision_cfg.pool_type or timm_pool"
        raise ConfigError(
            f"The {tower} tower of {name} pools nothing: it gives {shape} for {count} of {things}, not one row each; "
            f"set a pooling in its config ({keys}, and no output_tokens)."
        )
    return features
