"""What ``starft data check`` tells: tables cell by cell, shares by hand, Cramér's V by phi, statsmodels' intervals."""

from math import sqrt
from typing import Any

import pytest
from statsmodels.stats.proportion import proportion_confint

from starft.data import splits
from starft.data.check import Checked
from starft.reporting.data_report import LABELS, SHOWN, data_tables, shortcut, small_group, usual_groups
from starft.runs.results import FEW_IMAGES

BIRDS, PLACES = ("landbird", "waterbird"), ("land", "water")


def split_of(
    name: str, split: str, class_names: tuple[str, ...] = (), templates: tuple[str, ...] = ("a {}.",), **found: Any
) -> Checked:
    """Return what was found of one split."""
    found = {"images": 1234, "classes": (2, 3), "example": "in/[a].jpg", **found}
    return Checked(name, "Shoes", split, class_names=class_names, templates=templates, **found)


def tables_of(*found: Checked, templates: tuple[str, ...] = ()) -> list[list[list[str]]]:
    """Return headings and cells of each table."""
    tables = data_tables(found, templates)
    return [[list(table.headings), *([str(cell) for cell in row] for row in table.rows)] for table in tables]


def test_splits() -> None:
    sets = (split_of("train", "train"), split_of("id", "val", images=None, classes=(0, 0), example=None))
    assert tables_of(*sets)[0][0] == ["set", "data set", "split", "images", "classes", "example"], (
        "nothing is published"
    )
    (table,) = tables_of(*sets, split_of("far", "test", images=7, published=8))
    assert table == [
        ["set", "data set", "split", "images", "published", "classes", "example"],
        ["train", "Shoes", "train", "1,234", "–", "2 of 3", "in/[a].jpg"],
        ["id", "Shoes", "val", "–", "–", "–", "–"],
        ["far", "Shoes", "test", "7", "8", "2 of 3", "in/[a].jpg"],
    ]


def test_class_names_and_captions() -> None:
    few, many = ("boot", "[bold] sandal"), tuple(f"shoe {number}" for number in range(1200))
    sets = (
        split_of("train", "train", few),
        split_of("id", "val", few),
        split_of("far", "test", many, ("a {}.", "the {}.")),
    )
    assert tables_of(*sets, split_of("new", "test"))[1] == [
        ["set", "class names", "a caption"],
        ["train, id val", "boot, [bold] sandal", "a boot."],
        ["far test", ", ".join(many[:6]) + ", ... (1,200)", "a shoe 0. (one of 2 templates)"],
    ]
    assert tables_of(*sets, templates=("my {}",))[1][1:3] == [
        ["train", "boot, [bold] sandal", "my boot"],
        ["id val", "boot, [bold] sandal", "a boot."],
    ]


def test_twenty_groups_are_listed_and_the_others_counted() -> None:
    names = [f"group {number}" for number in range(SHOWN + 3)]
    train = split_of("train", "train", groups=[(name, 1000 + at, None) for at, name in enumerate(names)])
    test = split_of("id", "test", groups=[(names[0], 1, 2000)])
    table = tables_of(train, test)[1]
    assert SHOWN == 20
    assert table[0] == ["group", "train", "id test"]
    assert table[1:3] == [["group 0", "1,000", "1 (2,000)"], ["group 1", "1,001", "–"]]
    assert table[20:] == [["group 19", "1,019", "–"], ["... and 3 more", "", ""]]
    train.groups = train.groups[:SHOWN]
    assert len(tables_of(train)[1]) == 1 + SHOWN, "nothing is left out of twenty"


def test_a_shortcut_is_told_by_shares_and_by_one_number() -> None:
    a, b, c, d = counts = (3498, 184, 56, 1057)  # Waterbirds' train split
    phi = abs(a * d - b * c) / sqrt((a + b) * (c + d) * (a + c) * (b + d))
    shares, strength = shortcut(counts, BIRDS, PLACES)
    assert shares == "most common attribute of each label: 95 % of landbird are 'land'; 95 % of waterbird are 'water'."
    assert strength == (
        f"Cramér's V of label and attribute: {phi:.2f} of 1; a model can learn the attribute instead of the label."
    )


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ((95, 5, 95, 5), "0.00 of 1; the attribute tells little of the label."),  # though 95 % of each are alike
        ((60, 40, 40, 60), "0.20 of 1; a model may lean on the attribute."),
        ((7, 0, 0, 9), "1.00 of 1; a model can learn the attribute instead of the label."),
    ],
)
def test_shares_alone_are_no_shortcut(counts: tuple[int, ...], told: str) -> None:
    assert shortcut(counts, BIRDS, PLACES)[1].endswith(told)


def test_labels_and_attributes_without_images_are_left_out() -> None:
    names, places = ("boot", "clog", "pump"), ("sand", "snow", "grass")
    shares, strength = shortcut((9, 1, 0, 0, 0, 0, 1, 9, 0), names, places)
    assert shares == "most common attribute of each label: 90 % of boot are 'sand'; 90 % of pump are 'snow'."
    assert strength.startswith("Cramér's V of label and attribute: 0.80 of 1;")
    assert shortcut((4, 0, 3, 0), BIRDS, PLACES) == [
        "most common attribute of each label: 100 % of landbird are 'land'; 100 % of waterbird are 'land'."
    ]
    assert shortcut((0, 0, 0, 0), BIRDS, PLACES) == []


def test_of_many_labels_the_most_one_sided_are_listed() -> None:
    counts = [count for number in range(50, 60) for count in (number, 100 - number)]
    shares, _ = shortcut(counts, [f"c{number}" for number in range(50, 60)], ("x", "y"))
    assert shares.startswith("most common attribute of each label: 59 % of c59 are 'x'; 58 % of c58 are 'x'; ")
    assert shares.count(" are ") == LABELS
    assert shares.endswith("; ... (10 labels).")


def test_a_validation_group_that_is_too_small() -> None:
    low, high = proportion_confint(2, 4, method="wilson")
    assert small_group("id", [("a", 40), ("b", 0), ("c", 4)]) == (
        f"the smallest group, 'c', has 4 images: the 95 % interval of its accuracy reaches up to "
        f"{50 * (high - low):.0f} points to each side, so val/id/worst_group_acc would choose a checkpoint by little "
        "more than chance; keep val/id/acc, or validate on more images"
    )
    assert "'c', has 1 image: " in small_group("id", [("c", 1)])
    assert small_group("id", [("a", FEW_IMAGES - 1)])
    for fine in ([], [("a", 0)], [("a", FEW_IMAGES)]):
        assert small_group("id", fine) == ""


def test_a_test_group_that_is_too_small() -> None:
    note = small_group("id", [("a", 40), ("b", 1)], "test", pairs=True)
    assert note.startswith("the smallest group, 'b', has 1 image: ")
    advice = "look at test/id/atypical_acc too, or test on more images"
    assert note.endswith(f"so test/id/worst_group_acc would say little of a model; {advice}")
    assert small_group("id", [("b", 1)], "test").endswith("would say little of a model; test on more images")
    assert "keep val/id/acc, take val/id/atypical_acc, or" in small_group("id", [("b", 1)], "val", pairs=True)


def test_groups_are_drawn_equally_where_they_would_be_noted_as_small() -> None:
    assert splits.ENOUGH == FEW_IMAGES


def test_the_usual_group_of_each_label() -> None:
    assert usual_groups((9, 1, 0, 4, 4, 0, 0, 0, 0), 3) == {0}  # a tie and a label without images have none
    assert usual_groups((3498, 184, 56, 1057), 2) == {0, 3}
