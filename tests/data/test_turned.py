"""A picture is turned by what it says of itself, whatever the kind of file: in training, in predictions, in cards."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from starft.data.images import ORIENTATION, read_image, rgb

XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{}"/>'
    "</rdf:RDF></x:xmpmeta>"
)


def write(path: Path, image: Image.Image, by_xmp: int | None, by_exif: int | None) -> None:
    """Save an image whose XMP, or EXIF, or both, say how the camera was held."""
    options: dict[str, object] = {}
    xmp = XMP.format(by_xmp).encode() if by_xmp else None
    if xmp and path.suffix == ".png":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())  # type: ignore[attr-defined]
    elif path.suffix == ".tif":
        options["tiffinfo"] = ({700: xmp} if xmp else {}) | ({ORIENTATION: by_exif} if by_exif else {})
    elif xmp:
        options["xmp"] = xmp
    if by_exif and path.suffix != ".tif":
        options["exif"] = image.getexif()
        options["exif"][ORIENTATION] = by_exif  # type: ignore[index]
    if path.suffix == ".webp":
        options["lossless"] = True
    image.save(path, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize(
    ("by_xmp", "by_exif", "turned"), [(6, None, True), (None, 6, True), (6, 1, False), (1, 6, True), (1, None, False)]
)
def test_by_xmp_or_exif(suffix: str, by_xmp: int | None, by_exif: int | None, turned: bool, tmp_path: Path) -> None:
    halves = Image.new("RGB", (64, 32), (255, 255, 255))
    halves.paste((255, 0, 0), (0, 0, 32, 32))
    path = tmp_path / f"photo{suffix}"
    write(path, halves, by_xmp, by_exif)
    image = read_image(path)
    assert image.size == ((32, 64) if turned else (64, 32))
    with Image.open(path) as opened:
        given = rgb(opened)  # what `Classifier.predict` makes of a picture
        by_card = ImageOps.exif_transpose(opened).convert("RGB")  # what a card's code does
    assert np.array_equal(np.asarray(image), np.asarray(given))
    assert np.array_equal(np.asarray(image), np.asarray(by_card))
    assert image.getpixel((16, 16))[1] < 20, "red comes first"  # type: ignore[index]
