"""Waterbirds, CelebA, iWildCam and FMoW in their real layout."""

import csv
from pathlib import Path

from fakes.pictures import picture


def write_csv(path: Path, header: list[str], rows: list[list[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def waterbirds(root: Path, folder: str = "waterbird_complete95_forest2water2", val: int = 1) -> Path:
    """In training 4, 1, 2 and 5 images of the groups, in validation ``val`` and in test one each."""
    top = root / folder
    rows: list[list[object]] = []
    for split, counts in enumerate(((4, 1, 2, 5), (val,) * 4, (1, 1, 1, 1))):
        for group, count in enumerate(counts):
            for _ in range(count):
                number = len(rows)
                name = f"{number:03}.Some_Bird/Some_Bird_{number:04}_1.jpg"
                picture(top / name, group)
                rows.append([number + 1, name, group // 2, split, group % 2, "/f/forest/1.jpg"])
    rows.reverse()  # no order is promised
    write_csv(top / "metadata.csv", ["img_id", "img_filename", "y", "split", "place", "place_filename"], rows)
    return top


PEOPLE = [(-1, -1, 0), (-1, 1, 0), (1, -1, 0), (1, 1, 0), (1, -1, 0), (-1, -1, 1), (1, 1, 1), (-1, 1, 2), (1, -1, 2)]
"""Blond, male, split: one image each."""


def celeba(root: Path, kind: str = "csv", twice: bool = False) -> Path:
    """Nine faces, with lists as ``csv`` or ``txt``, and Kaggle's folder in a folder if ``twice``."""
    top = root / "celeba"
    files = [f"{number:06}.jpg" for number in range(1, len(PEOPLE) + 1)]
    for number, file in enumerate(files):
        picture(top / "img_align_celeba" / ("img_align_celeba" if twice else "") / file, number)
    names = ["5_o_Clock_Shadow", "Blond_Hair", "Male", "Young"]
    rows = [["1", str(blond), str(male), "-1"] for blond, male, _ in PEOPLE]
    if kind == "csv":
        write_csv(
            top / "list_attr_celeba.csv", ["image_id", *names], [[f, *r] for f, r in zip(files, rows, strict=True)]
        )
        parts: list[list[object]] = [[file, split] for file, (*_, split) in zip(files, PEOPLE, strict=True)]
        write_csv(top / "list_eval_partition.csv", ["image_id", "partition"], parts)
    else:
        lines = [f"{file}  {' '.join(row)}" for file, row in zip(files, rows, strict=True)]
        (top / "list_attr_celeba.txt").write_text("\n".join([str(len(files)), " ".join(names) + " ", *lines]) + "\n")
        parts_text = "".join(f"{file} {split}\n" for file, (*_, split) in zip(files, PEOPLE, strict=True))
        (top / "list_eval_partition.txt").write_text(parts_text)
    return top


def iwildcam(root: Path) -> Path:
    """Labels 0, 3 and 181; 6 training images, 2 or 3 of each other split."""
    top = root / "iwildcam_v2.0"
    names: list[list[object]] = [[y, 500 - y, "empty" if y == 0 else f"species {y}"] for y in range(182)]
    write_csv(top / "categories.csv", ["y", "id", "name"], [*names, [99999, 7, "unknown"]])
    rows: list[list[object]] = []
    for split, labels in {
        "train": (0, 3, 181, 0, 3, 181),
        "val": (0, 3),
        "test": (181, 3, 3),
        "id_val": (0, 3),
        "id_test": (3, 181),
    }.items():
        for y in labels:
            name = f"8b31d3be-21bc-11ea-a13a-{len(rows):012}.jpg"
            picture(top / "train" / name, y)
            rows.append([len(rows), split, 17, y, name])
    write_csv(top / "metadata.csv", ["", "split", "location_remapped", "y", "filename"], rows)
    return top


def fmow(root: Path) -> Path:
    """Every reason for an image to be in a split or in none, regions known and unknown."""
    top = root / "fmow_v1.1"
    codes: list[list[object]] = [
        ["France", "FRA", "Europe"],
        ["Japan", "JPN", "Asia"],
        ["Kenya", "KEN", "Africa"],
        ["Antarctica", "ATA", ""],
    ]
    write_csv(top / "country_code_mapping.csv", ["name", "alpha-3", "region"], codes)
    rows: list[list[object]] = [
        ["train", "airport", "FRA", "2012-12-31T23:59:59Z"],
        ["train", "zoo", "JPN", "2002-03-01T10:00:00Z"],
        ["train", "zoo", "FRA", "2013-01-01T00:00:00Z"],  # too late for training, and in no other split
        ["seq", "zoo", "FRA", "2010-01-01T00:00:00Z"],  # kept back by the authors
        ["val", "barn", "ATA", "2012-06-01T00:00:00Z"],  # id_val
        ["val", "barn", "XXX", "2013-06-01T00:00:00Z"],  # val
        ["val", "zoo", "KEN", "2015-12-31T23:59:59Z"],  # val
        ["val", "zoo", "KEN", "2016-01-01T00:00:00Z"],  # none
        ["test", "barn", "FRA", "2011-01-01T00:00:00Z"],  # id_test
        ["test", "barn", "FRA", "2014-01-01T00:00:00Z"],  # none
        ["test", "airport", "KEN", "2016-01-01T00:00:00Z"],  # test
        ["test", "zoo", "JPN", "2017-08-01T00:00:00Z"],  # test
        ["train", "barn", "KEN", "2011-01-01T00:00:00Z"],
        ["train", "airport", "JPN", "2011-01-01T00:00:00Z"],
        ["id_val", "zoo", "KEN", "2011-01-01T00:00:00Z"],  # no split of FMoW
        ["val", "zoo", "JPN", "2012-06-01T00:00:00Z"],  # id_val
        ["test", "airport", "KEN", "2011-01-01T00:00:00Z"],  # id_test
    ]
    for number in range(len(rows)):
        picture(top / "images" / f"rgb_img_{number}.png", number)
    write_csv(top / "rgb_metadata.csv", ["split", "category", "country_code", "timestamp"], rows)
    return top
