"""JPEGs decoded at the size that a model needs, and kept as 8-bit levels: what ``decode: fast`` does.

Where a picture has many more pixels than are needed, libjpeg scales it by 2, 4 or 8 while it decodes, in the DCT, which
leaves out most of the work, and leaves at least twice the pixels a side that are needed. The rest is resized on 8 bits,
with the filter of open_clip's transform, and normalised on the device (`normalized`). What isn't a plain RGB JPEG goes
the exact way up to its last 8-bit levels.
"""

import math
import random
from collections.abc import Callable
from functools import lru_cache, partial
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from open_clip.transform import ResizeKeepRatio
from PIL import Image
from simplejpeg import decode_jpeg
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.functional import pil_to_tensor, to_pil_image

from starft.data.augmentation import Augmentation
from starft.data.contents import Decode
from starft.data.images import check_length, check_sides, orientation, prepared, read_image
from starft.data.transforms import Transform, composed, eval_transform, train_transform
from starft.types import ImagePreprocessing

JPEG = b"\xff\xd8\xff"
"""How JPEG files begin."""
SCALES = (8, 4, 2)
"""By what libjpeg scales pictures down while it decodes."""
LEFT = 2
"""How many pixels a side are left, at least, for each that is needed: of fewer, the filters of both steps show."""
FLIPPED = {1: "", 2: "x", 3: "xy", 4: "y", 5: "", 6: "x", 7: "xy", 8: "y"}
"""EXIF orientation -> along which axes the upright picture is flipped to be as stored."""
TURNED = 5
"""From this orientation on, stored rows are upright columns."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""


def transform_for(
    decode: Decode, preprocessing: ImagePreprocessing, augmentation: Augmentation | None = None
) -> Transform:
    """Return what makes a model's input of a picture; timm's transforms have no fast form.

    Args:
        decode: ``fast`` or ``exact``.
        preprocessing: What the model wants.
        augmentation: How training images are varied; None for evaluation.
    """
    if decode == "fast" and not (augmentation and augmentation.use_timm):
        return FastTransform(preprocessing, augmentation)
    return eval_transform(preprocessing) if augmentation is None else train_transform(preprocessing, augmentation)


def prepared_fast(path: str, transform: "FastTransform", file_bytes: Callable[[str], bytes] | None = None) -> Tensor:
    """Return an image file as 8-bit levels (3, H, W).

    Args:
        path: The file.
        transform: Of the data set.
        file_bytes: Returns its bytes, where it isn't on disk.

    Raises:
        BadImageError: As `prepared` raises it, which takes over whatever isn't a plain JPEG or can't be read here.
    """
    if file_bytes is not None:
        data = file_bytes(path)
        levels = transform.of_jpeg(data)
        return prepared(path, transform, partial(read_image, file_bytes=lambda _: data)) if levels is None else levels
    try:
        data = Path(path).read_bytes()
    except OSError:
        return prepared(path, transform)
    levels = transform.of_jpeg(data)
    return prepared(path, transform) if levels is None else levels


class FastTransform:
    """From a picture, or a JPEG that isn't decoded yet, to 8-bit levels (3, H, W): open_clip's crop and size.

    Args:
        preprocessing: What the model wants.
        augmentation: How training images are varied, without timm; None for evaluation.
    """

    def __init__(self, preprocessing: ImagePreprocessing, augmentation: Augmentation | None = None) -> None:
        self._resize, *self._rest, _, _ = composed(preprocessing, augmentation).transforms  # less what makes floats
        self._recolours = len(self._rest) > 1 and augmentation is not None
        self._bound = None if augmentation or preprocessing.resize_mode == "squash" else preprocessing.size
        self._fit = preprocessing.resize_mode == "longest"

    def __call__(self, image: Image.Image) -> Tensor:
        """Return the levels of an RGB picture: those that the exact transform turns into floats.

        Raises:
            TooLongError: It would be huge when its shorter side is resized.
        """
        if self._bound is not None:
            check_length(image, self._bound, self._fit)
        for step in (self._resize, *self._rest):
            image = step(image)
        levels: Tensor = pil_to_tensor(image)
        return levels

    def of_jpeg(self, data: bytes) -> Tensor | None:
        """Return the levels of a file; None where it isn't a plain RGB JPEG, or something is wrong with it.

        Args:
            data: The file.
        """
        if not data.startswith(JPEG):
            return None
        try:
            with Image.open(BytesIO(data)) as image:  # reads its header alone
                if (image.format, image.mode) != ("JPEG", "RGB"):
                    return None
                stored, tag = image.size, orientation(image) if {"exif", "xmp"} & image.info.keys() else 1
        except Exception:  # Pillow's readers share no base; the exact way finds it again and says what it is
            return None
        turned = tag >= TURNED
        width, height = stored[::-1] if turned else stored
        try:
            box, size = self._box_and_size(width, height)
            across, down = (axis in FLIPPED[tag] for axis in "xy")
            left, top, right, bottom = box
            if across:
                left, right = width - right, width - left
            if down:
                top, bottom = height - bottom, height - top
            box, size = ((top, left, bottom, right), size[::-1]) if turned else ((left, top, right, bottom), size)
            levels = _part_of_jpeg(data, stored, box, size, self._resize.interpolation)
        except ValueError:  # of simplejpeg, or the picture is too long: likewise
            return None
        levels = levels.transpose(1, 2) if turned else levels
        levels = levels.flip([axis for axis, flipped in ((2, across), (1, down)) if flipped])
        return self._finished(levels)

    def _finished(self, levels: Tensor) -> Tensor:
        """Return a resized picture cropped or padded, or with its colours changed, which Pillow does."""
        picture: Any = to_pil_image(levels) if self._recolours else levels
        for step in self._rest:
            picture = step(picture)
        made: Tensor = pil_to_tensor(picture) if self._recolours else picture
        return made

    def _box_and_size(self, width: int, height: int) -> tuple[Box, tuple[int, int]]:
        """Return which part of an upright picture is resized to which height and width."""
        resize = self._resize
        if isinstance(resize, RandomResizedCrop):
            return _random_crop(width, height, resize.scale, resize.ratio), resize.size
        if self._bound is not None:
            check_sides(width, height, self._bound, self._fit)
        return (0, 0, width, height), _size_after(resize, width, height)


def _random_crop(width: int, height: int, scale: tuple[float, float], ratio: tuple[float, float]) -> Box:
    """Draw a crop as torchvision's ``RandomResizedCrop`` does, in a tenth of its time: from Python's stream."""
    for _ in range(10):
        area = width * height * random.uniform(*scale)
        aspect = math.exp(random.uniform(*map(math.log, ratio)))
        columns, rows = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < columns <= width and 0 < rows <= height:
            top, left = random.randint(0, height - rows), random.randint(0, width - columns)
            return left, top, left + columns, top + rows
    columns, rows = width, height  # the middle, of the shape that comes nearest
    if width / height < ratio[0]:
        rows = round(width / ratio[0])
    elif width / height > ratio[1]:
        columns = round(height * ratio[1])
    left, top = (width - columns) // 2, (height - rows) // 2
    return left, top, left + columns, top + rows


def _part_of_jpeg(
    data: bytes, stored: tuple[int, int], box: Box, size: tuple[int, int], interpolation: InterpolationMode
) -> Tensor:
    """Return a part of a JPEG of ``stored`` width and height at a size, decoded at no more than is needed for it."""
    left, top, right, bottom = box
    need = min((right - left) / size[1], (bottom - top) / size[0])
    scale = next((scale for scale in SCALES if scale * LEFT <= need), 1)
    width, height = (-(-side // scale) for side in stored)
    pixels = decode_jpeg(
        data, min_width=width, min_height=height, strict=True
    )  # what libjpeg warns of goes the exact way
    part = left / scale, top / scale, right / scale, bottom / scale
    if not all(side.is_integer() for side in part):  # it begins or ends within a pixel, which Pillow can do
        small = Image.fromarray(pixels).resize(size[::-1], Image.Resampling[interpolation.name], part)
        levels: Tensor = pil_to_tensor(small)
        return levels
    left, top, right, bottom = map(int, part)
    cut = torch.from_numpy(pixels)[None, top:bottom, left:right].contiguous()
    return interpolate(cut.permute(0, 3, 1, 2), size, mode=interpolation.value, antialias=True)[0]


@lru_cache(maxsize=1024)
def _size_after(resize: Any, width: int, height: int) -> tuple[int, int]:
    """Return height and width of a picture after a step of torchvision's or open_clip's, which knows how it rounds."""
    if isinstance(resize, ResizeKeepRatio):
        height, width = resize.get_params(SimpleNamespace(size=(width, height)), resize.size, resize.longest)
    else:
        height, width = resize(torch.empty((3, height, width), device="meta")).shape[1:]
    return height, width
