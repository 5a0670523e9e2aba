"""The tables of ``starft data check``, cell by cell."""

import io
from dataclasses import dataclass, field

from starft.reporting.console import Console
from starft.reporting.data_report import SHOWN, data_tables


@dataclass
class Found:
    """What was found of one split."""

    name: str
    split: str
    class_names: tuple[str, ...] = ()
    templates: tuple[str, ...] = ("a {}.",)
    groups: list[tuple[str, int, int | None]] = field(default_factory=list)
    title: str = "Shoes"
    images: int | None = 1234
    published: int | None = None
    classes: tuple[int, int] = (2, 3)
    example: str | None = "in/[a].jpg"


def printed(*found: Found, templates: tuple[str, ...] = ()) -> list[list[list[str]]]:
    """Return the cells of each table."""
    tables = []
    for table in data_tables(found, templates):
        out = io.StringIO()
        Console(file=out, width=160).print(table)
        lines = [line.replace("┃", "│") for line in out.getvalue().splitlines() if "│" in line.replace("┃", "│")]
        tables.append([[cell.strip() for cell in line[1:-1].split("│")] for line in lines])
    return tables


def test_splits() -> None:
    sets = (Found("train", "train"), Found("id", "val", images=None, classes=(0, 0), example=None))
    assert printed(*sets)[0][0] == ["set", "data set", "split", "images", "classes", "example"], "nothing is published"
    (table,) = printed(*sets, Found("far", "test", images=7, published=8))
    assert table == [
        ["set", "data set", "split", "images", "published", "classes", "example"],
        ["train", "Shoes", "train", "1,234", "–", "2 of 3", "in/[a].jpg"],
        ["id", "Shoes", "val", "–", "–", "–", "–"],
        ["far", "Shoes", "test", "7", "8", "2 of 3", "in/[a].jpg"],
    ]


def test_class_names_and_captions() -> None:
    few, many = ("boot", "[bold] sandal"), tuple(f"shoe {number}" for number in range(1200))
    sets = (Found("train", "train", few), Found("id", "val", few), Found("far", "test", many, ("a {}.", "the {}.")))
    assert printed(*sets, Found("new", "test"))[1] == [
        ["set", "class names", "a caption"],
        ["train, id val", "boot, [bold] sandal", "a boot."],
        ["far test", ", ".join(many[:6]) + ", ... (1,200)", "a shoe 0. (one of 2 templates)"],
    ]
    assert printed(*sets, templates=("my {}",))[1][1:3] == [
        ["train", "boot, [bold] sandal", "my boot"],
        ["id val", "boot, [bold] sandal", "a boot."],
    ]


def test_twenty_groups_are_listed_and_the_others_counted() -> None:
    names = [f"group {number}" for number in range(SHOWN + 3)]
    train = Found("train", "train", groups=[(name, 1000 + at, None) for at, name in enumerate(names)])
    test = Found("id", "test", groups=[(names[0], 1, 2000)])
    table = printed(train, test)[1]
    assert SHOWN == 20
    assert table[0] == ["group", "train", "id test"]
    assert table[1:3] == [["group 0", "1,000", "1 (2,000)"], ["group 1", "1,001", "–"]]
    assert table[20:] == [["group 19", "1,019", "–"], ["... and 3 more", "", ""]]
    train.groups = train.groups[:SHOWN]
    assert len(printed(train)[1]) == 1 + SHOWN, "nothing is left out of twenty"
