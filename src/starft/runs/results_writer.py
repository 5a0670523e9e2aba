"""results.json: what one run of ``starft test`` found, with its uncertainty and all that is needed to repeat it."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from starft.runs.environment import git_commit, hardware, versions
from starft.runs.layout import RESULTS
from starft.runs.manifest import replace_listed_file
from starft.runs.results import SCHEMA_VERSION
from starft.runs.sample_writer import Rows
from starft.statistics import (
    LEVEL,
    SEED,
    Interval,
    group_mean_interval,
    macro_f1_interval,
    wilson_interval,
    worst_group_interval,
)
from starft.types import EvalSet

SCHEMA = Path(__file__).with_name("results.schema.json")
"""The JSON Schema of the file."""

OTHER_REGION = "Other"
"""The region that ``worst_region_acc`` leaves out."""


class Counts(Protocol):
    """Right and all predictions of one group."""

    @property
    def name(self) -> str:
        """The group's name."""
        ...

    @property
    def correct(self) -> int:
        """Predictions that were right."""
        ...

    @property
    def total(self) -> int:
        """Predictions made."""
        ...


def write_results(
    folder: Path,
    config: Mapping[str, Any],
    metrics: Mapping[str, Tensor],
    eval_sets: Sequence[EvalSet],
    groups: Mapping[str, Sequence[Counts]],
    cost: Mapping[str, Any],
    training: Mapping[str, Any] | None,
    samples: Mapping[str, Rows] | None = None,
    notes: Sequence[str] = (),
    recalls: Mapping[str, Mapping[str, tuple[int, int]]] | None = None,
) -> Path:
    """Write results.json and return its path.

    Args:
        folder: The run folder.
        config: The resolved config.
        metrics: Logged numbers, ``test/{eval set}/{metric}``.
        eval_sets: What was tested.
        groups: Counts of each eval set's groups.
        cost: ``seconds`` and ``peak_memory_bytes`` of the test.
        training: What training took, up to the checkpoint that was tested; None where nothing was trained.
        samples: What became of each sample, by eval set; intervals that need it are left out elsewhere.
        notes: What makes these numbers those of a part of a run or of its data, a sentence each.
        recalls: Right answers and queries of each metric of retrieval, by eval set.
    """
    results = {
        "schema_version": SCHEMA_VERSION,
        "config": config,
        "seed": config.get("seed_everything"),
        "git_commit": git_commit(),
        "versions": versions(),
        "hardware": hardware(),
        **cost,
        "training": training,
        **({"notes": list(notes)} if notes else {}),
        "intervals": {"level": LEVEL, "seed": SEED},
        "ood_acc": _number(metrics.get("test/ood_acc")),
        "eval_sets": {
            eval_set.name: _eval_set(
                eval_set,
                metrics,
                groups[eval_set.name],
                (samples or {}).get(eval_set.name),
                (recalls or {}).get(eval_set.name, {}),
            )
            for eval_set in eval_sets
        },
    }
    path = folder / RESULTS
    content = (json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    replace_listed_file(path, content, folder)
    return path


def _eval_set(
    eval_set: EvalSet,
    metrics: Mapping[str, Tensor],
    groups: Sequence[Counts],
    samples: Rows | None,
    recalls: Mapping[str, tuple[int, int]],
) -> dict[str, Any]:
    start = f"test/{eval_set.name}/"
    numbers = {key.removeprefix(start): _number(value) for key, value in metrics.items() if key.startswith(start)}
    weights = eval_set.group_weights
    return {
        "ood": eval_set.ood,
        "n": sum(counts.total for counts in groups),
        "metrics": numbers,
        "ci95": {
            name: list(interval)
            for name, interval in _intervals(eval_set, groups, samples, recalls).items()
            if interval is not None and numbers.get(name) is not None
        },
        "adjusted_weights": {
            "of": "training set",
            "shares": {
                name: share / math.fsum(weights) for name, share in zip(eval_set.group_names, weights, strict=True)
            },
        }
        if weights and "adjusted_acc" in numbers
        else None,
        "groups": [
            _group(counts) | ({"typical": eval_set.typical_groups[group]} if eval_set.typical_groups else {})
            for group, counts in enumerate(groups)
        ],
    }


def _intervals(
    eval_set: EvalSet, groups: Sequence[Counts], samples: Rows | None, recalls: Mapping[str, tuple[int, int]]
) -> dict[str, Interval | None]:
    """Return the interval of every metric that has one."""
    correct, total = [counts.correct for counts in groups], [counts.total for counts in groups]
    results = {"acc": wilson_interval(sum(correct), sum(total))}
    results |= {name: wilson_interval(*counts) for name, counts in recalls.items()}
    if eval_set.group_names:
        kept = [at for at, name in enumerate(eval_set.group_names) if name != OTHER_REGION]
        results |= {
            "worst_group_acc": worst_group_interval(correct, total),
            "worst_region_acc": worst_group_interval([correct[at] for at in kept], [total[at] for at in kept]),
            "group_mean_acc": group_mean_interval(correct, total),
        }
        for name, typical in (("typical_acc", True), ("atypical_acc", False)):
            ids = [group for group, flag in enumerate(eval_set.typical_groups) if flag is typical]
            results[name] = wilson_interval(sum(correct[group] for group in ids), sum(total[group] for group in ids))
        if eval_set.group_weights:
            results["adjusted_acc"] = group_mean_interval(correct, total, eval_set.group_weights)
    if samples is not None and len(samples.label):
        results["top5_acc"] = wilson_interval(int(samples.in_top.sum()), len(samples.in_top))
        results["macro_f1"] = macro_f1_interval(samples.label.numpy(), samples.prediction.numpy())
    return results


def _number(value: Tensor | None) -> float | None:
    """Return a metric as JSON can hold it: what nothing was seen of is None."""
    return None if value is None or math.isnan(float(value)) else float(value)


def _group(counts: Counts) -> dict[str, Any]:
    low_high = wilson_interval(counts.correct, counts.total)
    return {
        "name": counts.name,
        "n": counts.total,
        "correct": counts.correct,
        "acc": counts.correct / counts.total if counts.total else None,
        "ci95": list(low_high) if low_high is not None else None,
    }
