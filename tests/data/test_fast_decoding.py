"""Fast decoding against the exact transforms: the same crops, the same sentences, levels that differ by rounding."""

import random
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.transforms import RandomResizedCrop

from fakes.own_images import write_table
from starft.data import CSV, fast_decoding
from starft.data import images as reading
from starft.data.augmentation import Augmentation
from starft.data.fast_decoding import FastTransform, prepared_fast, transform_for
from starft.data.images import ORIENTATION, BadImageError, prepared
from starft.data.imageset import ImageSet
from starft.data.source import ImageTable
from starft.data.transforms import drawn_from, eval_transform, normalized, train_transform
from starft.types import ImagePreprocessing

SMALL = ImagePreprocessing(size=(32, 32))
CROPS = Augmentation(scale=(0.3, 0.9))


def smooth(size: tuple[int, int], mode: str = "RGB") -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode)


def saved(path: Path, size: tuple[int, int], tag: int = 1, **options: Any) -> str:
    exif = Image.Exif()
    exif[ORIENTATION] = tag
    smooth(size).save(path, **{"quality": 90, "exif": exif} | options)
    return str(path)


@pytest.fixture
def torchs_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw crops from the numbers that torchvision draws its own from."""
    monkeypatch.setattr(random, "uniform", lambda low, high: torch.empty(1).uniform_(low, high).item())
    monkeypatch.setattr(random, "randint", lambda low, high: int(torch.randint(low, high + 1, (1,))))


def off_by(fast: Tensor, exact: Tensor, preprocessing: ImagePreprocessing = SMALL) -> tuple[float, float]:
    """Return mean and maximum of the difference in levels of 0..255."""
    assert fast.dtype == torch.uint8
    assert fast.shape == exact.shape
    levels = 255 * torch.tensor(preprocessing.std).view(3, 1, 1)
    difference = ((normalized(fast, preprocessing) - exact) * levels).abs()
    return difference.mean().item(), difference.max().item()


@pytest.mark.usefixtures("torchs_draws")
@pytest.mark.parametrize("size", [(500, 375), (300, 400), (64, 64), (400, 20), (20, 400), (1, 1)])
def test_crops_are_torchvisions(size: tuple[int, int]) -> None:
    width, height = size
    theirs = RandomResizedCrop(32, scale=(0.5, 1.0))
    for seed in range(8):
        torch.manual_seed(seed)
        top, left, rows, columns = theirs.get_params(torch.empty(3, height, width), theirs.scale, theirs.ratio)
        torch.manual_seed(seed)
        assert fast_decoding._random_crop(width, height, theirs.scale, theirs.ratio) == (  # type: ignore[arg-type]
            *(left, top, left + columns, top + rows),
        )


@pytest.mark.usefixtures("torchs_draws")
@pytest.mark.parametrize("size", [(50, 40), (203, 161), (531, 620)], ids=["whole", "half", "eighth"])
@pytest.mark.parametrize("tag", range(1, 9))
def test_a_jpeg_is_seen_as_exactly_but_for_rounding(size: tuple[int, int], tag: int, tmp_path: Path) -> None:
    """Sizes that 4 and 8 don't divide, in all orientations; a crop that is a pixel off is many levels off."""
    path = saved(tmp_path / "a.jpg", size, tag)
    limits = (0.2, 1.01) if size == (50, 40) else (0.5, 4)
    wide = ImagePreprocessing(size=(24, 36))
    for preprocessing in (SMALL, wide):
        fast = FastTransform(preprocessing).of_jpeg(Path(path).read_bytes())
        assert fast is not None
        mean, most = off_by(fast, prepared(path, eval_transform(preprocessing)), preprocessing)
        assert (mean, most) < limits
        assert most < limits[1]
    for seed in range(3):
        with drawn_from(seed):
            cropped = prepared_fast(path, FastTransform(SMALL, CROPS))
        with drawn_from(seed):
            mean, most = off_by(cropped, prepared(path, train_transform(SMALL, CROPS)))
        assert mean < limits[0]
        assert most < limits[1]


@pytest.mark.parametrize(
    "preprocessing",
    [
        ImagePreprocessing(size=(32, 32), interpolation="bilinear"),
        ImagePreprocessing(size=(32, 24), resize_mode="squash", mean=(0.5,) * 3, std=(0.5,) * 3),
        ImagePreprocessing(size=(32, 32), resize_mode="longest", fill_color=128),
        ImagePreprocessing(size=(96, 96)),
    ],
    ids=["bilinear", "squash", "longest", "larger"],
)
def test_every_way_to_resize(preprocessing: ImagePreprocessing, tmp_path: Path) -> None:
    small = 2.01 if preprocessing.size == (96, 96) else 1.01  # enlarging rounds twice
    for size, limit in (((60, 44), small), ((150, 203), 4)):
        path = saved(tmp_path / "a.jpg", size)
        assert FastTransform(preprocessing).of_jpeg(Path(path).read_bytes()) is not None
        fast, exact = prepared_fast(path, FastTransform(preprocessing)), prepared(path, eval_transform(preprocessing))
        assert off_by(fast, exact, preprocessing)[1] < limit


def test_a_large_picture_is_never_decoded_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 640 x 513 pixels, fewer are decoded as long as twice those are left that are needed."""
    path, decoded = saved(tmp_path / "a.jpg", (640, 513)), list[tuple[int, ...]]()
    whole = fast_decoding.decode_jpeg

    def noted(data: bytes, **sides: int) -> NDArray[np.uint8]:
        pixels = whole(data, **sides)
        decoded.append(pixels.shape[1::-1])
        return pixels

    monkeypatch.setattr(fast_decoding, "decode_jpeg", noted)
    for side in (16, 32, 33, 64, 128, 256):
        prepared_fast(path, FastTransform(ImagePreprocessing(size=(side, side))))
    assert decoded == [(80, 65), (80, 65), (160, 129), (160, 129), (320, 257), (640, 513)]


@pytest.mark.parametrize("name", ["a.png", "grey.jpg", "ink.jpg", "deep.png", "palette.gif", "turned.png", "many.mpo"])
def test_what_is_no_plain_jpeg_is_exact(name: str, tmp_path: Path) -> None:
    modes = {"grey.jpg": "L", "ink.jpg": "CMYK", "palette.gif": "P"}
    picture = smooth((50, 40), modes.get(name, "RGB"))
    if name == "deep.png":
        picture = Image.fromarray((np.asarray(smooth((50, 40), "L")).astype(np.uint16) << 8) + 77)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    options: dict[str, Any] = {"turned.png": {"exif": exif}, "many.mpo": {"save_all": True}}.get(name, {})
    if name == "many.mpo":
        options["append_images"] = [smooth((50, 40))]
    picture.save(tmp_path / name, **options)
    path = str(tmp_path / name)
    assert FastTransform(SMALL).of_jpeg(Path(path).read_bytes()) is None
    for augmentation in (None, CROPS):
        with drawn_from(1):
            fast = prepared_fast(path, FastTransform(SMALL, augmentation))
        with drawn_from(1):
            exact = prepared(path, transform_for("exact", SMALL, augmentation))
        assert torch.equal(normalized(fast, SMALL), exact), "to the last bit"


def outcome(get: Callable[[], Tensor]) -> Tensor | str:
    try:
        return get()
    except BadImageError as error:
        return str(error)


def test_damaged_files_fail_or_not_as_exactly(tmp_path: Path) -> None:
    """Cut anywhere, or with a byte changed: the same sentence, or the same picture."""
    whole = Path(saved(tmp_path / "a.jpg", (50, 40))).read_bytes()
    rng = np.random.default_rng(0)
    damaged = [whole[:length] for length in range(0, len(whole), len(whole) // 20)]
    for at in rng.integers(0, len(whole), 60):
        damaged.append(whole[:at] + bytes([rng.integers(256)]) + whole[at + 1 :])
    failures = 0
    for data in damaged:
        (tmp_path / "a.jpg").write_bytes(data)
        path = str(tmp_path / "a.jpg")
        exact = outcome(lambda: prepared(path, eval_transform(SMALL)))  # noqa: B023  # called at once
        fast = outcome(lambda: prepared_fast(path, FastTransform(SMALL)))  # noqa: B023
        if isinstance(exact, str) or isinstance(fast, str):
            failures += 1
            assert fast == exact
        else:
            assert off_by(fast, exact)[1] < 1.01
    assert failures > 20


def test_damaged_pixels_are_pillows_at_every_scale(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hard edges of broken blocks look unlike the whole picture shrunk; to Pillow's `draft` they are the same."""
    rng, whole = np.random.default_rng(0), bytearray(Path(saved(tmp_path / "a.jpg", (304, 240))).read_bytes())
    decoded: list[Any] = []
    decode = fast_decoding.decode_jpeg
    monkeypatch.setattr(fast_decoding, "decode_jpeg", lambda *a, **k: decoded.append(decode(*a, **k)) or decoded[-1])
    refused = 0
    for at in rng.integers(len(whole) // 4, len(whole), 60):
        data = bytearray(whole)
        data[at : at + rng.integers(1, 9)] = rng.integers(0, 256, 8, dtype=np.uint8).tobytes()
        if FastTransform(SMALL).of_jpeg(bytes(data)) is None:
            refused += 1
            continue
        picture = Image.open(BytesIO(data))
        picture.draft("RGB", decoded[-1].shape[1::-1])
        np.testing.assert_array_equal(decoded[-1], np.asarray(picture))
    assert decoded[0].shape == (120, 152, 3)
    assert 10 < refused < 55


def test_what_cannot_be_read_is_told_as_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = FastTransform(SMALL)
    with pytest.raises(BadImageError, match=r"gone.jpg can't be read: it doesn't exist"):
        prepared_fast(str(tmp_path / "gone.jpg"), fast)
    with pytest.raises(BadImageError, match="can't be read: it is a folder"):
        prepared_fast(str(tmp_path), fast)
    path = saved(tmp_path / "bomb.jpg", (90, 80))
    monkeypatch.setattr(reading, "RESIZED_PIXELS", 32 * 36 - 1)
    with pytest.raises(BadImageError, match="its 90 x 80 pixels would be 36 x 32 when its shorter side"):
        prepared_fast(path, fast)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)
    with pytest.raises(BadImageError, match=r"it claims 7,200 pixels, the limit is 6,000: a decompression bomb"):
        prepared_fast(path, fast)


def test_bytes_may_come_from_elsewhere(tmp_path: Path) -> None:
    data = Path(saved(tmp_path / "a.jpg", (50, 40))).read_bytes()
    asked: list[str] = []
    members = {"/shard/a": data, "/shard/cut": data[:700], "/shard/b": b"no image"}

    def file_bytes(path: str) -> bytes:
        asked.append(path)
        return members[path]

    table = ImageTable(Path("/shard"), ["a", "cut", "b"], np.zeros(3, dtype=np.int64), file_bytes=file_bytes)
    images = ImageSet(table, FastTransform(SMALL))
    assert torch.equal(images[0]["image"], prepared_fast(str(tmp_path / "a.jpg"), images.plain))  # type: ignore[arg-type]
    with pytest.raises(BadImageError, match="/shard/cut can't be read: image file is truncated"):
        images[1]
    with pytest.raises(BadImageError, match="/shard/b can't be read: it isn't an image of a known format"):
        images[2]
    assert asked == ["/shard/a", "/shard/cut", "/shard/b"], "each once"


def test_a_reader_of_its_own_reads(tmp_path: Path) -> None:
    picture = smooth((50, 40))
    table = ImageTable(tmp_path, ["a#1"], np.zeros(1, dtype=np.int64), read=lambda _: picture, packed=True)
    row = ImageSet(table, FastTransform(SMALL))[0]
    assert torch.equal(normalized(row["image"], SMALL), eval_transform(SMALL)(picture))


def test_colours_change_as_exactly_and_by_the_key_alone(tmp_path: Path) -> None:
    """Where the crop is the whole picture, nothing but rounding differs."""
    path = saved(tmp_path / "a.jpg", (40, 40))
    whole = {"scale": (1.0, 1.0)}
    for augmentation in (
        Augmentation(**whole, color_jitter=(0.5, 0.5, 0.5, 0.2), color_jitter_prob=1.0),  # type: ignore[arg-type]
        Augmentation(**whole, gray_scale_prob=1.0),  # type: ignore[arg-type]
    ):
        fast = FastTransform(SMALL, augmentation)
        assert fast.of_jpeg(Path(path).read_bytes()) is not None
        found = []
        for key in (5, 5, 6):
            with drawn_from(key):
                found.append(prepared_fast(path, fast))
        assert torch.equal(found[0], found[1])
        assert not torch.equal(found[0], prepared_fast(path, FastTransform(SMALL, Augmentation(**whole))))  # type: ignore[arg-type]
        if augmentation.gray_scale_prob:
            with drawn_from(5):
                assert off_by(found[0], prepared(path, train_transform(SMALL, augmentation)))[1] < 2.01
        else:
            assert not torch.equal(found[0], found[2])


def test_threads_change_nothing(tmp_path: Path) -> None:
    path, threads = saved(tmp_path / "a.jpg", (90, 70)), torch.get_num_threads()
    fast = FastTransform(ImagePreprocessing(size=(64, 64)), CROPS)
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            with drawn_from(3):
                found.append(prepared_fast(path, fast))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)


def module_of(tmp_path: Path, **options: Any) -> CSV:
    data = CSV(write_table(tmp_path), **{"batch_size": 4, "eval_batch_size": 4, "num_workers": 0} | options)
    data.preprocessing = SMALL
    data.setup("fit")
    return data


def test_training_is_fast_and_evaluation_exact_unless_asked(tmp_path: Path) -> None:
    def kinds(**options: Any) -> list[torch.dtype]:
        data = module_of(tmp_path, **options)
        loaders = (data.train_dataloader(), data.val_dataloader()[0], data.plain_train_dataloader())
        return [next(iter(loader))["image"].dtype for loader in loaders]

    assert kinds() == [torch.uint8, torch.float32, torch.float32]
    assert kinds(decode="exact") == [torch.float32] * 3
    assert kinds(eval_decode="fast") == [torch.uint8] * 3
    assert kinds(augmentation=Augmentation(use_timm=True)) == [torch.float32] * 3, "timm works on floats"


def test_floats_reach_the_model_in_its_precision(tmp_path: Path) -> None:
    data = module_of(tmp_path)
    batch = next(iter(data.train_dataloader()))
    expected = normalized(batch["image"], SMALL)
    made = data.on_after_batch_transfer(dict(batch), 0)["image"]  # type: ignore[arg-type]
    assert made.dtype == torch.float32
    assert torch.equal(made, expected)
    assert torch.equal(data.on_after_batch_transfer({"image": made}, 0)["image"], made), "once"  # type: ignore[typeddict-item]
    data.trainer = L.Trainer(precision="bf16-true", accelerator="cpu", logger=False)
    assert data.on_after_batch_transfer(dict(batch), 0)["image"].dtype == torch.bfloat16  # type: ignore[arg-type]


def test_normalised_by_hand() -> None:
    levels = torch.tensor([[[0]], [[51]], [[255]]], dtype=torch.uint8)
    given = ImagePreprocessing(mean=(0.5, 0.1, 0.0), std=(0.5, 0.2, 0.25))
    assert normalized(levels, given).flatten().tolist() == pytest.approx([-1.0, 0.5, 4.0])
