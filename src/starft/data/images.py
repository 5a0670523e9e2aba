"""Reading one image file, whatever its kind, as 8-bit RGB."""

import os
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from starft.errors import DataError

ORIENTATION = 0x0112
"""EXIF tag of how the camera was held."""

SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")

KNOWN: dict[type[Exception], str] = {
    FileNotFoundError: "it doesn't exist",
    IsADirectoryError: "it is a folder",
    PermissionError: "permission denied",
}
"""What errors mean."""


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


def read_image(path: str | Path) -> Image.Image:
    """Read an image as 8-bit RGB, turned the way its EXIF tag says, or its XMP where EXIF says nothing.

    Palettes, greyscale and CMYK are converted, alpha is dropped (as open_clip does), of 16 bits the upper 8 are kept,
    of several frames the first.

    Args:
        path: The file.

    Raises:
        BadImageError: It is missing, empty, truncated, no image, larger than Pillow's limit against decompression
            bombs, or of a kind without a known white level.
    """
    try:
        with Image.open(path) as image:
            if image.mode == "RGB" and image.format == "JPEG" and not {"exif", "xmp"} & image.info.keys():
                image.load()
                return image
            return rgb(image)
    except BadImageError:
        raise
    except Exception as error:  # Pillow's readers share no base: OSError, SyntaxError, ValueError, struct.error, ...
        raise BadImageError(os.fspath(path), _why(Path(path), error)) from error


def rgb(image: Image.Image) -> Image.Image:
    """Return a picture as 8-bit RGB, turned the way its EXIF tag or XMP says, as `read_image` does.

    Args:
        image: Of any mode.

    Raises:
        ValueError: It has no known white level.
    """
    if image.getexif().get(ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
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


def _why(path: Path, error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):
        claimed, limit = [f"{int(number):,}" for number in re.findall(r"\d+", str(error))[:2]]
        return f"it claims {claimed} pixels, the limit is {limit}: a decompression bomb, or a scan to be saved smaller"
    for kind, told in KNOWN.items():
        if isinstance(error, kind):
            return told
    if path.is_file() and path.stat().st_size == 0:
        return "it is empty (0 bytes)"
    if isinstance(error, UnidentifiedImageError):
        return "it isn't an image of a known format"
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
