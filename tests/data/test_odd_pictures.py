"""Pictures that are whole but odd: a broken EXIF block, and shapes that become huge when they are resized."""

import struct
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image

from fakes.own_images import write_jpeg, write_table
from starft.__main__ import main
from starft.data import CSV
from starft.data import images as reading
from starft.data.augmentation import Augmentation
from starft.data.decode_check import decode
from starft.data.images import BadImageError, TooLongError, check_length, prepared, read_image
from starft.data.imageset import Guarded, ImageSet
from starft.data.transforms import eval_transform, train_transform
from starft.inference.classifier import load
from starft.types import ImagePreprocessing

HEADER = b"Exif\0\0II*\0\x08\0\0\0"
BLOCKS = {
    "garbage": b"garbage!",
    "garbage-behind-its-name": b"Exif\0\0garbage",
    "cut-short": b"Exif\0\0II*\0",
    "cut-in-the-list": HEADER + b"\xff\xff",
    "empty": b"Exif\0\0",
    "pointing-outside": HEADER + b"\1\0" + struct.pack("<HHII", 0x112, 3, 99, 9999),
    "turn-is-a-text": HEADER + b"\1\0" + struct.pack("<HHI4s", 0x112, 2, 4, b"abc\0"),
    "turn-is-99": HEADER + b"\1\0" + struct.pack("<HHII", 0x112, 3, 1, 99) + bytes(4),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, where it opens the file
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
def test_a_broken_exif_block_is_no_broken_picture(form: str, block: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{form.lower()}"
    Image.linear_gradient("L").resize((8, 6)).convert("RGB").save(path, form, exif=BLOCKS[block])
    plain = tmp_path / f"plain.{form.lower()}"
    Image.linear_gradient("L").resize((8, 6)).convert("RGB").save(plain, form)
    assert read_image(path).tobytes() == read_image(plain).tobytes()


@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turn_beside_tags_that_cannot_be_written_anew(orientation: int, form: str, tmp_path: Path) -> None:
    """Pillow's own exif_transpose fails at them; the turn is the same."""
    picture = Image.radial_gradient("L").crop((0, 0, 90, 60)).convert("RGB")
    exif = Image.Exif()
    exif[reading.ORIENTATION] = orientation
    picture.save(tmp_path / f"fine.{form.lower()}", form, exif=exif)
    from PIL import ImageOps  # noqa: PLC0415

    with Image.open(tmp_path / f"fine.{form.lower()}") as opened:
        expected = ImageOps.exif_transpose(opened).convert("RGB")
    assert read_image(tmp_path / f"fine.{form.lower()}").tobytes() == expected.tobytes()


def long_picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 400)).save(path)
    return path


@pytest.fixture
def low(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that 32 x 6,400 pixels pass."""
    monkeypatch.setattr(reading, "RESIZED_PIXELS", 100_000)


@pytest.mark.parametrize("size", [(2, 400), (400, 2)])
def test_the_bound_counts_pixels_after_resizing(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.new("RGB", size)
    check_length(picture, (32, 32))
    monkeypatch.setattr(reading, "RESIZED_PIXELS", 32 * 6400)
    check_length(picture, (32, 32))
    monkeypatch.setattr(reading, "RESIZED_PIXELS", 32 * 6400 - 1)
    with pytest.raises(TooLongError, match=r"pixels would be .*6,400.* when its shorter side is resized"):
        check_length(picture, (32, 32))


@pytest.mark.usefixtures("low")
def test_modes_that_crop_first_or_resize_to_a_fixed_size_take_it() -> None:
    picture = Image.new("RGB", (2, 400))
    small = ImagePreprocessing(size=(32, 32))
    assert train_transform(small, Augmentation())(picture).shape == (3, 32, 32)
    assert eval_transform(ImagePreprocessing(size=(32, 32), resize_mode="squash"))(picture).shape == (3, 32, 32)
    longest = eval_transform(ImagePreprocessing(size=(32, 32), resize_mode="longest"))
    assert longest(Image.new("RGB", (8, 400))).shape == (3, 32, 32)
    with pytest.raises(TooLongError, match=r"would be 0 x 32 when its longer side is resized for the model: cut it"):
        longest(picture)
    with pytest.raises(TooLongError):
        eval_transform(small)(picture)


@pytest.mark.usefixtures("low")
def test_a_run_stops_or_skips_as_at_bombs(tmp_path: Path) -> None:
    table = write_table(tmp_path, images=8)
    long_picture(tmp_path / "images" / "003.jpg")
    data = CSV(table, test_fraction=0.5, val_fraction=0)
    images = ImageSet(data.source.table("train"), eval_transform(ImagePreprocessing(size=(32, 32))))
    tested = ImageSet(data.source.table("test"), images.plain)
    for part in (images, tested):
        rows = [Guarded(part, "skip")[at] for at in range(len(part))]
        long = [path for row in rows for path, why in row.bad if "its 2 x 400 pixels would be 32 x 6,400" in why]
        assert len(long) == sum(path.endswith("003.jpg") for path in part.table.paths)
    with pytest.raises(BadImageError, match=r"003.jpg can't be read: its 2 x 400 pixels"):
        prepared(f"{tmp_path}/images/003.jpg", images.plain)


@pytest.mark.slow
@pytest.mark.usefixtures("low")
def test_predict_and_the_classifier_tell_it(
    checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    long_picture(tmp_path / "p" / "long.png")
    write_jpeg(tmp_path / "p" / "a.jpg", 0)
    assert main(["predict", str(checkpoint), str(tmp_path / "p"), "--workers=0", "--device=cpu"]) == 0
    assert "long.png: its 2 x 400 pixels would be" in capfd.readouterr().err
    model = load(checkpoint, "cpu")
    with pytest.raises(BadImageError, match=r"long.png can't be read: its 2 x 400 pixels would be"):
        model.preprocess(tmp_path / "p" / "long.png")
    with pytest.raises(ValueError, match="2 x 400 pixels would be"):
        model.preprocess(Image.new("RGB", (2, 400)))


@pytest.mark.usefixtures("low")
def test_the_check_tells_it_for_the_usual_size(tmp_path: Path) -> None:
    path = str(long_picture(tmp_path / "long.png"))
    why = decode([path], 0, lambda _: None)[path].why
    assert why is not None
    assert why.startswith("its 2 x 400 pixels would be 224 x 44,800")


def test_the_transform_is_open_clips_own_for_all_others() -> None:
    noise = Image.effect_noise((60, 40), 50).convert("RGB")
    size = ImagePreprocessing(size=(32, 32))
    buffer = BytesIO()
    noise.save(buffer, "png")
    assert torch.equal(eval_transform(size)(noise), eval_transform(size).args[0](noise))  # type: ignore[attr-defined]
