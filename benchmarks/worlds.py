"""How the settings of an embedded world were chosen: ``python -m benchmarks.worlds --world weak``.

On validation pictures only, with one seed, by two rules that were set beforehand: a learning rate is that at which the
*baseline* has the highest ID accuracy, and its methods take it over; the weight of a regularizer is the largest that
costs at most one point of ID accuracy against its own baseline; of StarFT on top of a rival, against the rival. From
the config's own weight, which was chosen on the first world, it goes up or down by about three at a time until that
turns. One JSON line a run, and one for what is chosen, which `starft.mini.worlds` then holds. A choice that was stopped
goes on by the same command; ``--on-rivals tracer`` takes what was chosen for a rival and chooses what StarFT has on
top of it; ``starft compare --world weak --configs mini/ce,mini/starft --seeds 0,1,2,3,4 --out runs/weak`` makes the
table.

``--stability runs/weak`` says how stable the table's ranking is: Kendall's tau between the rankings of the methods by
two halves of the seeds, over all ways to halve them, for each metric. ``--added runs/weak`` says what StarFT adds to
the methods of that comparison, seed by seed: points, mean and 95 % interval.
"""

import argparse
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from starft.cli.single_run import Run, finish
from starft.config.space import options_of
from starft.files.atomic import load_json
from starft.files.shipped import shipped
from starft.files.yaml_reader import read_yaml
from starft.mini.worlds import REGULARIZER, WORLDS
from starft.reporting.comparison import difference
from starft.runs.comparison_folder import claim_runs
from starft.runs.layout import CHECKPOINTS, RESULTS, VALIDATION

RATES = (3e-4, 6e-4, 1e-3, 2e-3, 4e-3)
LOWER_RATES = {"kinds": (1e-4, 3e-4, 6e-4, 1e-3)}
"""Of worlds where the lowest of `RATES` isn't low enough."""
ADAPTER_RATES = (1e-3, 2e-3, 4e-3)
FACTORS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Of a config's own weight."""
BASELINES = {
    "ce": ("l2_sp", "kd", "feature_distillation", "car_ft", "lipsum_ft", "starft_ce"),
    "flyp": ("carot", "tracer", "starft"),
    "lora": ("starft_lora",),
}
"""Config -> those that add a regularizer to it."""
FEW_CLASSES = {"kinds": {"ce": ("starft_ce", "starft_kinds")}}
"""World -> the same, where most others aren't compared."""
ON_RIVALS = ("feature_distillation", "lipsum_ft", "tracer")
"""Whose configs there are with StarFT beside them, as its second regularizer."""
STEPS = (
    ("ce", "starft_ce"),
    ("ce", "feature_distillation"),
    *((rival, f"starft_{rival}") for rival in ON_RIVALS),
    ("flyp", "starft"),
    ("lora", "starft_lora"),
)
"""What is added to which method; feature distillation to compare StarFT with."""
METHODS = [*(method for methods in BASELINES.values() for method in methods), "starft_kinds"]
COST = 0.01 + 1e-6
"""A point, and what accuracies in float32 may be off."""
METRICS = {"id": "id/acc", "ood": "ood/acc", "worst group": "groups/worst_group_acc"}


@dataclass(frozen=True)
class Choice:
    """Runs of one world, each made once.

    Args:
        world: Its name.
        out: Their folder.
        options: Of every run.
    """

    world: str
    out: Path
    options: tuple[str, ...]

    def score(self, method: str, changed: Mapping[str, Any]) -> dict[str, float]:
        """Return what validation says of a method with some of its keys changed, and print it."""
        config = shipped("lightning_configs") / "mini" / f"{method}.yaml"
        content = read_yaml(config)
        point = {**WORLDS[self.world].point(method, content), **changed}
        title = "-".join([method, *(f"{value:g}" for value in changed.values())])
        words = (*options_of(point, content), "--data.init_args.val_size=1200", *self.options)
        self.out.mkdir(parents=True, exist_ok=True)
        claim_runs(self.out / title, content, words)
        run = Run(title, config, 0, self.out / title / "seed-0", True, words, "validate")
        finish(run)
        shutil.rmtree(run.folder / CHECKPOINTS, ignore_errors=True)
        found = load_json((run.folder / VALIDATION).read_text(encoding="utf-8"))
        scores = {name: found["metrics"].get(metric, 0.0) for name, metric in METRICS.items()}  # none of a failure
        row = {name: round(100 * score, 1) for name, score in scores.items()}
        failure = {"failure": found["failure"]} if found["failure"] else {}
        print(json.dumps({"world": self.world, "method": method, **changed, **row, **failure}), flush=True)
        return scores

    def on_rival(self, method: str) -> list[float]:
        """Return the weights of StarFT on top of a rival whose own settings stand: the rival's, and StarFT's.

        Args:
            method: The rival.
        """
        content = read_yaml(shipped("lightning_configs") / "mini" / f"{method}.yaml")
        own = content["model"]["regularizers"][0]["init_args"]["weight"]
        weight = WORLDS[self.world].weights.get(method, (own,))[0]
        accuracy = self.score(method, {})["id"]
        return [weight, self.weight(f"starft_{method}", accuracy - COST, {REGULARIZER.format(0): weight}, 1)[0]]

    def rate(self, baseline: str) -> tuple[float, float]:
        """Return the learning rate at which a baseline has the highest ID accuracy, and that accuracy."""
        rates = ADAPTER_RATES if baseline == "lora" else LOWER_RATES.get(self.world, RATES)
        scores = {rate: self.score(baseline, {"model.lr": rate})["id"] for rate in rates}
        best = max(scores, key=lambda rate: scores[rate])
        return best, scores[best]

    def weight(self, method: str, least: float, changed: Mapping[str, Any], at: int = 0) -> tuple[float, float]:
        """Return the largest weight whose ID accuracy is at least ``least``, or else the smallest, and its accuracy.

        Args:
            method: Name of its config.
            least: In 0..1.
            changed: What else its config has.
            at: Which regularizer's weight it is.
        """
        content = read_yaml(shipped("lightning_configs") / "mini" / f"{method}.yaml")
        own = content["model"]["regularizers"][at]["init_args"]["weight"]
        weights = [float(f"{factor * own:.3g}") for factor in FACTORS]
        scores: dict[int, float] = {}

        def passes(place: int) -> bool:
            point = {**changed, REGULARIZER.format(at): weights[place]}
            scores[place] = self.score(method, point)["id"]
            return scores[place] >= least

        place = FACTORS.index(1.0)
        if passes(place):
            while place + 1 < len(weights) and passes(place + 1):
                place += 1
        else:
            while place > 0:
                place -= 1
                if passes(place):
                    break
        return weights[place], scores[place]


def stability(values: NDArray[np.float64]) -> dict[str, float]:
    """Return Kendall's tau between the rankings by two halves of the seeds: mean and smallest over all halvings.

    Args:
        values: (methods, seeds).
    """
    seeds = range(values.shape[1])
    taus = []
    for half in combinations(seeds, len(seeds) // 2):
        rest = [seed for seed in seeds if seed not in half]
        taus.append(kendalltau(values[:, half].mean(axis=1), values[:, rest].mean(axis=1)).statistic)
    return {"halvings": len(taus), "tau": round(float(np.mean(taus)), 2), "smallest_tau": round(float(min(taus)), 2)}


def added(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what each of `STEPS` whose methods both ran adds to every metric: points, mean and its 95 % interval.

    Args:
        results: Of a comparison.
    """
    rows = []
    for without, method in STEPS:
        ends = [results["configs"].get(name) for name in (without, method)]
        if all(ends):
            row: dict[str, Any] = {"to": without, "added": method}
            for metric in results["metrics"]:
                before, after = (end["metrics"][metric]["values"] for end in ends)
                gain = difference(after, before)
                row[metric] = [round(100 * value, 1) for value in (gain["mean"], *(gain["ci95"] or ()))]
            rows.append(row)
    return rows


def main() -> None:
    """Choose, and print all runs."""
    parser = argparse.ArgumentParser(description="Choose the settings of an embedded world on its validation pictures.")
    parser.add_argument("--stability", type=Path, metavar="OUT", help="of a comparison's ranking, and choose nothing")
    parser.add_argument("--added", type=Path, metavar="OUT", help="what StarFT adds in a comparison; choose nothing")
    parser.add_argument("--world", choices=WORLDS)
    parser.add_argument("--baselines", nargs="+", choices=BASELINES, help="all where none is named")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS, help="whose weights are chosen")
    parser.add_argument(
        "--on-rivals", nargs="+", choices=ON_RIVALS, help="choose only StarFT's weights on top of these"
    )
    parser.add_argument("--out", type=Path, help="folder of the runs; runs/worlds/WORLD where none is given")
    given, options = parser.parse_known_args()
    if given.added is not None:
        for row in added(load_json((given.added / RESULTS).read_text(encoding="utf-8"))):
            print(json.dumps(row))
        return
    if given.stability is not None:
        results = load_json((given.stability / RESULTS).read_text(encoding="utf-8"))
        if len(results["seeds"]) < 2:
            parser.error(f"the comparison in {given.stability} has one seed, and halves need two or more")
        for metric in results["metrics"]:
            values = [item["metrics"][metric]["values"] for item in results["configs"].values()]
            print(json.dumps({"metric": metric, "methods": len(values), **stability(np.array(values))}))
        return
    if given.world is None:
        parser.error("give --world, --stability or --added")
    methods = FEW_CLASSES.get(given.world, BASELINES)
    baselines = given.baselines or [*methods]
    for baseline in baselines:
        if baseline not in methods:
            parser.error(f"on --world {given.world} nothing is chosen for {baseline}, only for {', '.join(methods)}")
    out = given.out or Path("runs/worlds") / given.world
    quick = ("--trainer.enable_progress_bar=false", "--trainer.num_sanity_val_steps=0")
    choice = Choice(given.world, out, (*quick, *options))
    if given.on_rivals:
        chosen = {f"starft_{method}": choice.on_rival(method) for method in given.on_rivals}
        print(json.dumps({"world": given.world, "weights": chosen}))
        return
    rates: dict[str, float] = {}
    weights: dict[str, list[float]] = {}
    for baseline in baselines:
        rates[baseline], best = choice.rate(baseline)
        at_rate = {"model.lr": rates[baseline]}
        for method in (method for method in methods[baseline] if method in given.methods):
            weight, accuracy = choice.weight(method, best - COST, at_rate)
            weights[method] = [weight]
            if method in ON_RIVALS:
                on_rival = f"starft_{method}"
                own = {**at_rate, REGULARIZER.format(0): weight}
                weights[on_rival] = [weight, choice.weight(on_rival, accuracy - COST, own, 1)[0]]
    print(json.dumps({"world": given.world, "rates": rates, "weights": weights}))


if __name__ == "__main__":
    main()
