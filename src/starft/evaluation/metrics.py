"""Which metrics an eval set gets."""

from collections.abc import Callable, Sequence

from torch import Tensor
from torchmetrics import Metric, MetricCollection

from starft.errors import ConfigError
from starft.evaluation.f1 import MacroF1
from starft.evaluation.frames import AnchorAccuracy, FrameSetAccuracy, num_frames
from starft.evaluation.group_metrics import (
    AdjustedAccuracy,
    AverageAccuracy,
    GroupCounts,
    GroupMeanAccuracy,
    SomeGroupsAccuracy,
    WorstGroupAccuracy,
)
from starft.evaluation.retrieval import RECALLS
from starft.types import EvalSet
from starft.wording import did_you_mean

COUNTS = "counts"
"""Name of the metric that holds correct and total per group; it isn't a number to log."""


OTHER_REGION = "Other"
"""The region that FMoW's worst-region accuracy leaves out."""

METRICS: dict[str, Callable[[EvalSet, int], Metric]] = {
    "worst_group_acc": lambda eval_set, groups: WorstGroupAccuracy(groups),
    "typical_acc": lambda eval_set, groups: SomeGroupsAccuracy(groups, groups_with(eval_set, typical=True)),
    "atypical_acc": lambda eval_set, groups: SomeGroupsAccuracy(groups, groups_with(eval_set, typical=False)),
    "group_mean_acc": lambda eval_set, groups: GroupMeanAccuracy(groups),
    "adjusted_acc": lambda eval_set, groups: AdjustedAccuracy(eval_set.group_weights, groups),
    "worst_region_acc": lambda eval_set, groups: WorstGroupAccuracy(
        groups, leave_out=[at for at, name in enumerate(eval_set.group_names) if name == OTHER_REGION]
    ),
    "macro_f1": lambda eval_set, groups: MacroF1(eval_set.num_labels),
    "pm0": lambda eval_set, groups: AnchorAccuracy(eval_set.frame_sets),
    "pm10": lambda eval_set, groups: FrameSetAccuracy(eval_set.frame_sets),
}
"""What ``EvalSet.metrics`` may name; ``acc`` is always there."""


def groups_with(eval_set: EvalSet, typical: bool) -> list[int]:
    """Return the ids of the groups that pair a label with its usual attribute, or with another one.

    Args:
        eval_set: What is evaluated.
        typical: Which of the two.
    """
    return [group for group, flag in enumerate(eval_set.typical_groups) if flag is typical]


def eval_metrics(eval_set: EvalSet) -> MetricCollection:
    """Return the metrics of one eval set; they share one count of each batch.

    ``acc`` always. Beside it those that the set names; where it names none, ``worst_group_acc`` and ``group_mean_acc``
    if it has groups, and ``adjusted_acc`` if the training set's group shares are known too; ``typical_acc`` and
    ``atypical_acc`` if groups are pairs of label and attribute and labels have a usual attribute in training. Sets of
    frames have ``pm0`` and ``pm10``; there each frame is a group of its own. A set without groups is counted as one
    group.

    Args:
        eval_set: What is evaluated.

    Raises:
        ConfigError: The set names a metric that there isn't.
    """
    groups = num_frames(eval_set.frame_sets) if eval_set.frame_sets else max(1, len(eval_set.group_names))
    names = list(eval_set.metrics)
    if not names and eval_set.group_names:
        names = ["worst_group_acc", "group_mean_acc", *(["adjusted_acc"] if eval_set.group_weights else [])]
        names += ["typical_acc", "atypical_acc"] if eval_set.typical_groups else []
    if eval_set.frame_sets:
        names += ["pm0", "pm10"]
    for name in names:
        if name not in METRICS:
            raise ConfigError(
                f"The eval set {eval_set.name} names the metric {name}, which doesn't exist; "
                f"give some of {', '.join(METRICS)}.{did_you_mean(name, METRICS)}"
            )
    metrics: dict[str, Metric | MetricCollection] = {"acc": AverageAccuracy(groups), COUNTS: GroupCounts(groups)}
    return MetricCollection(metrics | {name: METRICS[name](eval_set, groups) for name in names})


def eval_metric_names(eval_sets: Sequence[EvalSet], trained_classes: Sequence[str] = ()) -> list[str]:
    """Return the names of all numbers that scoring these sets gives: ``{eval set}/{metric}`` and ``ood_acc``.

    Args:
        eval_sets: What is evaluated.
        trained_classes: Classes of the trained linear head; empty without one.
    """
    names = []
    for eval_set in eval_sets:
        own = RECALLS if eval_set.captions else [name for name in eval_metrics(eval_set) if name != COUNTS]
        names += [f"{eval_set.name}/{name}" for name in own]
        if trained_classes and eval_set.class_names == tuple(trained_classes):
            names.append(f"{eval_set.name}/text_head_acc")
    return [*names, "ood_acc"] if any(eval_set.ood for eval_set in eval_sets) else names


def group_counts(metrics: MetricCollection) -> tuple[list[int], list[int]]:
    """Return how many predictions were right and how many were made, group by group."""
    counts: Tensor = metrics[COUNTS].compute()
    correct, total = counts.tolist()
    return correct, total
