"""Which metrics an eval set gets, with hand counts."""

import math

import pytest
import torch

from starft.errors import ConfigError
from starft.evaluation.metrics import eval_metrics, group_counts
from starft.types import EvalSet

GROUPS = ("landbird on land", "landbird on water", "waterbird on land", "waterbird on water")
PLAIN = EvalSet("id", ("duck", "owl"), ("{}",))
GROUPED = EvalSet("groups", ("landbird", "waterbird"), ("{}",), GROUPS)
WEIGHTED = EvalSet("birds", ("landbird", "waterbird"), ("{}",), GROUPS, (0.7, 0.05, 0.05, 0.2))

# predicted, true, group: group 0 has 3 of 4, group 1 has 1 of 2, group 2 has 0 of 1, group 3 has 3 of 3
PREDS = torch.tensor([0, 0, 0, 1, 0, 1, 0, 1, 1, 1])
TARGET = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 1])
GROUP = torch.tensor([0, 0, 0, 0, 1, 1, 2, 3, 3, 3])


def numbers(eval_set: EvalSet, group: torch.Tensor = GROUP) -> dict[str, float]:
    metrics = eval_metrics(eval_set)
    metrics.update(PREDS[:3], TARGET[:3], group[:3])
    metrics.update(PREDS[3:], TARGET[3:], group[3:])
    return {name: value.item() for name, value in metrics.compute().items() if value.ndim == 0}


def test_a_set_without_groups_has_accuracy_alone() -> None:
    assert numbers(PLAIN, torch.zeros_like(GROUP)) == pytest.approx({"acc": 0.7})


def test_a_set_with_groups_has_their_worst_and_their_mean() -> None:
    expected = {"acc": 0.7, "worst_group_acc": 0.0, "group_mean_acc": (0.75 + 0.5 + 0.0 + 1.0) / 4}
    assert numbers(GROUPED) == pytest.approx(expected)


def test_training_shares_give_adjusted_accuracy() -> None:
    got = numbers(WEIGHTED)
    assert got.keys() == {"acc", "worst_group_acc", "group_mean_acc", "adjusted_acc"}
    assert got["adjusted_acc"] == pytest.approx(0.7 * 0.75 + 0.05 * 0.5 + 0.05 * 0.0 + 0.2 * 1.0)


def test_counts_by_group() -> None:
    metrics = eval_metrics(GROUPED)
    metrics.update(PREDS, TARGET, GROUP)
    assert group_counts(metrics) == ([3, 1, 0, 3], [4, 2, 1, 3])
    metrics.reset()
    metrics.update(PREDS[:6], TARGET[:6], GROUP[:6])
    assert group_counts(metrics) == ([3, 1, 0, 0], [4, 2, 0, 0])


def test_counts_of_a_set_without_groups_are_one_group() -> None:
    metrics = eval_metrics(PLAIN)
    metrics.update(PREDS, TARGET, torch.zeros_like(GROUP))
    assert group_counts(metrics) == ([7], [10])


def test_a_group_that_never_comes_is_left_out() -> None:
    metrics = eval_metrics(GROUPED)
    metrics.update(PREDS[:6], TARGET[:6], GROUP[:6])
    got = metrics.compute()
    assert got["worst_group_acc"] == 0.5
    assert got["group_mean_acc"] == 0.625


def test_shares_that_do_not_fit_the_groups_are_refused() -> None:
    with pytest.raises(ConfigError, match="one weight for each of 4 groups, got 3"):
        eval_metrics(EvalSet("birds", ("a", "b"), ("{}",), GROUPS, (0.5, 0.3, 0.2)))


def test_two_sets_do_not_share_counts() -> None:
    one, two = eval_metrics(GROUPED), eval_metrics(GROUPED)
    one.update(PREDS, TARGET, GROUP)
    two.update(PREDS[:1], TARGET[:1], GROUP[:1])
    assert sum(group_counts(one)[1]) == 10
    assert sum(group_counts(two)[1]) == 1
    assert not math.isnan(two.compute()["acc"])
