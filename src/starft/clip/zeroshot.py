"""The zero-shot head: class names in, one unit row a class out."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from starft.captions.templates import caption
from starft.clip.encoder import ClipEncoder

CHUNK = 1024
"""How many captions go through the text tower at a time; the features of no more than these are held."""


def zero_shot_head(clip: ClipEncoder, class_names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Return the L2-normalised mean over templates of L2-normalised text features, one row a class.

    Args:
        clip: Encodes the captions; gradients flow if they are enabled.
        class_names: C names, in label order.
        templates: T captions with ``{}`` for the name.

    Returns:
        Head (C, D) with unit rows.
    """
    size = max(1, CHUNK // len(templates))
    rows = []
    for at in range(0, len(class_names), size):
        some = class_names[at : at + size]
        features = clip.encode_text([caption(template, name) for name in some for template in templates])
        rows.append(features.reshape(len(some), len(templates), -1).mean(dim=1))
    return F.normalize(torch.cat(rows), dim=-1)
