"""From an RGB image to what a model takes: open_clip's own transforms, with randomness that can be repeated."""

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import lru_cache, partial
from hashlib import blake2b

import torch
from open_clip.transform import AugmentationCfg, PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor
from torchvision.transforms import Compose

from starft.data.augmentation import Augmentation
from starft.data.images import check_length
from starft.errors import ConfigError
from starft.types import ImagePreprocessing

Transform = Callable[[Image.Image], Tensor]
"""RGB image -> float (3, H, W)."""

INTERPOLATIONS = ("bicubic", "bilinear", "random")


def eval_transform(preprocessing: ImagePreprocessing) -> Transform:
    """Return the transform of evaluation: resize, crop the middle (or pad, or squash), normalise.

    Args:
        preprocessing: What the model wants.

    Raises:
        TooLongError: (The transform) a picture would be huge when its shorter side is resized.
    """
    return _transform(preprocessing, None)


def train_transform(preprocessing: ImagePreprocessing, augmentation: Augmentation) -> Transform:
    """Return the transform of training: a random crop and what else is asked for, normalised.

    Args:
        preprocessing: What the model wants.
        augmentation: How images are varied.
    """
    return _transform(preprocessing, augmentation)


def _transform(preprocessing: ImagePreprocessing, augmentation: Augmentation | None) -> Transform:
    made: Transform = composed(preprocessing, augmentation)
    if augmentation is not None or preprocessing.resize_mode == "squash":  # crops first, or resizes to a fixed size
        return made
    return partial(_of_bounded_length, made, preprocessing.size, preprocessing.resize_mode == "longest")


def composed(preprocessing: ImagePreprocessing, augmentation: Augmentation | None) -> Compose:
    """Return open_clip's own transform, of any picture; it ends with ``ToTensor`` and ``Normalize``.

    Args:
        preprocessing: What the model wants.
        augmentation: How training images are varied; None for evaluation. timm's transforms end otherwise.
    """
    if preprocessing.interpolation not in INTERPOLATIONS:
        raise ConfigError(
            f"The model's interpolation is {preprocessing.interpolation!r}; "
            f"image transforms know {', '.join(INTERPOLATIONS)}."
        )
    config = PreprocessCfg(**asdict(preprocessing))
    given = AugmentationCfg(**asdict(augmentation)) if augmentation is not None else None
    with warnings.catch_warnings():
        # open_clip calls colour jitter unused even where it uses it; what it doesn't use, `Augmentation` refuses
        warnings.filterwarnings("ignore", message="Unused augmentation cfg items")
        made: Compose = image_transform_v2(config, is_train=augmentation is not None, aug_cfg=given)
    return made


def _of_bounded_length(made: Transform, size: tuple[int, int], fit: bool, image: Image.Image) -> Tensor:
    check_length(image, size, fit)
    return made(image)


def normalized(images: Tensor, preprocessing: ImagePreprocessing) -> Tensor:
    """Return images as a model takes them: 8-bit levels become floats with the same digits as `eval_transform` gives.

    Args:
        images: (..., 3, H, W); floats are returned as they are.
        preprocessing: What the model wants.
    """
    if images.is_floating_point():
        return images
    mean, std = (_channels(values, images.device) for values in (preprocessing.mean, preprocessing.std))
    return images.float().div_(255).sub_(mean).div_(std)


@lru_cache
def _channels(values: tuple[float, float, float], device: torch.device) -> Tensor:
    """Return (3, 1, 1), copied to the device once: each copy would let the host wait for it."""
    with torch.inference_mode(False):  # the training step uses them, too
        return torch.tensor(values, device=device).view(3, 1, 1)


@contextmanager
def drawn_from(*key: int) -> Iterator[None]:
    """Let the global random streams that transforms draw from start at a key; put them back afterwards.

    Args:
        key: Such as seed, epoch and index of an image: the same draws in any process.
    """
    seed = seed_of(*key)
    torch_state, python_state = torch.random.get_rng_state(), random.getstate()
    torch.default_generator.manual_seed(seed)  # `torch.manual_seed` would seed the GPUs too
    random.seed(seed)
    try:
        yield
    finally:
        torch.random.set_rng_state(torch_state)
        random.setstate(python_state)


def seed_of(*key: int) -> int:
    """Return a 63-bit seed from whole numbers.

    Args:
        key: Any of them.
    """
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest(), "little") >> 1
