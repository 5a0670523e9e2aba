"""Transforms: open_clip's own, repeatable, and refusing what they would ignore."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from torch import Tensor

from starft.data.augmentation import Augmentation
from starft.data.transforms import drawn_from, eval_transform, train_transform
from starft.errors import ConfigError
from starft.types import ImagePreprocessing

SMALL = ImagePreprocessing(size=(32, 32))


def picture(width: int = 50, height: int = 40) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    "preprocessing",
    [
        SMALL,
        ImagePreprocessing(size=(32, 24), interpolation="bilinear"),
        ImagePreprocessing(size=(32, 32), resize_mode="squash", mean=(0.5,) * 3, std=(0.5,) * 3),
        ImagePreprocessing(size=(32, 32), resize_mode="longest", fill_color=128),
    ],
)
def test_evaluation_is_open_clips(preprocessing: ImagePreprocessing) -> None:
    theirs = open_clip.image_transform(
        preprocessing.size,
        is_train=False,
        mean=preprocessing.mean,
        std=preprocessing.std,
        resize_mode=preprocessing.resize_mode,
        interpolation=preprocessing.interpolation,
        fill_color=preprocessing.fill_color,
    )
    made = eval_transform(preprocessing)(picture())
    assert made.shape == (3, *preprocessing.size)
    assert torch.equal(made, theirs(picture()))


def test_evaluation_by_hand() -> None:
    """A grey image stays grey: (128 / 255 - mean) / std."""
    grey = eval_transform(SMALL)(Image.new("RGB", (40, 40), (128, 128, 128)))
    expected = [(128 / 255 - mean) / std for mean, std in zip(SMALL.mean, SMALL.std, strict=True)]
    assert grey.flatten(1).mean(dim=1).tolist() == pytest.approx(expected, abs=1e-5)


def test_training_is_open_clips_with_the_same_draws() -> None:
    theirs = open_clip.image_transform((32, 32), is_train=True, mean=SMALL.mean, std=SMALL.std)
    torch.manual_seed(5)
    expected = theirs(picture())
    torch.manual_seed(5)
    assert torch.equal(train_transform(SMALL, Augmentation())(picture()), expected)


def draws(augmentation: Augmentation, *key: int) -> Tensor:
    with drawn_from(*key):
        return train_transform(SMALL, augmentation)(picture())


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(),
        Augmentation(scale=(0.2, 0.9), color_jitter=(0.4, 0.4, 0.4, 0.1), color_jitter_prob=0.8, gray_scale_prob=0.2),
        Augmentation(scale=(0.2, 0.9), use_timm=True, ratio=(0.5, 2.0), re_prob=1.0, re_count=2),
    ],
    ids=["default", "jitter", "timm"],
)
def test_draws_depend_on_their_key_alone(augmentation: Augmentation) -> None:
    first = draws(augmentation, 3, 1, 7)
    torch.manual_seed(99)
    random.seed(99)
    assert torch.equal(draws(augmentation, 3, 1, 7), first)
    others = [draws(augmentation, *key) for key in ((4, 1, 7), (3, 2, 7), (3, 1, 8), (3, 17, 0))]
    assert not any(torch.equal(other, first) for other in others)


def test_the_global_streams_are_put_back() -> None:
    torch.manual_seed(1)
    random.seed(1)
    expected = (torch.rand(1), random.random())
    torch.manual_seed(1)
    random.seed(1)
    draws(Augmentation(), 0, 0, 0)
    assert (torch.rand(1), random.random()) == expected
    with pytest.raises(RuntimeError), drawn_from(1):
        raise RuntimeError
    torch.manual_seed(1)
    assert torch.rand(1) == expected[0]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"scale": (0.9, 0.5)}, r"augmentation.scale must be two numbers in \(0, 1\], rising; got \[0.9, 0.5\]"),
        ({"scale": (0.0, 0.5)}, "augmentation.scale must be"),
        ({"gray_scale_prob": 1.5}, r"augmentation.gray_scale_prob must lie in \[0, 1\]; got 1.5"),
        ({"ratio": (0.5, 2.0)}, "augmentation.ratio needs augmentation.use_timm: true"),
        ({"re_prob": 0.5}, "augmentation.re_prob needs augmentation.use_timm: true"),
        ({"gray_scale_prob": 0.5, "use_timm": True}, "augmentation.gray_scale_prob is unknown to timm"),
        ({"color_jitter_prob": 0.5}, "needs augmentation.color_jitter, four strengths"),
        ({"color_jitter": (0.1, 0.1, 0.1, 0.1)}, "needs augmentation.color_jitter_prob"),
    ],
)
def test_what_would_be_ignored_is_refused(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Augmentation(**given)


def test_an_unknown_interpolation() -> None:
    with pytest.raises(ConfigError, match="interpolation is 'nearest'; image transforms know bicubic, bilinear"):
        eval_transform(ImagePreprocessing(interpolation="nearest"))


def test_colour_jitter_changes_colours(tmp_path: Path) -> None:
    one = draws(Augmentation(scale=(1.0, 1.0), color_jitter=(0.5, 0.5, 0.5, 0.2), color_jitter_prob=1.0), 0)
    assert not torch.equal(one, draws(Augmentation(scale=(1.0, 1.0)), 0))
    grey = draws(Augmentation(gray_scale_prob=1.0), 0)
    back = grey * torch.tensor(SMALL.std).view(3, 1, 1) + torch.tensor(SMALL.mean).view(3, 1, 1)
    assert torch.allclose(back[0], back[1], atol=1e-5)
