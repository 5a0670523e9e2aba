"""Splits by whatever names, and many labels onto few classes."""

from pathlib import Path
from typing import Any

import pytest

from fakes.own_images import write_jpeg
from starft.config.data import data_of
from starft.data import CSVSource, ImageFolderSource
from starft.errors import ConfigError, DataError
from starft.wording import SPLITS


def source(folder: Path, written: list[Any], **options: Any) -> CSVSource:
    """Return a table with two rows of each split."""
    rows = [f"{at}-{label}.jpg,{label},{split}" for at, split in enumerate(written) for label in ("cat", "dog")]
    (folder / "mine.csv").write_text("path,label,split\n" + "\n".join(rows) + "\n")
    return CSVSource(folder / "mine.csv", **options)


@pytest.mark.parametrize("written", [["0", "1", "2"], ["0.0", "1.0", "2.0"], ["2", "0", "1"]])
def test_waterbirds_numbers_are_understood_and_told(written: list[str], tmp_path: Path) -> None:
    read = source(tmp_path, written)
    assert read.splits == ("train", "val", "test")
    for number, split in enumerate(read.splits):
        (paths,) = {path.split("-")[0] for path in read.table(split).paths}
        assert float(written[int(paths)]) == number
    assert "the column 'split' has 0, 1 and 2, which are read as train, val and test" in read.notes


@pytest.mark.parametrize("written", [["0", "1"], ["1", "2", "3"], ["0", "1", "2", "3"]])
def test_other_numbers_must_be_mapped(written: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must be train, val or test, or be mapped, as by splits {train: 0, val: 1, "):
        source(tmp_path, written).splits  # noqa: B018


@pytest.mark.parametrize(
    "splits",
    [
        {"train": 0, "val": 1, "test": [2, 3]},
        {"train": "0", "dev": "1", "TEST": ["2", 3.0]},
        {"0": "train", "1": "val", "2": "test", "3": "test"},
        {0: "train", 1: "val", 2: "test", 3: "test"},
    ],
    ids=str,
)
def test_splits_are_mapped_either_way_round(splits: Any, tmp_path: Path) -> None:
    read = source(tmp_path, [0, 1, 2, 3], splits=splits)
    assert {split: len(read.table(split)) for split in read.splits} == {"train": 2, "val": 2, "test": 4}


def test_booleans_and_words_are_mapped(tmp_path: Path) -> None:
    assert source(tmp_path, ["False", "true"], splits={"train": False, "test": True}).splits == ("train", "test")
    assert source(tmp_path, ["fold 1", "fold 2"], splits={"train": "fold 1", "test": "fold 2"}).splits == (
        "train",
        "test",
    )


@pytest.mark.parametrize("splits", [{"a": "b"}, {}, {"train": 0, "b": 1}], ids=str)
def test_what_names_no_split_is_refused(splits: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"such as {train: 0, val: 1, test: 2}; got"):
        source(tmp_path, [0, 1], splits=splits)


def test_one_value_for_two_splits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="splits takes 0 for two splits"):
        source(tmp_path, [0, 1], splits={"train": 0, "val": 0})


def test_a_value_that_the_map_lacks_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the split column says 7 in lines 4, 5"):
        source(tmp_path, [0, 7], splits={"train": 0}).splits  # noqa: B018


@pytest.mark.parametrize("name", [*SPLITS, *(name.upper() for name in SPLITS)])
def test_columns_and_folders_know_the_same_names(name: str, tmp_path: Path) -> None:
    for number, label in enumerate(("cat", "dog")):
        write_jpeg(tmp_path / "photos" / name / label / "a.jpg", number)
    expected = (SPLITS[name.lower()],)
    assert ImageFolderSource(tmp_path / "photos").splits == source(tmp_path, [name]).splits == expected


BIRDS = {"wren": "landbird", "owl": "landbird", "gull": "waterbird", "0": "waterbird"}


def birds(folder: Path, **options: Any) -> CSVSource:
    rows = [f"{at}.jpg,{label}" for at, label in enumerate(["wren", "owl", "gull", "0.0", "owl"])]
    (folder / "birds.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    return CSVSource(folder / "birds.csv", test_fraction=0, val_fraction=0, **options)


@pytest.mark.parametrize("form", ["mapping", "csv", "csv without header", "tsv", "semicolons"])
def test_many_labels_make_few_classes(form: str, tmp_path: Path) -> None:
    lines = [f"{label},{name}" for label, name in BIRDS.items()]
    lines = lines if form == "csv without header" else ["species,class", *lines]
    text = "\n".join(lines).replace(",", {"tsv": "\t", "semicolons": "; "}.get(form, ","))
    file = tmp_path / ("map.tsv" if form == "tsv" else "map.csv")
    file.write_text("\ufeff" + text + "\n")
    read = birds(tmp_path, label_map=BIRDS if form == "mapping" else str(file))
    assert read.class_names == ("landbird", "waterbird")
    assert read.table("train").labels.tolist() == [0, 0, 1, 1, 0]
    named = birds(tmp_path, label_map=BIRDS, class_names={"waterbird": "bird of the sea", "landbird": "songbird"})
    assert named.class_names == ("bird of the sea", "songbird")
    assert named.table("train").labels.tolist() == [1, 1, 0, 0, 1]


def test_labels_that_the_map_lacks_are_told(tmp_path: Path) -> None:
    some = {label: name for label, name in BIRDS.items() if label != "owl"}
    with pytest.raises(DataError, match=r"the label 'owl' \(lines 3, 6\) is none of the 3 labels: .*list it in la"):
        birds(tmp_path, label_map=some).class_names  # noqa: B018


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("wren,landbird\nwren,waterbird\n", "gives wren two classes, landbird and waterbird"),
        ("wren\n", "Row 1 of label_map .* has 1 filled cells"),
        ("a,b,c\n", "has 3 filled cells"),
        ("", "label_map is empty"),
    ],
)
def test_a_map_that_cannot_be_used(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "map.csv").write_text(text)
    with pytest.raises(ConfigError, match=told):
        birds(tmp_path, label_map=str(tmp_path / "map.csv")).class_names  # noqa: B018
    with pytest.raises(ConfigError, match="can't be read"):
        birds(tmp_path, label_map=str(tmp_path / "no.csv")).class_names  # noqa: B018


def test_folders_are_mapped_too(tmp_path: Path) -> None:
    for number, name in enumerate(("owl", "wren", "gull")):
        write_jpeg(tmp_path / "train" / name / "a.jpg", number)
    read = ImageFolderSource(tmp_path, label_map=BIRDS)
    assert (read.class_names, read.table("train").labels.tolist()) == (("landbird", "waterbird"), [1, 0, 0])
    with pytest.raises(DataError, match="has class folders that label_map doesn't list: owl, wren"):
        ImageFolderSource(tmp_path, label_map={"gull": "a"}).splits  # noqa: B018


def test_a_config_gives_both(tmp_path: Path) -> None:
    birds(tmp_path)
    section = {
        "class_path": "starft.data.CSV",
        "init_args": {"file": str(tmp_path / "birds.csv"), "label_map": BIRDS, "splits": {"train": 0, "test": [1, 2]}},
    }
    data = data_of(section, 0, "a config")
    assert data.class_names == ("landbird", "waterbird")
    options = ["--data.init_args.splits", "{0: train, 1: val, 2: test}"]
    assert data_of(section, 0, "a config", options).class_names == ("landbird", "waterbird")


@pytest.mark.parametrize("written", [["fold0", "fold1", "fold2"], ["True", "False"], ["a", "b"]])
def test_other_words_may_be_mapped(written: list[str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"must be train, val or test, or be mapped, as by splits {train: 0, val: 1, "):
        source(tmp_path, written).splits  # noqa: B018


def test_a_mapping_that_leaves_a_value_out_is_named(tmp_path: Path) -> None:
    read = source(tmp_path, ["train", "val", "test"], splits={"train": "train", "test": "test"})
    with pytest.raises(DataError, match=r"says val in lines 4, 5; the option splits doesn't list that; add it there"):
        read.splits  # noqa: B018
