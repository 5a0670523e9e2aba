"""Digests of what features were made of: the weights of the image tower, and the images."""

from hashlib import blake2b
from typing import Any

import torch

from starft.clip import Twin
from starft.data.datamodules import BaseDataModule
from starft.data.facts import facts_of
from starft.data.imageset import ImageSet


def weights_digest(clip: Twin) -> str:
    """Return a digest of the image tower's weights.

    Args:
        clip: The frozen model.
    """
    digest = blake2b(digest_size=16)
    for name, tensor in clip.model.visual.state_dict().items():
        digest.update(f"{name} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def images_digest(data: BaseDataModule, name: str, images: Any) -> str:
    """Return a digest of which images a set holds, by their files, or by what draws them; none is decoded.

    Args:
        data: Of the config.
        name: Of the set.
        images: Of the set.
    """
    if isinstance(images, ImageSet):
        return facts_of(images.table).digest()
    return blake2b(repr((name, data.drawn_by, list(images.labels))).encode(), digest_size=16).hexdigest()
