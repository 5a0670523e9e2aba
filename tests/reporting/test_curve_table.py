"""The table of a sweep: what fits a terminal; the rest is in the file of numbers."""

from starft.reporting.curve import curve_table


def test_accuracies_and_worst_groups_are_shown_and_nothing_else() -> None:
    metrics = {"id/acc": 0.5, "id/ece": 0.1, "id/text_head_acc": 0.4, "groups/worst_group_acc": 0.25, "ood_acc": 0.125}
    table = curve_table([{"alpha": 0.25, "metrics": metrics}])
    assert [list(column.cells) for column in table.columns] == [["0.25"], ["50.0"], ["25.0"], ["12.5"]]
