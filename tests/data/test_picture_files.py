"""No picture and no class vanishes from folders because of how its files are called."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakes.own_images import write_folders, write_jpeg
from starft.data import ImageFolder, ImageFolderSource
from starft.data.datasets.new_images import NewImages
from starft.data.datasets.objectnet import ObjectNetSource
from starft.data.images import read_image
from starft.data.listing import Listing, list_files
from starft.data.picture_files import NO_DECODER, left_out, picture_endings
from starft.errors import ConfigError, DataError
from starft.inference.inputs import find


@pytest.fixture(autouse=True)
def no_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARFT_CACHE", str(tmp_path_factory.mktemp("cache")))


def save(path: Path, form: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path, form)


COUNTED = {
    "a.jfif": "JPEG", "b.JFIF": "JPEG", "c.jpe": "JPEG", "d.jpg": "JPEG", "e.JPG": "JPEG", "f.apng": "PNG",
    "g.avif": "AVIF", "h.jp2": "JPEG2000", "i.tga": "TGA", "j.dib": "BMP", "k.pcx": "PCX", "l.ico": "ICO",
    "m.qoi": "QOI", "n.pnm": "PPM", "o.WebP": "WEBP", "no_ending": "PNG", "tiff_without_ending": "TIFF",
    "photo.jpg_large": "JPEG", "photo.jpeg~": "JPEG", "photo.1": "GIF",
}  # fmt: skip
"""Name -> what the file is."""


def test_whatever_the_decoder_opens_counts(tmp_path: Path) -> None:
    for name, form in COUNTED.items():
        save(tmp_path / name, form)
    listing = list_files(tmp_path)
    assert listing == Listing(tuple(sorted(COUNTED)), ())
    assert all(read_image(tmp_path / name).size == (8, 8) for name in listing.images)


def test_every_ending_of_a_decoder_counts_and_none_without() -> None:
    without = {ending for ending, form in Image.registered_extensions().items() if form in NO_DECODER}
    assert not without & picture_endings()
    assert {*Image.registered_extensions()} - without >= picture_endings() > {".jpg", ".jfif", ".webp", ".tif"}


def test_what_is_left_out_is_told_and_counted(tmp_path: Path) -> None:
    write_jpeg(tmp_path / "a.jpg", 0)
    for name in ("b.heic", "c.HEIC", "d.txt", "raw.nef", ".hidden.jpg", ".DS_Store", "._a.jpg", "empty"):
        (tmp_path / name).write_bytes(b"II*\0" if name == "raw.nef" else b"")
    images, others = list_files(tmp_path)
    assert images == ("a.jpg",)
    assert left_out(others, "HERE") == (
        "6 files below HERE are left out: 2 .heic, 1 hidden, 1 .txt, 1 without an ending, 1 .nef; save as JPEG or PNG "
        "what is a picture"
    )


def test_a_run_and_the_check_tell_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_folders(tmp_path, {"train": 2, "test": 1})
    (tmp_path / "train" / "boot" / "x.heic").touch()
    (tmp_path / "train" / "notes.txt").touch()
    for one in ImageFolder(tmp_path, val_fraction=0.5).check("fit", "test"):
        notes = [problem.text for problem in one.problems if not problem.stops]
        assert any("2 files below" in note and "left out: 1 .heic, 1 .txt" in note for note in notes)


@pytest.mark.parametrize("splits", [{"": 3}, {"train": 2, "test": 1}], ids=["drawn", "folders"])
@pytest.mark.parametrize("attribute", [False, True])
def test_a_class_that_loses_all_of_its_files_is_named(splits: dict[str, int], attribute: bool, tmp_path: Path) -> None:
    write_folders(tmp_path, splits, attribute=attribute)
    for number in range(12):
        folder = tmp_path / next(iter(splits)) / ("sand" if attribute else "") / "wader"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.heic").touch()
    source = ImageFolderSource(tmp_path, attribute_level=attribute)
    assert source.class_names == ("boot", "sandal")
    lost = "1 class folder holds no picture and counts as no class: wader (12 .heic)"
    assert source.notes[0] == f"{lost} below {tmp_path}"
    named = ImageFolderSource(tmp_path, attribute_level=attribute, class_names=["a", "b", "c"])
    with pytest.raises(ConfigError, match=r"has 2 class folders \(1 class folder holds no picture"):
        named.splits  # noqa: B018


def test_a_folder_of_other_files_alone_says_which(tmp_path: Path) -> None:
    for name in ("cat/1.heic", "dog/1.heic", "dog/2.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"holds no images \(3 files below .* are left out: 2 .heic, 1 .txt"):
        ImageFolderSource(tmp_path).splits  # noqa: B018
    with pytest.raises(DataError, match=r"There is no image in .*; 3 files below .* are left out: 2 .heic, 1 .txt"):
        find([str(tmp_path)])


def test_images_to_predict_count_likewise(tmp_path: Path) -> None:
    for number in range(7):
        write_jpeg(tmp_path / f"{number}.jpg", number)
    for number in range(21):
        save(tmp_path / f"{number}.jfif", "JPEG")
    (tmp_path / "x.heic").touch()
    told = f"1 file below {tmp_path} is left out: 1 .heic; save as JPEG or PNG what is a picture"
    assert (find([str(tmp_path)]).total, find([str(tmp_path)]).notes) == (28, (told,))
    by_glob = find([f"{tmp_path}/*"])
    assert (by_glob.total, len(by_glob.notes)) == (28, 1)
    table = NewImages(tmp_path, ImageFolderSource(tmp_path)).table("test")
    assert (len(table), table.left_out) == (28, ("x.heic",))


def test_published_folders_count_likewise(tmp_path: Path) -> None:
    source = ObjectNetSource(tmp_path)
    for name in ("one/1.jfif", "one/2.heic", "two/1.jpg"):
        save(tmp_path / "images" / name, "JPEG")
    table = source.from_class_folders("images", {"one": 0, "two": 1})
    assert (table.paths, table.left_out) == (("images/one/1.jfif", "images/one/2.heic", "images/two/1.jpg"), ())
    (tmp_path / "images" / "one" / "2.heic").write_bytes(b"")
    assert source.from_class_folders("images", {"one": 0, "two": 1}).left_out == ("images/one/2.heic",)
