"""Which metrics an eval set gets."""

from torch import Tensor
from torchmetrics import Metric, MetricCollection

from starft.metrics.groups import (
    AdjustedAccuracy,
    AverageAccuracy,
    GroupCounts,
    GroupMeanAccuracy,
    WorstGroupAccuracy,
)
from starft.types import EvalSet

COUNTS = "counts"
"""Name of the metric that holds correct and total per group; it isn't a number to log."""


def eval_metrics(eval_set: EvalSet) -> MetricCollection:
    """Return the metrics of one eval set; they share one count of each batch.

    ``acc`` always; ``worst_group_acc`` and ``group_mean_acc`` where the set has groups; ``adjusted_acc`` where the
    training set's group shares are known too. A set without groups is counted as one group.

    Args:
        eval_set: What is evaluated.
    """
    groups = max(1, len(eval_set.group_names))
    metrics: dict[str, Metric | MetricCollection] = {"acc": AverageAccuracy(groups), COUNTS: GroupCounts(groups)}
    if eval_set.group_names:
        metrics |= {"worst_group_acc": WorstGroupAccuracy(groups), "group_mean_acc": GroupMeanAccuracy(groups)}
    if eval_set.group_weights:
        metrics["adjusted_acc"] = AdjustedAccuracy(eval_set.group_weights, groups)
    return MetricCollection(metrics)


def group_counts(metrics: MetricCollection) -> tuple[list[int], list[int]]:
    """Return how many predictions were right and how many were made, group by group."""
    counts: Tensor = metrics[COUNTS].compute()
    correct, total = counts.tolist()
    return correct, total
