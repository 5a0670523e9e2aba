"""Metrics that torchmetrics lacks."""

from starft.metrics.evaluation import eval_metrics, group_counts
from starft.metrics.groups import (
    AdjustedAccuracy,
    AverageAccuracy,
    GroupAccuracy,
    GroupCounts,
    GroupMeanAccuracy,
    WorstGroupAccuracy,
)

__all__ = [
    "AdjustedAccuracy",
    "AverageAccuracy",
    "GroupAccuracy",
    "GroupCounts",
    "GroupMeanAccuracy",
    "WorstGroupAccuracy",
    "eval_metrics",
    "group_counts",
]
