"""``starft compare``: several configs, several seeds, every run made once, one table."""

import json
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from starft.cli.checks import check_run
from starft.cli.single_run import Run, finish_apart, run_for_each_seed, stops_told, trains
from starft.config.command import run_command
from starft.config.data import data_of
from starft.config.early_checks import check_config_files
from starft.config.space import options_of
from starft.errors import ConfigError, RunFolderError
from starft.evaluation.metrics import eval_metric_names
from starft.files.atomic import replace_file
from starft.files.shipped import shipped, with_shipped_configs
from starft.files.yaml_reader import read_yaml
from starft.mini.worlds import WORLDS
from starft.reporting.comparison import compare_markdown, compare_tables, heading, summarize
from starft.reporting.console import Console
from starft.runs.comparison_folder import claim_runs, open_comparison, save_seconds
from starft.runs.layout import RESULTS
from starft.runs.results import read_results
from starft.safe_text import say, visible
from starft.wording import did_you_mean

STATE = "compare.json"
TABLE = "table.md"
SCHEMA_VERSION = 1

MINI_COLUMNS = {
    "id/acc": "ID",
    "ood/acc": "OOD",
    "style/acc": "OOD style",
    "groups/group_mean_acc": "group mean",
    "groups/worst_group_acc": "worst group",
}
"""What is compared on the embedded world, and its headings."""

SETS = ("seed_everything", "trainer.default_root_dir", "ckpt_path", "config")
"""Options of a run that the comparison sets."""

HOW_IMAGES_COME = ("sampling", "batch_size", "eval_batch_size", "num_workers", "decode", "eval_decode", "seed")
"""Options of data by which methods may differ on the same images."""


@dataclass(frozen=True)
class Method:
    """One config of a comparison.

    Args:
        name: In tables, and of its folder.
        path: Its file.
        content: What the file holds.
        options: Of this method's runs alone.
    """

    name: str
    path: Path
    content: dict[str, Any]
    options: tuple[str, ...] = ()


def run(words: Sequence[str]) -> int:
    """Run ``starft compare``: `command` tells its options."""
    return run_command(command, "starft compare", words[1:], SETS)


def command(
    *,
    configs: str,
    seeds: str = "0",
    out: Path = Path("runs/compare"),
    baseline: str | None = None,
    metrics: str | None = None,
    world: Literal["scenes", "weak", "textures", "many", "kinds"] = "scenes",
    overrides: tuple[str, ...] = (),
) -> int:
    """Run several configs with several seeds, each once, and compare them in one table.

    What is done in OUT stays: the same command goes on after a stop or a kill; more configs or seeds run what is
    missing.

    Args:
        configs: Configs with commas between: files or shipped names, such as mini/ce,mini/starft; NAME=FILE names one.
        seeds: Seeds to run, such as 0,1,2.
        out: Where runs and tables go.
        baseline: Its name; null takes the first config.
        metrics: Such as id/acc,groups/worst_group_acc; null takes those that all have.
        world: Runs configs of mini/ on another embedded world, with what was chosen there: see `starft demo --help`.
        overrides: They go to every run, as to `starft fit`.

    Raises:
        ConfigError: An option or a config can't be used.
        RunFolderError: The folder holds something else.
    """
    methods = [on_world(method, world) for method in read_methods(configs)]
    columns = metrics.split(",") if metrics is not None else None
    compare(methods, read_seeds(seeds), out, _baseline(baseline, methods), columns, overrides, world)
    return 0


def compare(
    methods: Sequence[Method],
    seeds: Sequence[int],
    out: Path,
    baseline: str,
    metrics: Sequence[str] | None = None,
    options: Sequence[str] = (),
    world: str = "scenes",
) -> dict[str, Any]:
    """Run what is missing, print the tables, write results.json and table.md.

    Args:
        methods: What is compared.
        seeds: One run of every method each.
        out: The folder of the comparison.
        baseline: Name of the method that the others are compared with.
        metrics: ``{eval set}/{metric}`` or ``ood_acc``; null takes those that all runs have.
        options: Of the command line, for every run.
        world: Of the methods.

    Returns:
        What results.json holds.

    Raises:
        ConfigError: A config or a metric can't be used.
        RunFolderError: The folder holds something else, or runs made in another way.
    """
    of_method = {
        item.name: run_for_each_seed(
            item.name, item.path, item.content, out / item.name, seeds, (*item.options, *options)
        )
        for item in methods
    }
    runs = in_turn(of_method)
    for method in methods:
        missing = [item for item in runs if item.title == method.name and not item.done]
        if missing:
            for verb in ["fit"] * trains(method.content) + ["test"]:
                check_run([verb, *missing[0].words])
    if metrics is not None:
        _check_metrics(metrics, methods, options)
    elsewhere = world != "scenes"
    state = f"compare-{world}.json" if elsewhere else STATE
    spent = open_comparison(out, state, f"comparison on the world {world}" if elsewhere else "comparison")
    for method in methods:
        claim_runs(out / method.name, method.content, (*method.options, *options))
    for note in _notes_on_data(methods, baseline, options):
        say(f"Note: {note}.", file=sys.stderr)
    seconds = run_all(runs, finish_apart, spent, lambda total: save_seconds(out / state, total))
    found = {name: [read_run(run.folder) for run in of_it] for name, of_it in of_method.items()}
    columns = _columns(found, metrics)
    results = {
        "schema_version": SCHEMA_VERSION,
        "seeds": list(seeds),
        "options": list(options),
        "baseline": baseline,
        "metrics": list(columns),
        "seconds": round(seconds, 1),
        "configs": {
            method.name: {"config": str(method.path)}
            | ({"options": list(method.options)} if method.options else {})
            | summarize(found[method.name], found[baseline], list(columns))
            for method in methods
        },
    }
    replace_file(out / RESULTS, (json.dumps(results, indent=2, ensure_ascii=False) + "\n").encode())
    replace_file(out / TABLE, compare_markdown(results, columns).encode())
    console = Console(160)
    for table in compare_tables(results, columns):
        console.print(table)
    say(f"{results['seconds']} s in all calls; numbers in {out / RESULTS}, table in {out / TABLE}")
    say(f"All of it on a page: {report_command(out)}")
    return results


def _notes_on_data(methods: Sequence[Method], baseline: str, options: Sequence[str]) -> list[str]:
    """Return a note for each method whose config has other training data than the baseline's."""
    of_baseline = next(method for method in methods if method.name == baseline)
    notes = []
    for method in methods:
        given = [*method.options, *of_baseline.options, *options]
        mine, theirs = (_data_options(one.content, given) for one in (method, of_baseline))
        if unlike := sorted(key for key in mine.keys() | theirs.keys() if mine.get(key) != theirs.get(key)):
            notes.append(
                f"{method.name} and {baseline} differ in data.init_args.{unlike[0]}, so not by method alone; give it "
                "as an option, for all"
            )
    return notes


def _data_options(content: Mapping[str, Any], given: Sequence[str]) -> dict[str, Any]:
    """Return what a config's data are by, but for what options give for all, and what doesn't change the images."""
    values = (content.get("data") or {}).get("init_args") or {}
    set_for_all = [option.partition("=")[0].removeprefix("--data.init_args.") for option in given]
    return {key: value for key, value in values.items() if key not in (*set_for_all, *HOW_IMAGES_COME)}


def on_world(method: Method, world: str) -> Method:
    """Return a method as it runs on an embedded world.

    Args:
        method: One of the shipped ``mini/`` where the world isn't the first.
        world: One of `WORLDS`.

    Raises:
        ConfigError: It is another, whose settings the world can't know.
    """
    if world == "scenes":
        return method
    if method.path.resolve().parent != (shipped("lightning_configs") / "mini").resolve():
        raise ConfigError(f"--world {world} takes shipped configs of mini/, such as mini/ce; got {method.path}.")
    return replace(method, options=options_of(WORLDS[world].point(method.path.stem, method.content), method.content))


def in_turn(of_method: Mapping[str, Sequence[Run]]) -> list[Run]:
    """Return the runs of all methods seed by seed, each once.

    Args:
        of_method: Method -> a run a seed.
    """
    return list(dict.fromkeys(run for of_seed in zip(*of_method.values(), strict=True) for run in of_seed))


def report_command(out: Path) -> str:
    """Return the command that tells of all runs in a folder.

    Args:
        out: Of a comparison.
    """
    return shlex.join(["starft", "report", str(out), "--out", str(out / "report.html")])


def run_all(runs: Sequence[Run], execute: Callable[[Run], None], spent: float, note: Callable[[float], None]) -> float:
    """Carry out runs one after the other; return the seconds spent on all of them, now and before.

    Args:
        runs: Those that are done too.
        execute: Does what is missing of one.
        spent: Seconds spent before.
        note: Called after each run with the seconds spent so far.

    Raises:
        Stopped: A run was asked to stop.
    """
    console, start, total = Console(160), time.monotonic(), spent
    for number, item in enumerate(runs, 1):
        title = f"{number}/{len(runs)}  {visible(item.title)}, seed {item.seed}"
        console.print(title + " (done)" * item.done, style="bold")
        if item.done:
            continue
        try:
            with stops_told(f"{item.title}, seed {item.seed}"):
                execute(item)
        finally:
            total = spent + time.monotonic() - start
            note(total)
    return total


def read_run(folder: Path) -> dict[str, Any]:
    """Return what a run's results.json says: ``metrics`` by full name, ``training``, memory, commit.

    Args:
        folder: The run folder.

    Raises:
        RunFolderError: The file is damaged.
    """
    try:
        value = read_results(folder / RESULTS)
    except ValueError as error:
        raise RunFolderError(f"{folder / RESULTS} is damaged; move {folder} away and run it again.") from error
    return {
        "metrics": value.metrics,
        "training_seconds": value.training.get("seconds"),
        "peak_memory_bytes": value.training.get("peak_memory_bytes") or value.peak_memory_bytes,
        "peak_gpu_memory_bytes": value.training.get("peak_gpu_memory_bytes") or None,
        "git_commit": value.facts["git_commit"],
    }


def read_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds that an option names, such as ``0,1,2``.

    Args:
        text: Whole numbers with commas between.

    Raises:
        ConfigError: They aren't, or one is there twice.
    """
    try:
        seeds = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise ConfigError(f"seeds must be whole numbers with commas between, such as 0,1,2; got {text!r}.") from None
    if min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise ConfigError(f"seeds must be different numbers of at least 0; got {text!r}.")
    return seeds


def read_methods(text: str) -> list[Method]:
    """Return the configs that an option names.

    Args:
        text: Files or shipped names with commas between, each with ``NAME=`` before it or not.

    Raises:
        ConfigError: A file can't be read, or two are the same.
    """
    methods: list[Method] = []
    for item in text.split(","):
        given, equals, rest = item.strip().partition("=")
        word = with_shipped_configs(["compare", "--config", rest if equals else given])[2]
        check_config_files(["compare", "--config", word])
        path = Path(word)
        name = given if equals else path.stem
        if not name or name != Path(name).name or name.startswith("."):
            raise ConfigError(f"A config's name must be that of a folder, such as mine in mine=a.yaml; got {item!r}.")
        for other in methods:
            if other.path.resolve() == path.resolve():
                raise ConfigError(f"The config {path} is given twice; give each once.")
            if other.name == name:
                raise ConfigError(f"{other.path} and {path} are both called {name}; name one anew: NAME={path}.")
        methods.append(Method(name, path, read_yaml(path)))
    return methods


def _baseline(name: str | None, methods: Sequence[Method]) -> str:
    names = [method.name for method in methods]
    if name is None:
        return names[0]
    result = next((method.name for method in methods if name in (method.name, str(method.path))), None)
    if result is None:
        raise ConfigError(f"The baseline must be one of {', '.join(names)}; got {name!r}.{did_you_mean(name, names)}")
    return result


def _check_metrics(metrics: Sequence[str], methods: Sequence[Method], options: Sequence[str]) -> None:
    for method in methods:
        data = [option for option in (*method.options, *options) if option.startswith("--data.")]
        module = data_of(method.content.get("data"), 0, str(method.path), data)
        linear = (method.content.get("model") or {}).get("head") == "linear"
        known = eval_metric_names(module.test_sets, module.class_names if linear else ())
        _refuse_unknown(metrics, known, f"a test of {method.name}")


def _refuse_unknown(metrics: Sequence[str], known: Sequence[str], where: str) -> None:
    for metric in metrics:
        if metric not in known:
            raise ConfigError(
                f"The metric {metric!r} isn't in {where}, which has {', '.join(known)}.{did_you_mean(metric, known)}"
            )
    if len(set(metrics)) < len(metrics):
        raise ConfigError(f"metrics must be different names; got {','.join(metrics)}.")


def _columns(found: Mapping[str, Sequence[Mapping[str, Any]]], metrics: Sequence[str] | None) -> dict[str, str]:
    """Return what is compared, with its headings."""
    runs = [item["metrics"] for runs in found.values() for item in runs]
    common = [metric for metric in runs[0] if all(metric in item for item in runs)]
    if metrics is not None:
        _refuse_unknown(metrics, common, "every run")
        return {metric: MINI_COLUMNS.get(metric) or heading(metric) for metric in metrics}
    if not common:
        raise ConfigError("The configs have no metric in common; compare those of the same eval sets.")
    if common and {metric.split("/")[0] for metric in common} - {"ood_acc"} == {"id", "ood", "style", "groups"}:
        return MINI_COLUMNS
    return {metric: heading(metric) for metric in common if not metric.endswith("/text_head_acc")}
