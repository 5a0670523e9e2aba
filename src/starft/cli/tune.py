"""``starft tune``: learning rate, weights and whatever else, chosen by a rule that reads validation sets alone."""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from starft.cli.checks import check_model, check_run
from starft.cli.single_run import finish_apart, trains
from starft.cli.trials import Search, Trial, claim_of, make_trials, part_of
from starft.cli.tune_rule import IF_NOT, make_rule, rule_for, takes_frozen
from starft.cli.tune_run import choose_from
from starft.config.class_paths import import_prefix
from starft.config.command import run_command
from starft.config.early_checks import check_config_files
from starft.config.space import (
    Space,
    check_keys,
    default_space,
    extremes,
    in_order,
    is_pull,
    nothing_to_try,
    points,
    read_space,
)
from starft.errors import ConfigError
from starft.files.atomic import replace_file
from starft.files.shipped import with_shipped_configs
from starft.files.yaml_reader import read_yaml
from starft.reporting.console import Console
from starft.reporting.tuning import ID_ACCURACY, Row, chosen_config, edge_note, ranking_table, trials_plot, trials_table
from starft.runs.comparison_folder import claim_runs, open_comparison, save_seconds
from starft.runs.layout import CHECKPOINTS, CONFIG, LAST
from starft.safe_text import say
from starft.training.arguments import WITHOUT_MODEL
from starft.wording import count_of

STATE = "tune.json"
TABLE, PLOT, CHOSEN = "trials.csv", "trials.png", "chosen.yaml"
SETS = ("seed_everything", "model.seed", "data.init_args.seed", "trainer.default_root_dir", "ckpt_path")
"""Options of a run that trials set."""
MOST_CHECKED = 200
"""Trials that are looked at before the first one runs; of more, those with an extreme that none before them has."""

RuleName = Literal["zero_shot_agreement", "id", "tolerance", "groups", "inferred_groups"]
"""Stands here, as help reads this file alone."""


def run(words: Sequence[str]) -> int:
    """Run ``starft tune``: `command` tells its options."""
    return run_command(command, "starft tune", words[1:], SETS)


def command(
    *,
    config: str | None = None,
    from_: Path | None = None,
    grid: list[str] = [],  # noqa: B006  # never changed
    space: Path | None = None,
    rule: RuleName | None = None,
    tolerance: float = 1.0,
    audit: Path | None = None,
    short: float | None = None,
    trials: int | None = None,
    budget: str | None = None,
    out: Path | None = None,
    overrides: tuple[str, ...] = (),
) -> int:
    """Try values of a config's keys, choose by a rule, and write a config to train with.

    More than four trials, or two where there is a budget, run short first, then those that the rule likes best in full.
    No test set is read. What is done in OUT stays: the same command goes on after a stop or a kill, and several
    processes with one OUT share the trials.

    Args:
        config: A training config: a file, or a shipped name such as csv/starft.
        from_: A run folder, in the place of a config: one of its checkpoints, the alpha of WiSE-FT and a temperature
            are chosen, without training; tolerance then takes the smallest alpha.
        grid: KEY=VALUE,VALUE, such as model.lr=1e-5,3e-5; may be given several times. Without it and --space, values
            around the config's own learning rate and weights are tried.
        space: YAML file of the same: keys with lists of values.
        rule: What chooses. zero_shot_agreement: what the frozen model is sure of stays. id: the best ID accuracy.
            tolerance: the largest weight that costs little ID accuracy. groups: the worst group. inferred_groups: the
            same with groups of `starft audit data`. null: zero_shot_agreement, or id where the frozen model is sure
            of too little or isn't the same in all trials; with --from, tolerance.
        tolerance: Points of ID accuracy that the rules tolerance and zero_shot_agreement may lose, beside a standard
            error of the best.
        audit: Folder of `starft audit data`; null takes audit in the config's run folder.
        short: Length of the first trials, a part of the whole, and the part of the trials that run in full; 1 runs all
            in full. null: 0.25, or 1 of four trials or fewer without --budget.
        trials: How many places of the space at most, drawn at random.
        budget: Time of all trials, such as 2h, 30m or 1h30m; training and validation count.
        out: Where trials, table, picture and chosen.yaml go; null takes runs/tune/NAME.
        overrides: They go to every trial, as to `starft fit`.

    Raises:
        ConfigError: An option or a config can't be used.
        RunFolderError: The folder holds something else.
    """
    if (config is None) == (from_ is None):
        raise ConfigError("Give either --config, to try values of its keys, or --from, to choose from a run.")
    path = Path(with_shipped_configs(["tune", "--config", config])[2]) if config is not None else _config_of(from_)
    check_config_files(["tune", f"--config={path}"])
    content = read_yaml(path)
    for name, value, fits in (
        ("tolerance", tolerance, 0 <= tolerance <= 100),
        ("short", short, short is None or 0 < short <= 1),
        ("trials", trials, trials is None or trials >= 1),
    ):
        if not fits:
            limit = {"tolerance": "lie in [0, 100] points", "short": "lie in (0, 1]", "trials": "be at least 1"}[name]
            raise ConfigError(f"--{name} must {limit}; got {value}.")
    if audit is not None and rule != "inferred_groups":
        raise ConfigError(f"--audit is for --rule inferred_groups, and the rule is {rule or 'another'}; give both.")
    seconds = _seconds(budget) if budget is not None else None
    if from_ is not None:
        if grid or space or trials or budget or short is not None:
            raise ConfigError(
                "--grid, --space, --trials, --budget and --short are of trainings; leave them out beside --from."
            )
        chooser = make_rule(rule or "tolerance", True, path, content, overrides, tolerance / 100, audit)
        choose_from(from_, path, chooser, overrides, out if out is not None else from_ / "tuned")
        return 0
    if not trains(content):
        raise ConfigError(f"The config {path} trains nothing, so there is nothing to tune; give one that trains.")
    tried = read_space(grid, space) or default_space(content, overrides)
    if not tried:
        raise ConfigError(nothing_to_try(path, content))
    check_keys(tried, content, overrides, SETS)
    tried = in_order(tried, content)
    folder = out if out is not None else Path("runs") / "tune" / path.stem
    grid_points = points(tried, trials)
    part = part_of(len(grid_points), short, seconds is not None)
    runs = make_trials(path, content, overrides, grid_points, folder / "trials", part)
    pulls = any(map(is_pull, tried))
    name = rule_for(tried, rule)
    chooser = make_rule(name, pulls, path, content, overrides, tolerance / 100, audit)
    check_trials([trial for trial in runs if trial is runs[0] or not trial.first.folder.exists()], tried)
    open_comparison(folder, STATE, "search of `starft tune`")
    claimed = claim_of(content, tried, short)
    claim_runs(folder / "trials", claimed, overrides, "trial-*")
    if chooser.reads_frozen:
        given = (path, overrides, folder / "frozen")
        named = rule is not None
        if not takes_frozen(chooser, *given, content=content, named=named, execute=finish_apart):
            name, chooser = IF_NOT, make_rule(IF_NOT, pulls, path, content, overrides, tolerance / 100, audit)
        claim_runs(folder / "trials", claimed, overrides, "trial-*")  # another process may have come with other values
    search = Search(runs, chooser, part, seconds, finish_apart)
    chosen = search.choose()
    save_seconds(folder / STATE, sum(item.seconds for item in search.results.values()))
    _write(search, chosen, tried, folder, content, name)
    return 0


def check_trials(trials: Sequence[Trial], tried: Space) -> None:
    """Refuse values that a trial would refuse, before anything runs.

    Limits of fractions are intervals, or say that one isn't above another: where the corners of a grid are taken, so
    is all between them. Of each key the smallest and the largest fraction are looked at, and every other value.

    Args:
        trials: That haven't run, and one whose classes are to be loaded.
        tried: Their keys, with all values.

    Raises:
        StarftError: The first value, or pair of values, that can't be used.
    """
    for trial in trials_to_check(trials, tried):
        check_run(["fit", *trial.full.words])
        if trial is trials[0]:
            check_run([trial.full.scored_on, *trial.full.words])
    plain = tuple(f"model.{name}" for name in (*WITHOUT_MODEL, "objective", "regularizers"))
    of_model = [key for key in tried if key.startswith("model.") and not key.startswith(plain)]
    models = {str([trial.values[key] for key in of_model]): trial for trial in reversed(trials)} if of_model else {}
    for trial in reversed(models.values()):
        check_model(["fit", *trial.full.words])


def trials_to_check(trials: Sequence[Trial], tried: Space) -> list[Trial]:
    """Return the first trial, corners of the grid, and a trial for each value that none of these has.

    Args:
        trials: Of the whole grid, or of a part of it.
        tried: Their keys, with all values.
    """
    missing = {(key, text) for key in tried for text in extremes([trial.values[key] for trial in trials])}
    values = {trial.title: {(key, str(value)) for key, value in trial.values.items()} for trial in trials}
    corners = [trial for trial in trials if values[trial.title] <= missing]
    chosen = {trial.title: trial for trial in (*trials[:1], *corners[:MOST_CHECKED])}
    missing -= {item for title in chosen for item in values[title]}
    for trial in trials:
        if values[trial.title] & missing:
            chosen[trial.title] = trial
            missing -= values[trial.title]
    return [*chosen.values()]


def _config_of(run: Path | None) -> Path:
    assert run is not None, "one of the two is given"
    if not (run / CONFIG).is_file():
        raise ConfigError(f"{run} is no run folder, as it has no {CONFIG}; give the folder of a training.")
    return run / CONFIG


def _rows(search: Search, chosen: Trial) -> list[Row]:
    rows = []
    for trial in search.trials:
        for name, item in (("short", trial.short), ("full", trial.full)):
            result = search.results.get(item) if item is not None else None
            if item is None or (result is None and item is not trial.first):
                continue
            row = Row(trial.title, name, trial.values, result, chosen=trial is chosen and item is trial.full)
            if result is not None and not result.failure:
                seen = trial.candidate(result)
                row = replace(row, watched=search.rule.value(seen), accuracy=search.rule.id_accuracy(seen))
            rows.append(row)
    return rows


def _write(search: Search, chosen: Trial, tried: Space, out: Path, content: Mapping[str, Any], name: str) -> None:
    """Write and print what was tried and what is chosen."""
    rows, rule = _rows(search, chosen), search.rule
    replace_file(out / TABLE, trials_table(rows).csv().encode())
    trials_plot(rows, rule.watches, out / PLOT)
    row = next(item for item in rows if item.chosen)
    full = [item for item in rows if item.length == "full" and item.accuracy is not None]
    best = max(item.accuracy or 0.0 for item in full)
    lost = f"{100 * rule.setting.tolerance:g}"
    points_lost = f"{lost} point{'s' * (lost != '1')}"
    within = f" at most {points_lost} and a standard error below the best ID accuracy" * rule.near_the_best
    notes = list(filter(None, (edge_note(key, value, tried[key]) for key, value in chosen.values.items())))
    images = len(search.results[chosen.full].samples[rule.setting.id_set]["label"])
    if rule.near_the_best and 0 < images * rule.setting.tolerance < 1:
        notes.append(
            f"{rule.setting.id_set} has {count_of(images, 'validation image')}, so that one of them is "
            f"{100 / images:.1f} points of accuracy; with more the choice is less one of chance."
        )
    run, prefix = chosen.full.folder, import_prefix([chosen.full.config])
    checkpoint = run / CHECKPOINTS / LAST
    number = count_of(len(search.trials), "trial")
    reasons = [
        f"Chosen by `starft tune` of {number} by the rule {name}: highest {rule.watches}{within}.",
        f"{chosen.title}: " + ", ".join(f"{key} {value}" for key, value in chosen.values.items()),
        f"ID accuracy {row.accuracy:.4f} on validation (the best of {len(full)} in full length: {best:.4f})"
        f"{'' if rule.watches == ID_ACCURACY else f'; {rule.watches}: {row.watched:.4g}'}. No test set was read.",
        *notes,
        f"This run is trained already: {checkpoint}",
        f"Train it anew: {prefix}{shlex.join(['starft', 'fit', '--config', str(out / CHOSEN)])}",
    ]
    text = (run / CONFIG).read_text(encoding="utf-8")
    summary = (content.get("trainer") or {}).get("enable_model_summary")
    replace_file(out / CHOSEN, chosen_config(text, reasons, out / "chosen", summary).encode())
    Console(160).print(ranking_table(rows, rule.watches))
    for line in reasons[:3]:
        say(line)
    for note in notes:
        say(f"Note: {note}", file=sys.stderr)
    say(f"All trials: {out / TABLE}, {out / PLOT}; config: {out / CHOSEN}")
    test = ["starft", "test", "--config", str(run / CONFIG), "--ckpt_path", str(checkpoint)]
    say(f"Next: {prefix}{shlex.join(test)}")
    say(f"Then: {shlex.join(['starft', 'report', str(run)])}")


def _seconds(text: str) -> float:
    """Return a time such as ``2h``, ``30m``, ``1h30m`` or ``90s`` in seconds."""
    parts = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip())
    hours, minutes, seconds = (float(part or 0) for part in parts.groups()) if parts else (0.0, 0.0, 0.0)
    total = 3600 * hours + 60 * minutes + seconds
    if not total:
        raise ConfigError(f"--budget must be a time such as 2h, 30m or 1h30m; got {text!r}.")
    return total
