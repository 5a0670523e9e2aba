"""Tables and plot of a comparison, and the table of a sweep, against counts by hand."""

from io import StringIO
from pathlib import Path

import pytest
from PIL import Image

from starft.reporting.comparison import comparison_plot, comparison_table, gains_table
from starft.reporting.console import Console
from starft.reporting.curve import curve_table
from starft.reporting.table import Table

TITLES = {"ce": "CE", "starft": "StarFT"}
COLUMNS = {"id": "ID", "worst": "worst group"}
ONE = {"ce": {"id": [0.955], "worst": [0.7]}, "starft": {"id": [0.95], "worst": [0.8123]}}
THREE = {
    "ce": {"id": [0.9, 0.92, 0.94], "worst": [0.5, 0.7, 0.6]},
    "starft": {"id": [0.9, 0.9, 0.95], "worst": [0.6, 0.69, 0.9]},
}


def cells(table: Table) -> list[list[str]]:
    return [[str(cell) for cell in row] for row in table.rows]


def test_one_seed_has_no_spread() -> None:
    table = comparison_table(ONE, COLUMNS, TITLES)
    assert table.title == "accuracy in %"
    assert table.headings == ["method", "ID", "worst group"]
    assert cells(table) == [["CE", "95.5", "70.0"], ["StarFT", "95.0", "81.2"]]


def test_several_seeds_have_mean_and_sample_deviation() -> None:
    """By hand: 90, 92, 94 have mean 92 and deviation sqrt((4 + 0 + 4) / 2) = 2; 50, 70, 60 have 60 and 10."""
    table = comparison_table(THREE, COLUMNS, TITLES)
    assert table.title == "accuracy in %, mean ± standard deviation over 3 seeds"
    # 90, 90, 95: mean 91.67, deviation 5 / sqrt(3) = 2.89; 60, 69, 90: mean 73, deviation sqrt(474 / 2) = 15.39
    assert cells(table) == [["CE", "92.0 ± 2.0", "60.0 ± 10.0"], ["StarFT", "91.7 ± 2.9", "73.0 ± 15.4"]]


def test_gains_are_counted_seed_by_seed() -> None:
    """ID: 0, -2, +1, mean -0.33, one gain; worst group: +10, -1, +30, mean +13, two gains."""
    table = gains_table(THREE, COLUMNS, TITLES, {"starft": "ce"})
    assert table.headings == ["method", "ID", "worst group"]
    assert cells(table) == [["StarFT - CE", "-0.3 (1/3)", "+13.0 (2/3)"]]


def test_columns_come_in_the_order_asked_for() -> None:
    table = comparison_table(ONE, {"worst": "W", "id": "I"}, TITLES)
    assert table.headings == ["method", "W", "I"]
    assert cells(table)[0] == ["CE", "70.0", "95.5"]


def test_unequal_numbers_of_seeds_are_no_gain() -> None:
    uneven = {"ce": {"id": [0.9, 0.8]}, "starft": {"id": [0.9]}}
    with pytest.raises(ValueError, match="zip"):
        gains_table(uneven, {"id": "ID"}, TITLES, {"starft": "ce"})


def test_the_table_fits_a_terminal() -> None:
    console = Console(file=StringIO(), width=100)
    console.print(comparison_table(THREE, COLUMNS, TITLES))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "73.0 ± 15.4" in printed
    assert "…" not in printed


@pytest.mark.parametrize("methods", [ONE, THREE], ids=["one", "three"])
def test_the_plot_is_a_picture(methods: dict[str, dict[str, list[float]]], tmp_path: Path) -> None:
    path = tmp_path / "plot.png"
    comparison_plot(methods, COLUMNS, TITLES, path)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        picture.load()
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24)}
    blue, orange = (31, 119, 180), (255, 127, 14)  # the first two of matplotlib's colours: a bar colour a method
    assert {blue, orange} <= colours
    assert [file.name for file in tmp_path.iterdir()] == ["plot.png"]


def test_of_a_sweep_accuracies_and_worst_groups_are_shown_and_nothing_else() -> None:
    """The rest is in the file of numbers: a sweep of all metrics fits no terminal."""
    metrics = {"id/acc": 0.5, "id/ece": 0.1, "id/text_head_acc": 0.4, "groups/worst_group_acc": 0.25, "ood_acc": 0.125}
    table = curve_table([{"alpha": 0.25, "metrics": metrics}])
    assert table.headings == ["alpha", "id", "groups: worst group", "OOD mean"]
    assert cells(table) == [["0.25", "50.0", "25.0", "12.5"]]
