"""What training by found groups reaches, on the embedded world's two kinds of bird, beside training by the true ones.

Run it: ``python -m benchmarks.found_groups``. One JSON line a run: accuracies with the true groups, in %, of the
checkpoint that the run's own monitor chose. ``METHOD:inferred`` gives the training, and the validation pictures that
DFR and the monitor go by, the groups that ``starft audit data`` writes into its table; ``METHOD`` the true ones. A last
line for each says how much of the gain over ``ce`` is kept. ``--on val`` is for choosing settings, test is for quoting.
"""

import argparse
import json
import sys
import time
from contextlib import redirect_stdout
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from starft.audit.data_audit import audit_data
from starft.audit.features import evaluation_sets, features_of, frozen_clip, own_sets
from starft.audit.inferred_groups import SIDES, group_names
from starft.captions.pool_files import load_pool
from starft.cli.fit import main as run
from starft.clip import image_preprocessing
from starft.files.shipped import with_shipped_configs
from starft.mini import MiniWorld
from starft.mini.splits import PictureSet

VAL = "val/groups"
METHODS = "ce,group_dro,group_dro:inferred,group_balanced,group_balanced:inferred,dfr,dfr:inferred,jtt,spare,george"
QUOTED = ("id/acc", "groups/group_mean_acc", "groups/worst_group_acc")


@cache
def inferred(train_size: int, val_size: int, seed: int) -> tuple[tuple[int, ...], tuple[int, ...], float]:
    """Return the inferred group ids of the training and validation pictures, and how many are the true ones."""
    data, clip = MiniWorld("kinds", train_size, val_size, 12, seed=seed), frozen_clip("starft-mini", "mini")
    pre = image_preprocessing(clip.model)
    images: Any = {"train": own_sets(data, pre)["train"], VAL: evaluation_sets(data, pre)[VAL]}
    with TemporaryDirectory() as folder:
        sets = {name: features_of(clip, "", data, name, item, Path(folder)) for name, item in images.items()}
        found = audit_data(clip, sets, [load_pool("mini_scenes")], data.class_names, data.templates[0], seed)
        names = group_names(found, {name: item.labels for name, item in sets.items()}, data.class_names)
    assert names is not None, "each kind has its scenes"
    ids = {f"{kind} {side}": 2 * at + (at if side == SIDES[0] else 1 - at)
           for at, kind in enumerate(data.class_names) for side in SIDES}  # fmt: skip
    own = {name: tuple(ids[group] for group in groups) for name, groups in names.items()}
    right = [np.array(own[name]) == images[name].groups for name in own]
    return own["train"], own[VAL], float(np.concatenate(right).mean())


class InferredKinds(MiniWorld):
    """Two kinds of bird with inferred groups, in training and in the validation set ``groups``."""

    def setup(self, stage: str) -> None:
        """Draw what the stage needs."""
        super().setup(stage)
        if stage == "fit":
            train, val, _ = inferred(self.train_size, self.val_size, self.seed)
            self.train_set = _regrouped(self.train_set, train)
            at = [item.name for item in self.val_sets].index("groups")
            self.val_data = tuple(_regrouped(item, val) if n == at else item for n, item in enumerate(self.val_data))


def _regrouped(images: Any, groups: tuple[int, ...]) -> PictureSet:
    return PictureSet(tuple(replace(row, group=group) for row, group in zip(images.rows, groups, strict=True)))


def trained(method: str, seed: int, on: str, sizes: tuple[int, int], overrides: list[str]) -> dict[str, Any]:
    """Train by a method and return its row."""
    config, _, groups = method.partition(":")
    train_size, val_size = sizes
    with TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        words = with_shipped_configs(["fit", "--config", f"mini/{config}"])
        words += [f"--data={InferredKinds.__module__}.InferredKinds"] if groups == "inferred" else []
        words += ["--data.init_args.task=kinds", f"--seed_everything={seed}", f"--trainer.default_root_dir={folder}"]
        words += [f"--data.init_args.train_size={train_size}", f"--data.init_args.val_size={val_size}"]
        start = time.perf_counter()
        cli = run([*words, "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", *overrides])
        seconds = time.perf_counter() - start
        best = Path(folder, "checkpoints", "best.ckpt")
        checkpoint = best if best.exists() else best.with_name("last.ckpt")
        data = MiniWorld("kinds", train_size, val_size, cli.datamodule.test_size, seed=seed)
        score = cli.trainer.validate if on == "val" else cli.trainer.test
        scores: dict[str, float] = {}
        for item in score(cli.model, data, ckpt_path=checkpoint, verbose=False):
            scores |= {name: value for name, value in item.items() if name.startswith(on)}
    row = {name: round(100 * scores[f"{on}/{name}"], 1) for name in QUOTED}
    row["ood_acc"] = round(100 * scores[f"{on}/ood_acc"], 1)
    agree = round(100 * inferred(train_size, val_size, seed)[2], 2) if groups else None
    return {"method": method, "seed": seed, "on": on, **row, "groups_right": agree, "seconds": round(seconds)}


def kept(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the share of the gain in the worst group over ``ce``, in %, that inferred groups keep, by method."""
    worst = {name: np.mean([row[QUOTED[-1]] for row in rows if row["method"] == name])
             for name in {row["method"] for row in rows}}  # fmt: skip
    pairs = {name.partition(":")[0]: name for name in worst if ":" in name}
    return {
        name: round(100 * float((worst[other] - worst["ce"]) / (worst[name] - worst["ce"])), 1)
        for name, other in pairs.items()
        if {name, "ce"} <= set(worst)
    }


def main() -> None:
    """Print all rows."""
    parser = argparse.ArgumentParser(description="Measure training by found groups.")
    parser.add_argument("--methods", default=METHODS, help="configs of mini/, each with :inferred or without")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--on", choices=("val", "test"), default="test")
    parser.add_argument("--train-size", type=int, default=1920)
    parser.add_argument("--val-size", type=int, default=480)
    given, overrides = parser.parse_known_args()
    torch.set_num_threads(1)
    rows = []
    for seed in given.seeds:
        for method in given.methods.split(","):
            rows.append(trained(method, seed, given.on, (given.train_size, given.val_size), overrides))
            print(json.dumps(rows[-1]), flush=True)
    print(json.dumps({"row": "kept", "percent_of_the_gain": kept(rows)}), flush=True)


if __name__ == "__main__":
    main()
