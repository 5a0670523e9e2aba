"""Absolute paths without a root, names in another Unicode form, and messages that name a folder."""

import unicodedata
from pathlib import Path

import pytest

from fakes.own_images import write_jpeg
from starft.data import CSV, CSVSource
from starft.data.check import Checked
from starft.data.datasets.new_images import NewImages
from starft.data.problem_texts import Problem


def write(file: Path, paths: list[str]) -> Path:
    """Write a table of two classes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"{path},{'cat' if at % 2 else 'dog'},{('train', 'test')[at // 2 % 2]}\n" for at, path in
                   enumerate(paths))  # fmt: skip
    file.write_text(f"path,label,split\n{rows}", encoding="utf-8")
    return file


def photos(folder: Path, names: list[str]) -> list[str]:
    for number, name in enumerate(names):
        write_jpeg(folder / name, number)
    return [str(folder / name) for name in names]


def checked(data: CSV) -> list[Checked]:
    return data.check("fit", "test")


def problems(data: CSV) -> list[Problem]:
    return [problem for one in checked(data) for problem in one.problems if problem.stops]


@pytest.mark.parametrize(
    "where", [["a/1.jpg", "a/2.jpg", "b/3.jpg", "b/c/4.jpg"], ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]]
)
@pytest.mark.parametrize("elsewhere", [True, False])
def test_absolute_paths_need_no_root(where: list[str], elsewhere: bool, tmp_path: Path) -> None:
    paths = photos(tmp_path / "photos", where)
    file = write(tmp_path / ("lists" if elsewhere else "photos") / "mine.csv", paths)
    data = CSV(file, val_fraction=0)
    assert problems(data) == []
    assert data.source.root == tmp_path / "photos"
    images = [f"{data.source.root}/{path}" for split in ("train", "test") for path in data.source.table(split).paths]
    assert sorted(images) == sorted(paths)
    examples = [one.example for one in checked(data)]
    assert {*examples} <= {*paths}


def test_new_images_by_absolute_paths(tmp_path: Path) -> None:
    paths = photos(tmp_path / "photos", ["a/1.jpg", "b/2.jpg"])
    trained = CSVSource(write(tmp_path / "lists" / "mine.csv", paths))
    table = NewImages(tmp_path / "lists" / "mine.csv", trained).table("test")
    assert (table.root, table.paths) == (tmp_path / "photos", ("a/1.jpg", "b/2.jpg"))


def test_a_root_that_is_given_holds_all_or_the_option_is_named(tmp_path: Path) -> None:
    paths = photos(tmp_path / "photos", ["1.jpg", "2.jpg", "3.jpg", "4.jpg"])
    (tmp_path / "other").mkdir()
    file = write(tmp_path / "lists" / "mine.csv", paths)
    texts = [problem.text for problem in problems(CSV(file, root=tmp_path / "other", val_fraction=0))]
    assert all("outside of" in text and "give a root that holds all images, as data.init_args.root" in text
               for text in texts)  # fmt: skip
    mixed = write(tmp_path / "lists" / "mixed.csv", ["x.jpg", *paths[1:]])
    assert any("all images, as data.init_args.root" in problem.text for problem in problems(CSV(mixed, val_fraction=0)))


def test_the_folder_is_named_where_it_is_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = write(Path("mine.csv"), ["1.jpg", "2.jpg", "3.jpg", "4.jpg"])
    texts = [problem.text for problem in problems(CSV(file, val_fraction=0))]
    assert texts == [
        f"none of the 2 images is below {tmp_path}, such as 1.jpg",
        f"none of the 2 images is below {tmp_path}, such as 3.jpg",
    ]


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "Grévy") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("file", "table", "told"),
    [
        (f"{DECOMPOSED}.jpg", f"{COMPOSED}.jpg", "spelt in decomposed Unicode (NFD), unlike here"),
        (f"{COMPOSED}.jpg", f"{DECOMPOSED}.jpg", "spelt in composed Unicode (NFC), unlike here"),
        (f"{DECOMPOSED}/a.jpg", f"{COMPOSED}/a.jpg", "spelt in decomposed Unicode (NFD), unlike here"),
        (f"{DECOMPOSED}/{COMPOSED}.jpg", f"{COMPOSED}/{COMPOSED}.jpg", "spelt in mixed Unicode, unlike here"),
        ("IMG_1.JPG", "img_1.jpg", "spelt as IMG_1.JPG"),
    ],
)
def test_a_name_in_another_form_is_said(file: str, table: str, told: str, tmp_path: Path) -> None:
    photos(tmp_path, [file, "2.jpg", "3.jpg", "4.jpg"])
    if (tmp_path / table).exists():
        pytest.skip("this file system takes both forms for one")
    data = CSV(write(tmp_path / "mine.csv", [table, "2.jpg", "3.jpg", "4.jpg"]), val_fraction=0)
    (text,) = [problem.whole for problem in problems(data)]
    assert text == (
        f"1 of 2 images is missing below {tmp_path} ({table}), of which 1 is there, {told}: rename them, "
        "or take their rows out"
    )
