"""A CLIP model that takes captions as text, and its frozen twin."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from starft.types import ImagePreprocessing

Tokenize = Callable[[list[str]], Tensor]


class ClipEncoder(nn.Module):
    """Both towers of a CLIP model behind one interface: images and captions in, unit features out.

    Args:
        model: Any open_clip model.
        tokenize: Turns captions into token ids (N, context length), zero-padded behind the end.
        trim: Cut padding off token rows where the tower allows it.
    """

    def __init__(self, model: nn.Module, tokenize: Tokenize, trim: bool = True) -> None:
        super().__init__()
        self.model: Any = model
        self.tokenize = tokenize
        self.trim = trim
        self._tokens: dict[str, Tensor] = {}

    @property
    def logit_scale(self) -> Tensor:
        """The factor on cosine similarities, exponentiated; a scalar."""
        scale: Tensor = self.model.logit_scale
        return scale.float().exp()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        scale: Tensor = self.model.logit_scale
        return scale.device

    @property
    def preprocessing(self) -> ImagePreprocessing:
        """How the model wants its images, as open_clip has it."""
        held = self.model.visual.preprocess_cfg
        size = held["size"]
        height, width = size if isinstance(size, tuple | list) else (size, size)
        return ImagePreprocessing(
            size=(height, width),
            mean=tuple(held["mean"]),
            std=tuple(held["std"]),
            interpolation=held["interpolation"],
            resize_mode=held["resize_mode"],
            fill_color=held["fill_color"],
        )

    def encode_image(self, images: Tensor) -> Tensor:
        """Return unit features (B, D) of images (B, 3, H, W)."""
        return F.normalize(self.model.encode_image(images), dim=-1)

    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """Return unit features (N, D) of N captions; each distinct caption goes through the tower once."""
        distinct = {caption: row for row, caption in enumerate(dict.fromkeys(captions))}
        tokens = self._tokenized(list(distinct))
        if self.trim and _is_causal(self.model):
            encoded = _encode_trimmed(self.model, tokens, self.device)
        else:
            encoded = self.model.encode_text(tokens.to(self.device, non_blocking=True))
        features = F.normalize(encoded, dim=-1)
        if len(distinct) == len(captions):
            return features
        rows = torch.tensor([distinct[caption] for caption in captions])
        return features[rows.to(self.device, non_blocking=True)]

    def _tokenized(self, captions: list[str]) -> Tensor:
        unknown = [caption for caption in captions if caption not in self._tokens]
        if unknown:
            self._tokens.update(zip(unknown, self.tokenize(unknown), strict=True))
        return torch.stack([self._tokens[caption] for caption in captions])


class Twin(ClipEncoder):
    """The frozen copy of a CLIP model: no gradients, always in eval mode.

    Args:
        clip: The model to copy, as it is now.
    """

    def __init__(self, clip: ClipEncoder) -> None:
        super().__init__(deepcopy(clip.model), clip.tokenize, clip.trim)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Twin":
        """Stay in eval mode, whatever ``mode`` says."""
        return super().train(False)

    @torch.no_grad()
    def encode_image(self, images: Tensor) -> Tensor:
        """Return unit features (B, D) of images (B, 3, H, W), without a graph."""
        return super().encode_image(images)

    @torch.no_grad()
    def encode_text(self, captions: Sequence[str]) -> Tensor:
        """Return unit features (N, D) of N captions, without a graph.

        Nothing is remembered between steps: a caption's last digits depend on the batch it is encoded in, and a run
        that is continued must see the same ones.
        """
        return super().encode_text(captions)


def _is_causal(model: Any) -> bool:
    """Return whether the text tower pools the end token and no token looks at what comes behind it."""
    return isinstance(model, open_clip.CLIP) and model.attn_mask is not None and model.text_pool_type == "argmax"


def _encode_trimmed(model: Any, tokens: Tensor, device: torch.device) -> Tensor:
    """Return text features (N, D), not normalised, of token ids (N, context length) on the host.

    Columns that are padding in every row are cut first: same features, less work. That is done on the host, so that
    nothing waits for the device.
    """
    length = int(tokens.argmax(dim=-1).max()) + 1
    tokens = tokens[:, :length].to(device, non_blocking=True)
    x: Tensor = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    x = model.ln_final(x)
    x = x[torch.arange(len(x), device=x.device), tokens.argmax(dim=-1)]
    if model.text_projection is None:
        return x
    projection = model.text_projection
    projected: Tensor = projection(x) if isinstance(projection, nn.Linear) else x @ projection
    return projected
