"""Images with and without their label's usual attribute: a number that holds where a group is one image."""

import math
from dataclasses import replace

import pytest
import torch

from starft.evaluation.group_metrics import SomeGroupsAccuracy
from starft.evaluation.metrics import eval_metrics
from starft.types import EvalSet

SET = EvalSet(
    "id",
    ("duck", "owl"),
    ("a photo of a {}.",),
    ("duck, lake", "duck, forest", "owl, lake", "owl, forest"),
    group_weights=(0.45, 0.05, 0.1, 0.4),
    num_attributes=2,
)


def test_the_usual_attribute_is_the_most_frequent_of_the_label_in_training() -> None:
    assert SET.typical_groups == (True, False, False, True)


@pytest.mark.parametrize(
    ("weights", "typical"),
    [
        ((0.25, 0.25, 0.1, 0.4), (None, None, False, True)),  # a tie
        ((0.0, 0.0, 0.6, 0.4), (None, None, True, False)),  # no training image of the label
        ((0.25, 0.25, 0.25, 0.25), ()),
        ((), ()),
    ],
)
def test_a_label_without_a_usual_attribute(weights: tuple[float, ...], typical: tuple[bool | None, ...]) -> None:
    assert replace(SET, group_weights=weights).typical_groups == typical


def test_groups_that_are_no_pairs_have_no_usual_attribute() -> None:
    assert replace(SET, num_attributes=0).typical_groups == ()
    assert "typical_acc" not in eval_metrics(replace(SET, num_attributes=0))


def test_accuracies_by_hand() -> None:
    metrics = eval_metrics(SET)
    #                  duck, lake          duck, forest    owl, lake   owl, forest
    group = torch.tensor([0, 0, 0, 0, 1, 2, 2, 3, 3])
    preds = torch.tensor([0, 0, 0, 1, 1, 0, 1, 1, 1])
    label = torch.tensor([0, 0, 0, 0,      0,              1, 1,       1, 1])  # fmt: skip
    metrics.update(preds, label, group)
    values = {name: value for name, value in metrics.compute().items() if value.ndim == 0}
    assert values["typical_acc"] == pytest.approx(5 / 6)
    assert values["atypical_acc"] == pytest.approx(1 / 3)
    assert values["worst_group_acc"] == 0.0  # one image


def test_nothing_seen_of_these_groups_is_nan() -> None:
    metric = SomeGroupsAccuracy(3, keep=[1])
    metric.update(torch.tensor([0]), torch.tensor([0]), torch.tensor([0]))
    assert math.isnan(metric.compute())
