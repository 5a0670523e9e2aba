"""Numbers about predictions: the evaluator, accuracies by group, and what else torchmetrics lacks."""

from starft.evaluation.f1 import MacroF1
from starft.evaluation.frames import AnchorAccuracy, FrameSetAccuracy
from starft.evaluation.group_metrics import (
    AdjustedAccuracy,
    AverageAccuracy,
    GroupAccuracy,
    GroupCounts,
    GroupMeanAccuracy,
    SomeGroupsAccuracy,
    WorstGroupAccuracy,
)

__all__ = [
    "AdjustedAccuracy",
    "AnchorAccuracy",
    "AverageAccuracy",
    "FrameSetAccuracy",
    "GroupAccuracy",
    "GroupCounts",
    "GroupMeanAccuracy",
    "MacroF1",
    "SomeGroupsAccuracy",
    "WorstGroupAccuracy",
]
