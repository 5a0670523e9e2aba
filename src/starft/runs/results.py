"""What a run's results.json says, of this schema or an earlier one; read without torch by all who tell of it."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starft.files.atomic import load_json
from starft.runs.layout import RESULTS
from starft.runs.manifest import file_problem

SCHEMA_VERSION = 2
"""Of the file that `starft test` writes."""

FEW_IMAGES = 25
"""A group of fewer images says too little to choose or judge a model by."""

HEADINGS = {
    "acc": "accuracy",
    "worst_group_acc": "worst group",
    "typical_acc": "typical",
    "atypical_acc": "atypical",
    "group_mean_acc": "group mean",
    "adjusted_acc": "adjusted",
    "top5_acc": "top 5",
    "macro_f1": "macro F1",
    "ece": "ECE",
    "text_head_acc": "text head",
    "i2t_r1": "image to text R@1",
    "i2t_r5": "image to text R@5",
    "t2i_r1": "text to image R@1",
    "t2i_r5": "text to image R@5",
}
"""Metric -> its heading; other metrics keep their names."""

LEGEND = {
    "typical_acc": "typical: accuracy of the images that show their label's usual attribute of the training set",
    "atypical_acc": "atypical: accuracy of the images that show another attribute than their label's usual one",
    "group_mean_acc": "group mean: unweighted mean of the groups' accuracies",
    "adjusted_acc": "adjusted: the groups' accuracies weighted by their shares of the training set",
    "ece": "ECE: expected calibration error, lower is better",
    "text_head_acc": (
        "text head: accuracy of the zero-shot head re-made from the tuned text tower, where accuracy is that of the "
        "trained linear head"
    ),
    "i2t_r1": (
        "R@K: share of images whose caption is among the K likeliest of the set's texts, and of texts whose image is "
        "among the K likeliest images"
    ),
}
"""Metric -> what its heading in tables means, where the heading doesn't say it."""

Interval = tuple[float, float]

ROUNDING = 1e-6
"""How far from [0, 1] a share of float32 may come."""
MOST_SAMPLES = 10**12


def legend(metrics: Iterable[str]) -> str:
    """Return one sentence on the headings that need one; "" where none does.

    Args:
        metrics: Those that a table shows, by their names, with an eval set's before them or not.
    """
    shown = {metric.rpartition("/")[2] for metric in metrics}
    messages = [text for metric, text in LEGEND.items() if metric in shown]
    return f"{'; '.join(messages)}." if messages else ""


@dataclass(frozen=True)
class Group:
    """One group of an eval set.

    Args:
        name: The group's name.
        n: Samples.
        acc: Accuracy; None where there are none.
        ci95: Its interval.
        typical: Whether it pairs a label with its usual attribute; None where that can't be said.
    """

    name: str
    n: int
    acc: float | None
    ci95: Interval | None
    typical: bool | None = None


@dataclass(frozen=True)
class Scores:
    """One eval set of a run.

    Args:
        ood: Whether it counts in ``ood_acc``.
        n: Samples.
        metrics: Metric -> value; None where nothing was seen.
        ci95: Metric -> interval, for those that have one.
        groups: In the order of group ids; one, of everything, where the set has none.
        weights: Group -> weight in adjusted accuracy.
    """

    ood: bool
    n: int
    metrics: dict[str, float | None]
    ci95: dict[str, Interval]
    groups: tuple[Group, ...]
    weights: dict[str, float]

    def interval(self, metric: str) -> Interval | None:
        """Return the interval of a metric, or None; the first schema has that of accuracy with the groups only.

        Args:
            metric: Its name.
        """
        if metric == "acc" and metric not in self.ci95 and len(self.groups) == 1:
            return self.groups[0].ci95
        return self.ci95.get(metric)


@dataclass(frozen=True)
class Results:
    """What one run of ``starft test`` found.

    Args:
        schema_version: Of the file.
        sets: Eval sets by name.
        ood_acc: Mean accuracy over the OOD sets; None without any.
        config: The resolved config.
        facts: ``seed``, ``git_commit``, ``seconds``, ``versions``, ``hardware``.
        training: ``seconds``, ``peak_memory_bytes`` and more of the training; empty where nothing was trained.
        peak_memory_bytes: Of the test.
        notes: What makes these numbers those of a part of a run or of its data, a sentence each.
    """

    schema_version: int
    sets: dict[str, Scores]
    ood_acc: float | None
    config: dict[str, Any]
    facts: dict[str, Any]
    training: dict[str, Any]
    peak_memory_bytes: int | None
    notes: tuple[str, ...] = ()

    @property
    def metrics(self) -> dict[str, float]:
        """Every number by its full name, ``{eval set}/{metric}`` or ``ood_acc``, less those nothing was seen of."""
        results = {
            f"{name}/{metric}": value
            for name, item in self.sets.items()
            for metric, value in item.metrics.items()
            if value is not None
        }
        return results if self.ood_acc is None else {**results, "ood_acc": self.ood_acc}

    @property
    def note(self) -> str | None:
        """What a reader should know of the file's version and of what was scored; None for nothing."""
        version, notes = f"schema {self.schema_version}", [note.removesuffix(".") for note in self.notes]
        if self.schema_version < SCHEMA_VERSION:
            notes.insert(0, f"results.json is of an earlier starft ({version}), which told fewer numbers")
        elif self.schema_version > SCHEMA_VERSION:
            notes.insert(0, f"results.json is of a newer starft ({version}), whose news aren't shown")
        return "; ".join(notes) or None


def read_results(path: Path) -> Results:
    """Read a results.json.

    Args:
        path: The file.

    Raises:
        OSError: It can't be read.
        ValueError: It is damaged or was edited; the sentence, without its period, says how.
    """
    problem = file_problem(path)
    if problem:
        raise ValueError(problem)
    try:
        value = load_json(path.read_text(encoding="utf-8"))
        sets = {str(name): _scores(item) for name, item in value["eval_sets"].items()}
        return Results(
            schema_version=int(value.get("schema_version", 1)),
            sets=sets,
            ood_acc=_share(value.get("ood_acc")),
            config=dict(value.get("config") or {}),
            facts={key: value.get(key) for key in ("seed", "git_commit", "seconds")}
            | {key: {str(k): v for k, v in (value.get(key) or {}).items()} for key in ("versions", "hardware")},
            training=dict(value.get("training") or {}),
            peak_memory_bytes=value.get("peak_memory_bytes"),
            notes=tuple(str(note) for note in value.get("notes") or ()),
        )
    except OSError:
        raise
    except Exception as error:  # RecursionError and what else nested or mistyped values make
        raise ValueError(f"{RESULTS} is damaged ({_why(error)})") from error


class _OutOfRangeError(ValueError):
    """A number that no test can give."""


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, _OutOfRangeError) else type(error).__name__


def _scores(held: Mapping[str, Any]) -> Scores:
    groups = tuple(
        Group(str(item["name"]), _count(item["n"]), _share(item["acc"]), _interval(item["ci95"]), item.get("typical"))
        for item in held["groups"]
    )
    weights = held.get("adjusted_weights") or {"shares": {}}
    intervals = {str(name): _interval(ends) for name, ends in held.get("ci95", {}).items()}
    return Scores(
        ood=bool(held["ood"]),
        n=sum(group.n for group in groups),
        metrics={str(name): _share(value) for name, value in held["metrics"].items()},
        ci95={name: ends for name, ends in intervals.items() if ends is not None},
        groups=groups,
        weights={str(name): _share(share) or 0.0 for name, share in weights["shares"].items()},
    )


def _share(value: Any) -> float | None:
    """Return a number in [0, 1]; files of the first schema hold NaN for None."""
    if value is None or math.isnan(value):
        return None
    if not -ROUNDING <= value <= 1 + ROUNDING:
        raise _OutOfRangeError(f"{value} isn't in [0, 1]")
    return min(max(float(value), 0.0), 1.0)


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < MOST_SAMPLES:
        raise _OutOfRangeError(f"{value!r} is no number of samples")
    return value


def _interval(ends: Any) -> Interval | None:
    if ends is None:
        return None
    low, high = (_share(end) for end in ends)
    return None if low is None or high is None else (low, high)
