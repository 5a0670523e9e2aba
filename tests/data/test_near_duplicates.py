"""Copies that aren't the same pixels are found, and pictures of one scene aren't taken for copies."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakes.own_images import write_jpeg
from starft.data import ImageTable
from starft.data.check import Checked
from starft.data.decode_check import decode, files, look_deep
from starft.data.near_duplicates import SIDE, copies, small_picture
from starft.mini.splits import home_pictures
from starft.mini.world import draw


def quality_50(image: Image.Image) -> Image.Image:
    file = BytesIO()
    image.save(file, "JPEG", quality=50)
    return Image.open(file).convert("RGB")


def half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)


def mirrored(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def cropped(image: Image.Image) -> Image.Image:
    """Return 80 % of each side, from the lower left."""
    width, height = image.size
    return image.crop((width // 20, height // 5, width // 20 + 4 * width // 5, height))


CHANGES = (quality_50, half, mirrored, cropped)


def drawings(split: str, count: int) -> list[Image.Image]:
    return [Image.fromarray(draw(row.picture)) for row in home_pictures(split, count, 0)]


@pytest.mark.slow
def test_copies_are_found_and_drawings_of_one_scene_are_none() -> None:
    train = drawings("train", 40)
    planted = [CHANGES[at % 4](train[at]) for at in range(24)]
    first = np.stack([small_picture(image) for image in [*drawings("test-id", 40), *planted]])
    second = np.stack([small_picture(image) for image in train])
    assert first.shape == (64, SIDE, SIDE, 3)
    found = [(copy.first, copy.second) for copy in copies(first, second)]
    assert [pair for pair in found if pair[0] < 40] == []
    assert len({*found} & {(40 + at, at) for at in range(24)}) >= 23
    back = {(copy.second, copy.first) for copy in copies(second, first)}
    assert len(back & {(40 + at, at) for at in range(24)}) >= 22, "whichever of the two is the copy"


def test_a_small_picture_is_the_middle_square() -> None:
    image = Image.new("RGB", (3 * SIDE, SIDE), (255, 0, 0))
    image.paste((0, 0, 255), (SIDE, 0, 2 * SIDE, SIDE))
    assert (small_picture(image) == (0, 0, 255)).all()


def test_pictures_of_one_colour_and_no_pictures_have_no_copies() -> None:
    flat = np.full((2, SIDE, SIDE, 3), 128, dtype=np.uint8)
    assert copies(flat, flat) == []
    assert copies(flat[:0], flat) == copies(flat, flat[:0]) == []


def test_data_check_deep_notes_copies_of_training_images_that_are_not_the_same_file(tmp_path: Path) -> None:
    for number in range(6):
        write_jpeg(tmp_path / f"{number}.jpg", number, (64, 64))
    with Image.open(tmp_path / "0.jpg") as image:
        half(mirrored(image)).save(tmp_path / "4.jpg", quality=80)
    (tmp_path / "5.jpg").write_bytes((tmp_path / "1.jpg").read_bytes())
    train, test = (
        ImageTable(tmp_path, [f"{number}.jpg" for number in some], np.array([0, 1] * (len(some) // 2)))
        for some in (range(4), (4, 5))
    )
    checked = [Checked("id", "Shoes", split, table=table) for split, table in (("train", train), ("test", test))]
    look_deep(checked, train, decode([*files(train), *files(test)], 0, lambda _: None))
    assert [(problem.text, problem.stops) for problem in checked[1].problems] == [
        (f"1 picture is in train too: {tmp_path}/5.jpg = {tmp_path}/1.jpg; keep each in one split", True),
        (
            "1 picture looks like a copy of one in train, resized, recompressed, mirrored or cropped: "
            f"{tmp_path}/4.jpg = {tmp_path}/0.jpg",
            False,
        ),
    ]
