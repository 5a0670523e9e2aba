"""Decoding: every kind of image file as 8-bit RGB, or a sentence that names the path."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from starft.data.images import BadImageError, read_image
from starft.errors import DataError

RED, WHITE, BLACK = (255, 0, 0), (255, 255, 255), (0, 0, 0)


def pixels(path: Path) -> np.ndarray:
    image = read_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def test_a_plain_jpeg_is_what_pillow_reads(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    path = saved(tmp_path / "a.jpg", Image.fromarray(noise))
    with Image.open(path) as image:
        assert np.array_equal(pixels(path), np.asarray(image))


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, [["red", "white"]]),
        (2, [["white", "red"]]),
        (3, [["white", "red"]]),
        (6, [["red"], ["white"]]),
        (8, [["white"], ["red"]]),
    ],
)
def test_exif_turns_the_image(orientation: int, expected: list[list[str]], tmp_path: Path) -> None:
    """A red and a white half side by side, turned as the tag says (by the table of the EXIF standard)."""
    halves = Image.new("RGB", (64, 32), WHITE)
    halves.paste(RED, (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "turned.jpg", halves, exif=exif, quality=95)
    found = pixels(path)
    assert found.shape == (32 * len(expected), 32 * len(expected[0]), 3)
    for row, line in enumerate(expected):
        for column, name in enumerate(line):
            red, green, _ = found[32 * row + 16, 32 * column + 16]
            assert red > 240
            assert (green < 20) if name == "red" else (green > 240)


def test_exif_without_a_turn(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    assert pixels(saved(tmp_path / "a.jpg", Image.new("RGB", (8, 4), WHITE), exif=exif)).shape == (4, 8, 3)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_the_upper_eight(suffix: str, tmp_path: Path) -> None:
    levels = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    path = saved(tmp_path / f"grey.{suffix}", Image.fromarray(levels))
    assert pixels(path).tolist() == [[[v] * 3 for v in (0, 0, 1, 128, 255)]]


def test_sixteen_bit_colour(tmp_path: Path) -> None:
    """Written byte by byte: Pillow can't make one."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"\0" + struct.pack(">6H", 0x8000, 0x00FF, 0xFFFF, 0x0100, 0, 0)
    head = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    path = tmp_path / "deep.png"
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(png)
    assert pixels(path).tolist() == [[[128, 0, 255], [1, 0, 0]]]


def test_wide_integers_and_floats_are_refused(tmp_path: Path) -> None:
    wide = saved(tmp_path / "wide.tif", Image.fromarray(np.array([[0, 70000]], dtype=np.int32)))
    with pytest.raises(BadImageError, match=r"wide\.tif can't be read: its grey levels don't fit 16 bits"):
        read_image(wide)
    real = saved(tmp_path / "real.tif", Image.fromarray(np.array([[0.0, 0.5]], dtype=np.float32)))
    with pytest.raises(BadImageError, match=r"real\.tif can't be read: its pixels are floating-point numbers"):
        read_image(real)


def test_cmyk(tmp_path: Path) -> None:
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # magenta and yellow ink: red
    found = pixels(saved(tmp_path / "ink.jpg", cmyk, quality=95))
    assert (np.abs(found.astype(int) - RED).max() < 8).all()


def test_palette_greyscale_and_one_bit(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([*WHITE, *RED])
    palette.putdata([1, 0])
    assert pixels(saved(tmp_path / "p.png", palette)).tolist() == [[list(RED), list(WHITE)]]
    assert pixels(saved(tmp_path / "l.png", Image.new("L", (1, 1), 77))).tolist() == [[[77] * 3]]
    assert pixels(saved(tmp_path / "1.png", Image.new("1", (1, 1), 1))).tolist() == [[[255] * 3]]
    assert pixels(saved(tmp_path / "la.png", Image.new("LA", (1, 1), (9, 3)))).tolist() == [[[9] * 3]]


def test_alpha_is_dropped_as_open_clip_does(tmp_path: Path) -> None:
    assert pixels(saved(tmp_path / "a.png", Image.new("RGBA", (1, 1), (1, 2, 3, 40)))).tolist() == [[[1, 2, 3]]]


def test_a_palette_with_transparency_gives_no_warning(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([*BLACK, *RED])
    palette.putdata([1, 0])
    path = saved(tmp_path / "p.png", palette, transparency=bytes([0, 255]))
    assert pixels(path).tolist() == [[list(RED), list(BLACK)]]


def test_of_several_frames_the_first(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), RED), Image.new("RGB", (4, 4), WHITE)]
    path = saved(tmp_path / "two.gif", frames[0], save_all=True, append_images=frames[1:])
    assert (pixels(path) == RED).all()


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = saved(tmp_path / "whole.jpg", Image.fromarray(noise)).read_bytes()
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole[: len(whole) // 2])
    empty, text = tmp_path / "empty.jpg", tmp_path / "text.jpg"
    empty.touch()
    text.write_text("hello")
    for path, why in (
        (cut, "image file is truncated"),
        (empty, r"it is empty \(0 bytes\)"),
        (text, "it isn't an image of a known format"),
        (tmp_path / "gone.jpg", "it doesn't exist"),
        (tmp_path, "it is a folder"),
    ):
        with pytest.raises(DataError, match=f"The image {path} can't be read: .*{why}.*; mend or remove it, or set"):
            read_image(path)


def test_a_truncated_png(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = saved(tmp_path / "whole.png", Image.fromarray(noise)).read_bytes()
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadImageError, match=r"cut\.png can't be read"):
        read_image(cut)


def test_a_decompression_bomb(tmp_path: Path) -> None:
    """A few hundred bytes that claim 40,000 x 40,000 pixels."""
    path = saved(tmp_path / "bomb.png", Image.new("1", (8, 8)))
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", 40_000, 40_000)
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    path.write_bytes(bytes(data))
    with pytest.raises(BadImageError) as caught:
        read_image(path)
    assert str(caught.value) == (
        f"The image {path} can't be read: it claims 1,600,000,000 pixels, the limit is 178,956,970: a decompression "
        "bomb, or a scan to be saved smaller; mend or remove it, or set data.init_args.on_bad_image to skip."
    )
