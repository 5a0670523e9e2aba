"""What a run's results.json says, of this schema or an earlier one; read without torch by all who tell of it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starft.digests import file_problem

RESULTS = "results.json"
SCHEMA_VERSION = 2
"""Of the file that `starft test` writes."""

LEGEND = {
    "group_mean_acc": "group mean: unweighted mean of the groups' accuracies",
    "adjusted_acc": "adjusted: the groups' accuracies weighted by their shares of the training set",
    "ece": "ECE: expected calibration error, lower is better",
    "text_head_acc": (
        "text head: accuracy of the zero-shot head re-made from the tuned text tower, where accuracy is that of the "
        "trained linear head"
    ),
}
"""Metric -> what its heading in tables means, where the heading doesn't say it."""

Interval = tuple[float, float]


def legend(metrics: Iterable[str]) -> str:
    """Return one sentence on the headings that need one; "" where none does.

    Args:
        metrics: Those that a table shows, by their names, with an eval set's before them or not.
    """
    shown = {metric.rpartition("/")[2] for metric in metrics}
    told = [text for metric, text in LEGEND.items() if metric in shown]
    return f"{'; '.join(told)}." if told else ""


@dataclass(frozen=True)
class Group:
    """One group of an eval set.

    Args:
        name: The group's name.
        n: Samples.
        acc: Accuracy; null where there are none.
        ci95: Its interval.
    """

    name: str
    n: int
    acc: float | None
    ci95: Interval | None


@dataclass(frozen=True)
class Scores:
    """One eval set of a run.

    Args:
        ood: Whether it counts in ``ood_acc``.
        n: Samples.
        metrics: Metric -> value; null where nothing was seen.
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
        """Return the interval of a metric, or null; the first schema has that of accuracy with the groups only.

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
        ood_acc: Mean accuracy over the OOD sets; null without any.
        config: The resolved config.
        facts: ``seed``, ``git_commit``, ``seconds``, ``versions``, ``hardware``.
        training: ``seconds``, ``peak_memory_bytes`` and more of the training; empty where nothing was trained.
        peak_memory_bytes: Of the test.
    """

    schema_version: int
    sets: dict[str, Scores]
    ood_acc: float | None
    config: dict[str, Any]
    facts: dict[str, Any]
    training: dict[str, Any]
    peak_memory_bytes: int | None

    @property
    def metrics(self) -> dict[str, float]:
        """Every number by its full name, ``{eval set}/{metric}`` or ``ood_acc``, less those nothing was seen of."""
        found = {
            f"{name}/{metric}": value
            for name, one in self.sets.items()
            for metric, value in one.metrics.items()
            if value is not None
        }
        return found if self.ood_acc is None else {**found, "ood_acc": self.ood_acc}

    @property
    def note(self) -> str | None:
        """What a reader should know of the file's version; null where it is this starft's."""
        if self.schema_version == SCHEMA_VERSION:
            return None
        if self.schema_version < SCHEMA_VERSION:
            return f"results.json is of an earlier starft (schema {self.schema_version}), which told fewer numbers"
        return f"results.json is of a newer starft (schema {self.schema_version}), whose news aren't shown"


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
        held = json.loads(path.read_text(encoding="utf-8"))
        sets = {str(name): _scores(one) for name, one in held["eval_sets"].items()}
        return Results(
            schema_version=int(held.get("schema_version", 1)),
            sets=sets,
            ood_acc=_number(held.get("ood_acc")),
            config=dict(held.get("config") or {}),
            facts={key: held.get(key) for key in ("seed", "git_commit", "seconds")}
            | {key: {str(k): v for k, v in (held.get(key) or {}).items()} for key in ("versions", "hardware")},
            training=dict(held.get("training") or {}),
            peak_memory_bytes=held.get("peak_memory_bytes"),
        )
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise ValueError(f"{RESULTS} is damaged ({type(error).__name__})") from error


def _scores(held: Mapping[str, Any]) -> Scores:
    groups = tuple(
        Group(str(one["name"]), int(one["n"]), _number(one["acc"]), _interval(one["ci95"])) for one in held["groups"]
    )
    weights = held.get("adjusted_weights") or {"shares": {}}
    intervals = {str(name): _interval(ends) for name, ends in held.get("ci95", {}).items()}
    return Scores(
        ood=bool(held["ood"]),
        n=sum(group.n for group in groups),
        metrics={str(name): _number(value) for name, value in held["metrics"].items()},
        ci95={name: ends for name, ends in intervals.items() if ends is not None},
        groups=groups,
        weights={str(name): float(share) for name, share in weights["shares"].items()},
    )


def _number(value: Any) -> float | None:
    if value is None:
        return None
    number = float(value)
    return number if number == number else None  # noqa: PLR0124  # files of the first schema hold NaN


def _interval(ends: Any) -> Interval | None:
    if ends is None:
        return None
    low, high = ends
    return float(low), float(high)
