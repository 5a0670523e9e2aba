"""Metrics that torchmetrics lacks."""

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
]
