"""Reading one image file, whatever its kind, as 8-bit RGB."""

import os
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TypeVar
from warnings import catch_warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from starft.errors import DataError

Prepared = TypeVar("Prepared")
"""What a transform makes of a picture: a tensor."""

ORIENTATION = 0x0112
"""EXIF tag of how the camera was held."""

SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Value of the tag -> what sets the picture upright, as Pillow's ``exif_transpose`` has it; that one writes the EXIF
block anew besides, and fails where a tag of it is broken."""

RESIZED_PIXELS = 2**25
"""The most pixels that a picture may have when its shorter side is resized for a model; 100 MB as RGB."""

KNOWN: dict[type[Exception], str] = {
    FileNotFoundError: "it doesn't exist",
    IsADirectoryError: "it is a folder",
    PermissionError: "permission denied",
}
"""What errors mean."""


Reader = Callable[[str], Image.Image]


class TooLongError(ValueError):
    """A picture of extreme shape; the sentence says what is wrong with it, without a period."""


class BadImageError(DataError):
    """An image file that can't be read.

    Args:
        path: The file.
        why: What is wrong with it, without a period.
    """

    def __init__(self, path: str, why: str) -> None:
        super().__init__(
            f"The image {path} can't be read: {why}; mend or remove it, or set data.init_args.on_bad_image to skip."
        )
        self.path, self.why = path, why


def read_image(path: str | Path, file_bytes: Callable[[str], bytes] | None = None) -> Image.Image:
    """Read an image as 8-bit RGB, turned the way its EXIF tag says, or its XMP where EXIF says nothing.

    Palettes, greyscale and CMYK are converted, alpha is dropped (as open_clip does), of 16 bits the upper 8 are kept,
    of several frames the first.

    Args:
        path: The file.
        file_bytes: Returns its bytes, where it isn't on disk; raises `BadImageError` itself where it knows why not, and
            another `DataError` where that is no fault of the image.

    Raises:
        BadImageError: It is missing, empty, truncated, no image, larger than Pillow's limit against decompression
            bombs, or of a kind without a known white level.
    """
    try:
        with Image.open(path if file_bytes is None else BytesIO(file_bytes(os.fspath(path)))) as image:
            if image.mode == "RGB" and image.format == "JPEG" and not {"exif", "xmp"} & image.info.keys():
                image.load()
                return image
            return rgb(image)
    except DataError:
        raise
    except Exception as error:  # Pillow's readers share no base: OSError, SyntaxError, ValueError, struct.error, ...
        raise BadImageError(os.fspath(path), _why(Path(path), error)) from error


def prepared(path: str, transform: Callable[[Image.Image], Prepared], read: Reader = read_image) -> Prepared:
    """Return an image file as a model takes it.

    Args:
        path: The file.
        transform: Makes a tensor of a picture.
        read: Reads the file.

    Raises:
        BadImageError: It can't be read, or is too long for the transform.
    """
    image = read(path)
    try:
        return transform(image)
    except TooLongError as error:
        raise BadImageError(path, str(error)) from None


def check_length(image: Image.Image, size: tuple[int, int], fit: bool = False) -> None:
    """Refuse a picture that resizing makes huge, though its file is tiny, or leaves without a pixel.

    Args:
        image: Any.
        size: Height and width that it shall cover.
        fit: Whether it shall fit into them instead.

    Raises:
        TooLongError: It would have more than `RESIZED_PIXELS`, or a side of 0.
    """
    check_sides(image.width, image.height, size, fit)


def check_sides(of_width: int, of_height: int, size: tuple[int, int], fit: bool = False) -> None:
    """Refuse a picture as `check_length` does, before it is decoded.

    Args:
        of_width: Its own width, upright.
        of_height: Its own height.
        size: Height and width that it shall cover.
        fit: Whether it shall fit into them instead.

    Raises:
        TooLongError: It would have more than `RESIZED_PIXELS`, or a side of 0.
    """
    factors = size[0] / of_height, size[1] / of_width
    factor = min(factors) if fit else max(factors)
    width, height = round(of_width * factor), round(of_height * factor)
    if not 0 < width * height <= RESIZED_PIXELS:
        limit = f", and the limit is {RESIZED_PIXELS:,}" if width * height else ""
        raise TooLongError(
            f"its {of_width:,} x {of_height:,} pixels would be {width:,} x {height:,} when its "
            f"{'longer' if fit else 'shorter'} side is resized for the model{limit}: cut it"
        )


def rgb(image: Image.Image) -> Image.Image:
    """Return a picture as 8-bit RGB, turned the way its EXIF tag or XMP says, as `read_image` does.

    Args:
        image: Of any mode.

    Raises:
        ValueError: It has no known white level.
    """
    image = upright(image)
    if image.mode in SIXTEEN_BIT:
        levels = np.asarray(image)
        if levels.min() < 0 or levels.max() > 0xFFFF:
            raise ValueError("its grey levels don't fit 16 bits, save it with 8 or 16")
        return Image.fromarray((levels.astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers without a known white level, save it with 8 or 16 bits")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def upright(image: Image.Image) -> Image.Image:
    """Return a picture turned the way its EXIF tag says; a broken EXIF block says nothing.

    Args:
        image: Of any mode.
    """
    image.load()  # Pillow turns a TIFF by itself here, and then says so
    turn = TURNS.get(orientation(image))
    return image if turn is None else image.transpose(turn)


def orientation(image: Image.Image) -> int:
    """Return how a picture is stored, as its EXIF tag or XMP says: 1, as it is to be seen, or a key of `TURNS`.

    Args:
        image: Of any mode; it need not be decoded yet.
    """
    try:
        with catch_warnings(action="ignore"):  # of tags that we don't read
            tag = image.getexif().get(ORIENTATION, 1)
            return tag if tag in TURNS else 1
    except Exception:  # Pillow's reader of EXIF raises whatever it meets: SyntaxError, struct.error, ...
        return 1


def _why(path: Path, error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        claimed, limit = [f"{int(number):,}" for number in re.findall(r"\d+", str(error))[:2]]
        return f"it claims {claimed} pixels, the limit is {limit}: a decompression bomb, or a scan to be saved smaller"
    for kind, item in KNOWN.items():
        if isinstance(error, kind):
            return item
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    if path.is_file() and path.stat().st_size == 0:
        return "it is empty (0 bytes)"
    if isinstance(error, UnidentifiedImageError):
        return "it isn't an image of a known format"
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
