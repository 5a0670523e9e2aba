"""From an RGB image to what a model takes: open_clip's own transforms, with randomness that can be repeated."""

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import blake2b

import torch
from open_clip.transform import AugmentationCfg, PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor

from starft.data.images import check_length
from starft.errors import ConfigError
from starft.types import ImagePreprocessing

Transform = Callable[[Image.Image], Tensor]
"""RGB image -> float (3, H, W)."""

INTERPOLATIONS = ("bicubic", "bilinear", "random")


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied: open_clip's train transform, as in the paper's code base.

    Args:
        scale: Share of the image's area that the random crop keeps, from and to.
        ratio: Width over height of the crop, from and to; needs ``use_timm`` (3/4 to 4/3 without).
        color_jitter: Strength of changes in brightness, contrast, saturation and hue; null for none.
        color_jitter_prob: Share of images whose colours change.
        gray_scale_prob: Share of images that lose their colours; null for none.
        re_prob: Share of images of which a part is erased; needs ``use_timm``.
        re_count: How many parts are erased; needs ``use_timm``.
        use_timm: Take timm's train transform, which knows ``ratio``, ``re_prob`` and ``re_count``.
    """

    scale: tuple[float, float] = (0.9, 1.0)
    ratio: tuple[float, float] | None = None
    color_jitter: tuple[float, float, float, float] | None = None
    color_jitter_prob: float | None = None
    gray_scale_prob: float | None = None
    re_prob: float | None = None
    re_count: int | None = None
    use_timm: bool = False

    def __post_init__(self) -> None:
        if not (len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[1] <= 1):
            raise ConfigError(f"augmentation.scale must be two numbers in (0, 1], rising; got {list(self.scale)}.")
        for name in ("color_jitter_prob", "gray_scale_prob", "re_prob"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise ConfigError(f"augmentation.{name} must lie in [0, 1]; got {share}.")
        for name in ("ratio", "re_prob", "re_count"):
            if getattr(self, name) is not None and not self.use_timm:
                raise ConfigError(
                    f"augmentation.{name} needs augmentation.use_timm: true; set it, or leave {name} out."
                )
        for name in ("color_jitter_prob", "gray_scale_prob"):
            if getattr(self, name) is not None and self.use_timm:
                raise ConfigError(f"augmentation.{name} is unknown to timm; leave it or augmentation.use_timm out.")
        if self.color_jitter_prob and self.color_jitter is None:
            raise ConfigError("augmentation.color_jitter_prob needs augmentation.color_jitter, four strengths.")
        if self.color_jitter is not None and not self.color_jitter_prob and not self.use_timm:
            raise ConfigError("augmentation.color_jitter needs augmentation.color_jitter_prob, a share above 0.")


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
        made: Transform = image_transform_v2(config, is_train=augmentation is not None, aug_cfg=given)
    if augmentation is not None or preprocessing.resize_mode == "squash":  # crops first, or resizes to a fixed size
        return made
    return partial(_of_bounded_length, made, preprocessing.size, preprocessing.resize_mode == "longest")


def _of_bounded_length(made: Transform, size: tuple[int, int], fit: bool, image: Image.Image) -> Tensor:
    check_length(image, size, fit)
    return made(image)


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
