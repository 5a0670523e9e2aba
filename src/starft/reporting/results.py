"""results.json: what one run of ``starft test`` found, with its uncertainty and all that is needed to repeat it."""

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import torch
from scipy.stats import binomtest
from torch import Tensor

from starft import __version__
from starft.files import replace_file
from starft.types import EvalSet

RESULTS = "results.json"
SCHEMA_VERSION = 1
PACKAGES = ("torch", "lightning", "open_clip_torch", "torchmetrics")


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
) -> Path:
    """Write results.json and return its path.

    Args:
        folder: The run folder.
        config: The resolved config.
        metrics: Logged numbers, ``test/{eval set}/{metric}``.
        eval_sets: What was tested.
        groups: Counts of each eval set's groups.
        cost: ``seconds`` and ``peak_memory_bytes`` of the test.
        training: What training took, up to the checkpoint that was tested; null where nothing was trained.
    """
    sets = {}
    for eval_set in eval_sets:
        start = f"test/{eval_set.name}/"
        sets[eval_set.name] = {
            "ood": eval_set.ood,
            "metrics": {key.removeprefix(start): float(v) for key, v in metrics.items() if key.startswith(start)},
            "groups": [_group(counts) for counts in groups[eval_set.name]],
        }
    results = {
        "schema_version": SCHEMA_VERSION,
        "config": config,
        "seed": config.get("seed_everything"),
        "git_commit": git_commit(),
        "versions": {
            "python": platform.python_version(),
            "starft": __version__,
            **{name: version(name) for name in PACKAGES},
        },
        "hardware": hardware(),
        **cost,
        "training": training,
        "ood_acc": float(metrics["test/ood_acc"]) if "test/ood_acc" in metrics else None,
        "eval_sets": sets,
    }
    path = folder / RESULTS
    replace_file(path, (json.dumps(results, indent=2, ensure_ascii=False) + "\n").encode())
    return path


def _group(counts: Counts) -> dict[str, Any]:
    low_high = wilson(counts.correct, counts.total)
    return {
        "name": counts.name,
        "n": counts.total,
        "acc": counts.correct / counts.total if counts.total else None,
        "ci95": list(low_high) if low_high is not None else None,
    }


def wilson(correct: int, total: int) -> tuple[float, float] | None:
    """Return Wilson's 95 % interval of a proportion, or null where nothing was seen.

    Args:
        correct: Successes.
        total: Trials.
    """
    if total == 0:
        return None
    interval = binomtest(correct, total).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


def git_commit() -> str | None:
    """Return the commit of the working directory's repository, with ``-dirty`` if files differ; null outside of one."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return done.stdout.strip() or None


def hardware() -> dict[str, Any]:
    """Return what the run had to run on."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {"machine": platform.machine(), "torch_threads": torch.get_num_threads(), "gpus": gpus}
