"""The zero-shot head: class names in, one unit row a class out."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from starft.clip.encoder import ClipEncoder

CHUNK = 1024
"""How many captions go through the text tower at a time."""


def caption(template: str, class_name: str) -> str:
    """Return ``template`` with ``class_name`` in the place of its ``{}``."""
    return template.replace("{}", class_name)


def zero_shot_head(clip: ClipEncoder, class_names: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Return the L2-normalised mean over templates of L2-normalised text features, one row a class.

    Args:
        clip: Encodes the captions; gradients flow if they are enabled.
        class_names: C names, in label order.
        templates: T captions with ``{}`` for the name.

    Returns:
        Head (C, D) with unit rows.
    """
    captions = [caption(template, name) for name in class_names for template in templates]
    chunks = [clip.encode_text(captions[at : at + CHUNK]) for at in range(0, len(captions), CHUNK)]
    features = torch.cat(chunks).reshape(len(class_names), len(templates), -1)
    return F.normalize(features.mean(dim=1), dim=-1)
