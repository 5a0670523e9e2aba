"""``starft demo``: five methods on the embedded world, each from its shipped config, and what came of it."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from starft.cli.compare import MINI_COLUMNS, in_turn, read_run, read_seeds, report_command, run_all
from starft.cli.single_run import finish, run_for_each_seed
from starft.config.command import run_command
from starft.config.space import options_of
from starft.files.atomic import replace_file
from starft.files.shipped import shipped
from starft.files.yaml_reader import read_yaml
from starft.mini.sheet import contact_sheet
from starft.mini.worlds import WORLDS
from starft.reporting.comparison import comparison_plot, comparison_table, gains_table
from starft.reporting.console import Console
from starft.runs.comparison_folder import claim_runs, open_comparison, save_seconds
from starft.runs.folder import check_writable
from starft.runs.layout import RESULTS
from starft.safe_text import say

METHODS = {
    "zeroshot": "zero-shot",
    "ce": "CE",
    "flyp": "FLYP",
    "starft_ce": "StarFT (CE)",
    "starft": "StarFT (contrastive)",
}
"""Config name -> what tables call it."""

BASELINES = {"starft_ce": "ce", "starft": "flyp"}

SOURCES = {
    "id_acc": "id/acc",
    "ood_acc": "ood/acc",
    "style_acc": "style/acc",
    "group_mean_acc": "groups/group_mean_acc",
    "worst_group_acc": "groups/worst_group_acc",
}
"""Metric of the demo -> metric of a run."""

COLUMNS = {metric: MINI_COLUMNS[source] for metric, source in SOURCES.items()}

TOLD = {"id_acc": "ID", "ood_acc": "OOD", "worst_group_acc": "worst group"}
"""What is told in words."""

STATE = "demo.json"


def run(words: Sequence[str]) -> int:
    """Run ``starft demo``: `command` tells its options."""
    return run_command(command, "starft demo", words[1:])


def command(
    seeds: str = "0",
    out: Path | None = None,
    show: bool = False,
    world: Literal["scenes", "weak", "textures", "many", "kinds"] = "scenes",
) -> int:
    """Fine-tune the tiny CLIP on the embedded world, plainly, as FLYP does and with StarFT on either, and compare.

    Args:
        seeds: Seeds to run, such as 0,1,2.
        out: Where runs, table and plot go; null takes runs/demo, or runs/demo-WORLD.
        show: Only draw the world: write OUT/world.png.
        world: Species in home scenes; a weak frozen model there; species in textures; sixty varieties; or two kinds.

    Raises:
        ConfigError: The seeds can't be used.
        RunFolderError: The folder holds something else.
    """
    numbers = read_seeds(seeds)
    out = out or Path("runs/demo" if world == "scenes" else f"runs/demo-{world}")
    if show:
        check_writable(out)
        contact_sheet(out / "world.png", world)
        say(f"wrote {out / 'world.png'}")
        return 0
    demo(numbers, out, world)
    return 0


def demo(seeds: tuple[int, ...], out: Path, world: str = "scenes") -> dict[str, Any]:
    """Run what is missing, print the comparison, write results.json and comparison.png.

    Args:
        seeds: One run of every method each.
        out: The demo's folder; runs in it that are done are taken as they are, one that was stopped is continued.
        world: One of `WORLDS`.

    Returns:
        What results.json holds.

    Raises:
        RunFolderError: The folder holds something else.
    """
    spent = open_comparison(out, STATE, "demo", ("world.png",))
    contents = {method: read_yaml(_config(method)) for method in METHODS}
    options = {
        method: options_of(WORLDS[world].point(method, content), content) for method, content in contents.items()
    }
    for method, content in contents.items():
        claim_runs(out / method, content, options[method])
    of_method = {
        method: run_for_each_seed(METHODS[method], _config(method), content, out / method, seeds, options[method])
        for method, content in contents.items()
    }
    seconds = run_all(in_turn(of_method), finish, spent, lambda total: save_seconds(out / STATE, total))
    found = {method: [read_run(run.folder)["metrics"] for run in runs] for method, runs in of_method.items()}
    methods = {
        method: {metric: [item[source] for item in runs_of] for metric, source in SOURCES.items()}
        for method, runs_of in found.items()
    }
    results = {
        "schema_version": 1,
        "world": world,
        "seeds": list(seeds),
        "seconds": round(seconds, 1),
        "methods": methods,
    }
    replace_file(out / RESULTS, (json.dumps(results, indent=2) + "\n").encode())
    comparison_plot(methods, COLUMNS, METHODS, out / "comparison.png")
    console = Console()
    console.print(comparison_table(methods, COLUMNS, METHODS))
    console.print(gains_table(methods, COLUMNS, METHODS, BASELINES))
    say(f"{results['seconds']} s in all calls; numbers in {out / RESULTS}, plot in {out / 'comparison.png'}")
    for line in in_words(methods, seeds, out, world):
        say(line)
    return results


def in_words(
    methods: Mapping[str, Mapping[str, Sequence[float]]], seeds: Sequence[int], out: Path, world: str = "scenes"
) -> list[str]:
    """Return what the tables say, in lines: what each method gained and lost against the model as it was.

    Args:
        methods: Method -> metric -> one number in [0, 1] a seed.
        seeds: Those seeds.
        out: The demo's folder.
        world: One of `WORLDS`.
    """
    before = methods["zeroshot"]
    lines = ["Against the model as it was, in points:"]
    for method, baseline in BASELINES.items():
        for entry in (baseline, method):
            gains = {
                item: 100 * (fmean(methods[entry][metric]) - fmean(before[metric])) for metric, item in TOLD.items()
            }
            lines.append(f"  {METHODS[entry]}: " + ", ".join(f"{item} {gain:+z.1f}" for item, gain in gains.items()))
    if len(seeds) == 1:
        which = [] if world == "scenes" else ["--world", world]
        numbers = ",".join(str(seeds[0] + at) for at in range(3))
        more = shlex.join(["starft", "demo", *which, "--seeds", numbers, "--out", str(out)])
        lines.append(f"One seed: differences of a few points may be luck; more seeds tell: {more}")
    lines.append(f"All of it on a page: {report_command(out)}")
    return lines


def _config(method: str) -> Path:
    return shipped("lightning_configs") / "mini" / f"{method}.yaml"
