"""`starft data check --deep` says which share of the pictures comes out nearly black, and why."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakes.own_images import write_folders
from starft.__main__ import main
from starft.data.decode_check import Decoded, decode
from starft.data.images import read_image

LEVELS = np.linspace(0, 1, 64).reshape(8, 8)


def save(path: Path, highest: int, kind: type) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((LEVELS * highest).astype(kind)).save(path)
    return str(path)


@pytest.mark.parametrize(
    ("name", "highest", "kind", "dark"),
    [
        ("twelve-bits.png", 4095, np.uint16, True),
        ("ten-bits.tif", 1023, np.uint16, True),
        ("fourteen-bits.png", 16383, np.uint16, True),
        ("sixteen-bits.png", 65535, np.uint16, False),
        ("wide.tif", 255, np.int32, True),
        ("wide-and-full.tif", 65535, np.int32, False),
        ("night.png", 40, np.uint8, False),
        ("black.png", 9, np.uint8, True),
        ("eight-bits.png", 255, np.uint8, False),
    ],
)
def test_what_counts_as_dark(name: str, highest: int, kind: type, dark: bool, tmp_path: Path) -> None:
    path = save(tmp_path / name, highest, kind)
    assert decode([path], 0, lambda _: None)[path].dark is dark


def test_colours_of_sixteen_bits_count_too(tmp_path: Path) -> None:
    """Pillow gives their upper 8 bits without a word."""
    image = Image.fromarray((LEVELS[..., None] * [15, 15, 15]).astype(np.uint8))
    image.save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").getextrema() == ((0, 15),) * 3
    assert decode([str(tmp_path / "a.png")], 0, lambda _: None)[str(tmp_path / "a.png")].dark


def test_the_check_notes_their_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folders(tmp_path / "photos", {"train": 4, "test": 2})
    for number in range(2):
        save(folder / "train" / "boot" / f"{number}.png", 4095 - number, np.uint16)
    config = tmp_path / "c.yaml"
    config.write_text(
        f"data:\n  class_path: starft.data.ImageFolder\n  init_args: {{root: {folder}, val_fraction: 0}}\n"
    )
    assert main(["data", "check", "--config", str(config), "--deep", "--workers=0"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "ImageFolder, train: 2 of 10 pictures (20%) come out nearly black: " in said
    assert "files of 16 bits that use 12, or of 32 with values to 255, do; save them with 8 bits" in said


def test_what_cannot_be_read_is_not_dark() -> None:
    assert not Decoded("broken", b"").dark
