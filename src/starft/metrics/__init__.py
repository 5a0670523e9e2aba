"""Metrics that torchmetrics lacks."""

from starft.metrics.evaluation import eval_metric_names, eval_metrics, group_counts
from starft.metrics.f1 import MacroF1
from starft.metrics.frames import AnchorAccuracy, FrameSetAccuracy
from starft.metrics.groups import (
    AdjustedAccuracy,
    AverageAccuracy,
    GroupAccuracy,
    GroupCounts,
    GroupMeanAccuracy,
    SomeGroupsAccuracy,
    WorstGroupAccuracy,
)
from starft.metrics.samples import SampleRecord, Samples, accept, sample_scores, samples_of

__all__ = [
    "AdjustedAccuracy",
    "AnchorAccuracy",
    "AverageAccuracy",
    "FrameSetAccuracy",
    "GroupAccuracy",
    "GroupCounts",
    "GroupMeanAccuracy",
    "MacroF1",
    "SampleRecord",
    "Samples",
    "SomeGroupsAccuracy",
    "WorstGroupAccuracy",
    "accept",
    "eval_metric_names",
    "eval_metrics",
    "group_counts",
    "sample_scores",
    "samples_of",
]
