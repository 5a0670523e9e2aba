"""``starft soup``: the mean of several tuned models' weights: all, those that help on validation, or Model Stock."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from starft.cli.weight_scoring import Scorer
from starft.config.command import run_command
from starft.config.early_checks import check_config_files
from starft.errors import ConfigError, RunFolderError
from starft.files.atomic import is_taken, replace_file
from starft.reporting.console import Console
from starft.reporting.table import Table
from starft.runs.folder import check_writable
from starft.safe_text import say
from starft.training.averaging import (
    Member,
    State,
    add_to_mean,
    check_alike,
    check_keys,
    next_command,
    read_member,
    read_weights,
    write_averaged,
)
from starft.training.model_stock import model_stock
from starft.wording import did_you_mean

SETS = ("trainer.logger", "trainer.default_root_dir")


def run(words: Sequence[str]) -> int:
    """Run ``starft soup``: `command` tells its options."""
    return run_command(command, "starft soup", words[1:], SETS)


def command(
    *,
    ckpt_paths: str,
    kind: Literal["uniform", "greedy", "stock"] = "uniform",
    config: Path | None = None,
    metric: str | None = None,
    out: Path,
    overrides: tuple[str, ...] = (),
) -> int:
    """Average the weights of several checkpoints of one model into one checkpoint (model soups).

    uniform: all of them. greedy: sorted by a validation metric, each is kept only if the mean with it is strictly
    better; the soup is never below its best member there. stock: from the pre-trained weights towards the mean of all,
    layer by layer as far as their directions agree (Model Stock); two are enough.

    Args:
        ckpt_paths: Checkpoints with commas between, two at least.
        kind: Which are averaged.
        config: Its validation sets choose; for greedy.
        metric: Such as id/acc; null takes the config's checkpoint.monitor.
        out: Checkpoint to write; beside it a .json tells of it.
        overrides: They change the config.

    Raises:
        ConfigError: An option can't be used, or the checkpoints don't fit.
        WeightsError: A checkpoint can't be used.
        RunFolderError: What would be written exists already.
    """
    paths = [Path(word) for word in map(str.strip, ckpt_paths.split(",")) if word]
    if len(paths) < 2 or len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError(f"A soup takes two different checkpoints or more; got {ckpt_paths!r}.")
    if (kind == "greedy") != (config is not None):
        raise ConfigError("A greedy soup needs --config, whose validation sets choose; the others take none.")
    if overrides and config is None:
        raise ConfigError(f"{overrides[0]} is for a config, and none is given; leave it out.")
    for path in (out, out.with_suffix(".json")):
        if is_taken(path):
            raise RunFolderError(f"{path} exists already; give another --out, or move it away.")
    members = [read_member(path) for path in paths]
    for other in members[1:]:
        check_alike(members[0], other)
    check_writable(out.parent)
    if config is None:
        messages: dict[str, Any] = {"kind": kind, "kept": [str(path) for path in paths]}
        if kind == "stock":
            state, messages["ratios"] = model_stock(members)
        else:
            state = uniform(members)
    else:
        check_config_files(["validate", f"--config={config}"])
        scorer = Scorer(config, members[0], "validate", overrides)
        state, messages = greedy(members, scorer, metric)
        Console(160).print(_table(messages))
    write_averaged(out, members[0], state, messages)
    replace_file(out.with_suffix(".json"), (json.dumps(messages, indent=2) + "\n").encode())
    say(f"A soup of {len(messages['kept'])} of {len(members)}: {out}")
    if command := next_command(out, members):
        say(command)
    return 0


def uniform(members: Sequence[Member]) -> State:
    """Return the mean of all weights; two sets of them are held at a time, and their mean.

    Args:
        members: Checkpoints of one model.

    Raises:
        WeightsError: Their weights don't fit.
    """
    mean: State = read_weights(members[0])
    for count, member in enumerate(members[1:], 1):
        more = read_weights(member)
        check_keys(member, mean, more)
        mean = add_to_mean(mean, count, more)
    return mean


def greedy(members: Sequence[Member], scorer: Scorer, metric: str | None) -> tuple[State, dict[str, Any]]:
    """Return the mean of those that help, and how they were chosen.

    The best member comes first; each next one, in the order of their values (equal ones in the order given), is kept
    if the mean with it is strictly better than without.

    Args:
        members: Checkpoints of one model.
        scorer: Scores weights on validation sets.
        metric: What is to be high (or low, where the config's mode says so); null takes that of the config.

    Returns:
        The weights; and ``metric``, ``value``, each member's ``value``, and what was ``kept``, in this order.

    Raises:
        ConfigError: There is no such metric.
        WeightsError: The weights don't fit.
    """
    metric = (metric or scorer.monitor or "").removeprefix("val/")
    sign = -1 if scorer.mode == "min" else 1
    first: State = read_weights(members[0])
    values: list[float] = []
    for member in members:
        state = read_weights(member)
        check_keys(member, first, state)
        result = scorer(state)
        if metric not in result:
            known, near = ", ".join(result), did_you_mean(metric, result)
            raise ConfigError(f"The metric {metric!r} isn't in validation, which has {known}.{near}")
        values.append(result[metric])
    del first, state
    order = sorted(range(len(members)), key=lambda at: -sign * values[at])  # stable
    kept, best = [order[0]], values[order[0]]
    mean: State = read_weights(members[order[0]])
    for at in order[1:]:
        candidate = add_to_mean(mean, len(kept), read_weights(members[at]))
        value = scorer(candidate)[metric]
        if sign * value > sign * best:
            mean, best = candidate, value
            kept.append(at)
    summary = {
        "kind": "greedy",
        "metric": f"val/{metric}",
        "value": best,
        "members": {str(member.path): value for member, value in zip(members, values, strict=True)},
        "kept": [str(members[at].path) for at in kept],
    }
    return mean, summary


def _table(told: dict[str, Any]) -> Table:
    members = sorted(told["members"].items(), key=lambda item: -item[1])
    rows = [[path, f"{value:.4f}", "yes" if path in told["kept"] else "no"] for path, value in members]
    title = f"{told['metric']} of the members and of their soup"
    return Table(["checkpoint", "value", "kept"], [*rows, ["soup", f"{told['value']:.4f}", ""]], title, align="lrl")
