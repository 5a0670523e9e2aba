"""``starft demo``: every method on the embedded world, from its shipped config, and what came of it."""

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser
from rich.console import Console

from starft import __version__
from starft.cli import main as run_cli
from starft.errors import ConfigError, RunFolderError, Stopped
from starft.files import replace_file
from starft.mini.sheet import contact_sheet
from starft.parser_errors import one_sentence
from starft.reporting.comparison import comparison_plot, comparison_table, gains_table
from starft.reporting.results import RESULTS
from starft.resources import shipped
from starft.run_folder import CHECKPOINTS, LAST, check_writable

METHODS = {
    "zeroshot": "zero-shot",
    "ce": "CE",
    "flyp": "FLYP",
    "starft_ce": "StarFT (CE)",
    "starft": "StarFT (contrastive)",
}
"""Config name -> what tables call it."""

BASELINES = {"starft_ce": "ce", "starft": "flyp"}

COLUMNS = {
    "id_acc": "ID",
    "ood_acc": "OOD",
    "style_acc": "OOD style",
    "group_mean_acc": "group mean",
    "worst_group_acc": "worst group",
}
SOURCES = {
    "id_acc": ("id", "acc"),
    "ood_acc": ("ood", "acc"),
    "style_acc": ("style", "acc"),
    "group_mean_acc": ("groups", "group_mean_acc"),
    "worst_group_acc": ("groups", "worst_group_acc"),
}
"""Metric of the demo -> eval set and metric of a run's results.json."""

STATE = "demo.json"
QUIET = ("--trainer.enable_model_summary=false",)


def run(words: Sequence[str]) -> int:
    """Run ``starft demo``.

    Args:
        words: The verb and its options.

    Raises:
        ConfigError: An option can't be used.
        RunFolderError: The folder holds something else.
    """
    parser = ArgumentParser(
        prog="starft demo",
        description="Fine-tune the tiny CLIP on the embedded world with every method and compare them.",
        exit_on_error=False,
    )
    parser.add_argument("--seeds", type=str, default="0", help="Seeds to run, such as 0,1,2.")
    parser.add_argument("--out", type=Path, default=Path("runs/demo"), help="Where runs, table and plot go.")
    parser.add_argument("--show", action="store_true", help="Only draw the world: write OUT/world.png.")
    try:
        options = parser.parse_args(list(words[1:]))
    except ArgumentError as error:
        raise ConfigError(one_sentence(error)) from error
    seeds = _seeds(options.seeds)
    if options.show:
        check_writable(options.out)
        contact_sheet(options.out / "world.png")
        print(f"wrote {options.out / 'world.png'}")
        return 0
    demo(seeds, options.out)
    return 0


def demo(seeds: tuple[int, ...], out: Path) -> dict[str, Any]:
    """Run what is missing, print the comparison, write results.json and comparison.png.

    Args:
        seeds: One run of every method each.
        out: The demo's folder; runs in it that are done are taken as they are, one that was stopped is continued.

    Returns:
        What results.json holds.

    Raises:
        RunFolderError: The folder holds something else.
    """
    spent = _open(out)
    console = Console(width=None if sys.stdout.isatty() else 120)
    start = time.monotonic()
    jobs = [(method, seed) for seed in seeds for method in METHODS]
    for number, (method, seed) in enumerate(jobs, 1):
        console.print(f"[bold]{number}/{len(jobs)}  {METHODS[method]}, seed {seed}[/bold]")
        try:
            _run_one(method, seed, out)
        except Stopped as stop:
            told = f"Stopped while training {METHODS[method]}, seed {seed}; give the same command again to go on."
            raise Stopped(told, stop.status) from stop
        _save_state(out, spent + time.monotonic() - start)
    methods = {
        method: {metric: [_number(out, method, seed, metric) for seed in seeds] for metric in COLUMNS}
        for method in METHODS
    }
    results = {
        "schema_version": 1,
        "seeds": list(seeds),
        "seconds": round(spent + time.monotonic() - start, 1),
        "methods": methods,
    }
    replace_file(out / RESULTS, (json.dumps(results, indent=2) + "\n").encode())
    comparison_plot(methods, COLUMNS, METHODS, out / "comparison.png")
    console.print(comparison_table(methods, COLUMNS, METHODS))
    console.print(gains_table(methods, COLUMNS, METHODS, BASELINES))
    console.print(f"{results['seconds']} s; numbers in {out / RESULTS}, plot in {out / 'comparison.png'}")
    return results


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise ConfigError(f"seeds must be whole numbers with commas between, such as 0,1,2; got {text!r}.") from None
    if min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds must be different numbers of at least 0; got {text!r}.")
    return seeds


def _config(method: str) -> Path:
    return shipped("lightning_configs") / "mini" / f"{method}.yaml"


def _fingerprint() -> str:
    digest = hashlib.sha256(__version__.encode())
    for method in METHODS:
        digest.update(_config(method).read_bytes())
    return digest.hexdigest()


def _open(out: Path) -> float:
    """Make the demo's folder or take up an earlier one; return the seconds that were spent on it."""
    check_writable(out)
    state = out / STATE
    if state.is_file():
        try:
            held = json.loads(state.read_text(encoding="utf-8"))
            fingerprint, seconds = held["fingerprint"], float(held["seconds"])
        except (ValueError, TypeError, KeyError) as error:
            raise RunFolderError(f"{state} is damaged; give another --out or move {out} away.") from error
        if fingerprint != _fingerprint():
            raise RunFolderError(
                f"{out} holds a demo of other configs or another version; give another --out or move it away."
            )
        return seconds
    others = [path.name for path in out.iterdir() if path.name != "world.png"]
    if others:
        raise RunFolderError(f"{out} holds something else ({others[0]}); give another --out or move it away.")
    _save_state(out, 0.0)
    return 0.0


def _save_state(out: Path, seconds: float) -> None:
    state = {"fingerprint": _fingerprint(), "version": __version__, "seconds": round(seconds, 1)}
    replace_file(out / STATE, (json.dumps(state, indent=2) + "\n").encode())


def _run_one(method: str, seed: int, out: Path) -> None:
    """Train and test one method with one seed, unless that is done."""
    folder = out / method / f"seed-{seed}"
    if (folder / RESULTS).is_file():
        return
    where = (
        f"--config={_config(method)}",
        f"--seed_everything={seed}",
        f"--trainer.default_root_dir={folder}",
        *QUIET,
    )
    if method == "zeroshot":
        run_cli(["test", *where])
        return
    last = folder / CHECKPOINTS / LAST
    if last.is_file():
        run_cli(["fit", *where, f"--ckpt_path={last}"])
    else:
        if folder.exists():  # stopped before its first checkpoint: nothing in it is worth keeping
            shutil.rmtree(folder)
        run_cli(["fit", *where])
    run_cli(["test", *where, f"--ckpt_path={last}"])


def _number(out: Path, method: str, seed: int, metric: str) -> float:
    results = json.loads((out / method / f"seed-{seed}" / RESULTS).read_text(encoding="utf-8"))
    eval_set, name = SOURCES[metric]
    return float(results["eval_sets"][eval_set]["metrics"][name])
