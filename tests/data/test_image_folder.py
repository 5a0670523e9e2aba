"""The user's own folders: layouts, names, groups, and what is wrong with them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fakes.own_images import write_folders, write_jpeg
from starft.data import ImageFolder, ImageFolderSource
from starft.errors import ConfigError, DataError


def test_split_folders(tmp_path: Path) -> None:
    write_folders(tmp_path, {"train": 3, "Validation": 2, "test": 1})
    source = ImageFolderSource(tmp_path)
    assert source.class_names == ("boot", "sandal")
    assert source.splits == ("train", "val", "test")
    assert {split: len(source.table(split)) for split in source.splits} == {"train": 6, "val": 4, "test": 2}
    train = source.table("train")
    assert list(train.paths) == [f"train/{name}/{n}.jpg" for name in ("boot", "sandal") for n in range(3)]
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert train.groups is None
    assert source.table("val").paths[0] == "Validation/boot/0.jpg"


def test_attribute_folders(tmp_path: Path) -> None:
    write_folders(tmp_path, {"train": 2, "test": 1}, attribute=True)
    source = ImageFolderSource(tmp_path, attribute_level=True)
    assert source.group_names == ("boot, grass", "boot, sand", "sandal, grass", "sandal, sand")
    test = source.table("test")
    assert list(test.paths) == [f"test/{p}/{c}/0.jpg" for p in ("grass", "sand") for c in ("boot", "sandal")]
    assert test.groups is not None
    assert test.groups.tolist() == [0, 2, 1, 3]
    assert source.splits == ("train", "test")


def test_attributes_are_read_as_class_names_are(tmp_path: Path) -> None:
    for number, folder in enumerate(("wet_sand/sea_duck", "wet_sand/owl", "dry/owl")):
        write_jpeg(tmp_path / "train" / folder / "a.jpg", number)
    source = ImageFolderSource(tmp_path, attribute_level=True)
    assert source.group_names == ("owl, dry", "owl, wet sand", "sea duck, dry", "sea duck, wet sand")
    assert source.attribute_names == ("dry", "wet sand")


def test_levels_that_are_swapped_are_noted(tmp_path: Path) -> None:
    """Which level is which nobody can tell, unless the classes are named."""
    write_folders(tmp_path, {"train": 1}, attribute=True)
    named = ImageFolderSource(tmp_path, attribute_level=True, class_names=["Grass", "Sand"])
    assert named.notes == (
        "class_names are those of the attribute folders, grass, sand; the levels look swapped: above the class folders "
        "must stand those of the attributes",
    )
    assert ImageFolderSource(tmp_path, attribute_level=True, class_names=["boot", "sandal"]).notes == ()


@pytest.mark.parametrize("attribute", [False, True])
def test_drawn_splits(attribute: bool, tmp_path: Path) -> None:
    write_folders(tmp_path, {"": 20}, attribute=attribute)
    source = ImageFolderSource(tmp_path, attribute_level=attribute, test_fraction=0.25, val_fraction=0.25)
    sizes = {split: len(source.table(split)) for split in source.splits}
    whole = 80 if attribute else 40
    assert sizes == {"train": whole // 2, "val": whole // 4, "test": whole // 4}
    assert np.bincount(source.table("test").labels).tolist() == [whole // 8] * 2
    paths = [path for split in source.splits for path in source.table(split).paths]
    assert len(set(paths)) == whole


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (None, ("n 01", "n 02")),
        (["cat", "dog"], ("cat", "dog")),
        ({"n_01": "cat", "n_02": "dog", "n03": "fly"}, ("cat", "dog", "fly")),
        (["n_02", "n_01"], ("n_02", "n_01")),
    ],
)
def test_class_names(names: Any, expected: tuple[str, ...], tmp_path: Path) -> None:
    write_jpeg(tmp_path / "train" / "n_01" / "deep" / "er" / "a.jpg", 0)
    write_jpeg(tmp_path / "train" / "n_02" / "b.JPEG", 1)
    (tmp_path / "train" / "n_02" / "notes.txt").write_text("not an image")
    (tmp_path / "train" / "n_02" / ".hidden.jpg").write_text("not listed")
    source = ImageFolderSource(tmp_path, class_names=names)
    assert source.class_names == expected
    labels = dict(zip(source.table("train").paths, source.table("train").labels.tolist(), strict=True))
    swapped = expected[0] == "n_02"
    assert labels == {"train/n_01/deep/er/a.jpg": int(swapped), "train/n_02/b.JPEG": int(not swapped)}


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"There is no folder .*gone; .* --data.init_args.root; expected is\nROOT/\n  train/\n    CLASS/",
    ):
        _ = ImageFolderSource(tmp_path / "gone").splits
    with pytest.raises(DataError, match="holds no images; expected is"):
        _ = ImageFolderSource(tmp_path).splits
    write_jpeg(tmp_path / "one" / "train" / "cat" / "a.jpg", 0)
    with pytest.raises(DataError, match="has one class only, cat; there must be at least two"):
        _ = ImageFolderSource(tmp_path / "one").splits
    write_jpeg(tmp_path / "one" / "train" / "loose.jpg", 0)
    with pytest.raises(DataError, match=r"1 image of .*one in no class folder, such as train/loose\.jpg; move"):
        _ = ImageFolderSource(tmp_path / "one").splits
    write_folders(tmp_path / "two", {"train": 1})
    with pytest.raises(
        DataError, match=r"2 images of .*two in no class folder in an attribute folder.* attribute_level to false"
    ):
        _ = ImageFolderSource(tmp_path / "two", attribute_level=True).splits
    with pytest.raises(ConfigError, match=r"class_names has 3 names, and .*two has 2 class folders"):
        _ = ImageFolderSource(tmp_path / "two", class_names=["a", "b", "c"]).splits
    with pytest.raises(DataError, match=r"two has class folders that class_names doesn't list: sandal"):
        _ = ImageFolderSource(tmp_path / "two", class_names={"boot": "a", "x": "b"}).splits


def test_a_level_of_attributes_that_nobody_told_of_is_noted(tmp_path: Path) -> None:
    write_folders(tmp_path, {"train": 1, "test": 1}, attribute=True)
    source = ImageFolderSource(tmp_path)
    assert source.class_names == ("grass", "sand")
    assert source.notes == (
        "each class folder (grass, sand) holds the folders boot, sandal; if those are the classes, set attribute_level "
        "to true",
    )
    assert ImageFolderSource(tmp_path, attribute_level=True).notes == ()
    write_jpeg(tmp_path / "train" / "water" / "boot" / "a.jpg", 1)
    assert ImageFolderSource(tmp_path).notes == (), "one folder in common proves nothing"


def test_folders_beside_the_splits_are_noted(tmp_path: Path) -> None:
    write_folders(tmp_path, {"train": 1, "tset": 1, ".hidden": 1})
    source = ImageFolderSource(tmp_path)
    assert source.splits == ("train",)
    assert source.notes == (f"{tmp_path} has folders beside its splits that are left out: tset",)
    write_folders(tmp_path / "all", {"": 2})
    assert ImageFolderSource(tmp_path / "all").notes == ()


def test_folders_without_train(tmp_path: Path) -> None:
    write_folders(tmp_path, {"val": 1, "test": 1})
    data = ImageFolder(tmp_path)
    (found, *_) = data.check("fit")
    (problem,) = found.problems
    assert problem.stops
    assert problem.text.startswith(
        f"ImageFolder at {tmp_path} has the splits val and test but no train; name the images"
    )
