"""Run folders as `starft fit` and `starft test` leave them, with numbers that are written down."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from starft.runs.samples import COLUMNS, picture_path
from starft.statistics import group_mean_interval, wilson_interval, worst_group_interval

GROUPS = ("landbird on land", "landbird on water", "waterbird on land", "waterbird on water")
POOL = {"schema_version": 1, "name": "scenes", "templates": ["{} on a lake", "{} in the snow"], "per_class": {}}


def eval_set(groups: Mapping[str, tuple[int, int]], ood: bool = False) -> dict[str, Any]:
    """Return an eval set of results.json from (correct, total) of each group."""
    correct, total = [right for right, _ in groups.values()], [n for _, n in groups.values()]
    rates = [right / n for right, n in groups.values()]
    metrics, ci95 = {"acc": sum(correct) / sum(total), "ece": 0.05}, {"acc": wilson_interval(sum(correct), sum(total))}
    if len(groups) > 1:
        metrics |= {"worst_group_acc": min(rates), "group_mean_acc": sum(rates) / len(rates)}
        ci95 |= {
            "worst_group_acc": worst_group_interval(correct, total),
            "group_mean_acc": group_mean_interval(correct, total),
        }
    return {
        "ood": ood,
        "n": sum(total),
        "metrics": metrics,
        "ci95": ci95,
        "adjusted_weights": None,
        "groups": [
            {"name": name, "n": n, "correct": right, "acc": right / n, "ci95": wilson_interval(right, n)}
            for name, (right, n) in groups.items()
        ],
    }


def write_run(
    folder: Path, sets: Mapping[str, dict[str, Any]], seed: int = 0, steps: int = 0, pool: Any = None, **config: Any
) -> Path:
    """Write results.json, config.yaml and, if wanted, logs and a pool."""
    folder.mkdir(parents=True)
    ood = [one["metrics"]["acc"] for one in sets.values() if one["ood"]]
    held = {
        "seed_everything": seed,
        "model": {
            "objective": {"class_path": "starft.losses.Contrastive"},
            "regularizers": [{"class_path": "starft.losses.SpuriosityAlignment", "init_args": {"weight": 2.0}}],
            "model_name": "starft-mini",
            "pretrained": "mini",
        },
        "data": {"class_path": "starft.mini.MiniWorld", "init_args": {}},
        "ckpt_path": f"{folder}/checkpoints/last.ckpt",
        **config,
    }
    results = {
        "schema_version": 2,
        "config": held,
        "seed": seed,
        "git_commit": "0" * 40,
        "versions": {"python": "3.11.0", "starft": "0.1.0", "torch": "2.6.0"},
        "hardware": {"machine": "x86_64", "torch_threads": 1, "gpus": []},
        "seconds": 12.5,
        "peak_memory_bytes": 1000,
        "training": None,
        "intervals": {"level": 0.95, "seed": 0},
        "ood_acc": sum(ood) / len(ood) if ood else None,
        "eval_sets": dict(sets),
    }
    (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    (folder / "config.yaml").write_text(yaml.safe_dump(held), encoding="utf-8")
    if steps:
        lines = ["epoch,step,train/loss,train/spuriosity_alignment,train/spuriosity_alignment_weight,val/id/acc"]
        lines += [f"0,{step},{2 / (step + 1) + 0.1 * seed},{0.5 / (step + 1)},2.0," for step in range(steps)]
        lines += [f"0,{steps - 1},,,,0.9"]
        (folder / "logs" / "version_0").mkdir(parents=True)
        (folder / "logs" / "version_0" / "metrics.csv").write_text("\n".join(lines) + "\n")
    if pool is not None:
        (folder / "pool.json").write_text(json.dumps(pool), encoding="utf-8")
    return folder


def write_samples(
    folder: Path,
    name: str,
    right: Sequence[bool],
    group: Sequence[int],
    names: tuple[str, str] = ("landbird", "waterbird"),
    group_names: Sequence[str] = GROUPS,
    picture_of: Sequence[int] = (),
) -> None:
    """Write samples.npz of one eval set with two classes, and pictures of some samples."""
    n, groups = len(right), np.array(group)
    label = groups // 2
    prediction = np.where(right, label, 1 - label)
    columns: dict[str, Any] = {
        "set": np.full(n, name),
        "index": np.arange(n),
        "path": np.full(n, "", dtype=str),
        "label": label,
        "label_name": np.array(names)[label],
        "prediction": prediction,
        "prediction_name": np.array(names)[prediction],
        "confidence": np.linspace(0.5, 0.99, n, dtype=np.float32),
        "right": np.array(right),
        "in_top5": np.ones(n, dtype=bool),
        "group": groups,
        "group_name": np.array(group_names)[groups],
    }
    assert tuple(columns) == COLUMNS
    np.savez_compressed(folder / "samples.npz", **columns)
    for index in picture_of:
        path = picture_path(folder, 0, index)
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (64, 64), (index % 255, 100, 200)).save(path)
