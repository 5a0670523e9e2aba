"""``starft soup``: the mean of several tuned models' weights, all of them or those that help on validation."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentError, ArgumentParser

from starft.cli.weight_scoring import Scorer
from starft.config.early_checks import check_config_files
from starft.config.parser import prepare_parser
from starft.config.parser_errors import keys_of_parser, one_sentence
from starft.config.words import split_words
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
from starft.wording import did_you_mean

OURS = ("trainer.logger", "trainer.default_root_dir")

DESCRIPTION = """Average the weights of several checkpoints of one model into one checkpoint (model soups).

uniform: all of them. greedy: sorted by a validation metric, each is kept only if the mean with it is strictly better;
the soup is never below its best member there. Options with a dot, as --data.init_args.root=x, go to the config."""


def run(words: Sequence[str]) -> int:
    """Run ``starft soup``.

    Args:
        words: The verb and its options.

    Raises:
        ConfigError: An option can't be used, or the checkpoints don't fit.
        WeightsError: A checkpoint can't be used.
        RunFolderError: What would be written exists already.
    """
    own, passed = split_words(words[1:], OURS)
    prepare_parser()
    parser = ArgumentParser(prog="starft soup", description=DESCRIPTION, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--ckpt_paths", type=str, required=True, help="Checkpoints with commas between, two at least.")
    parser.add_argument("--kind", type=Literal["uniform", "greedy"], default="uniform", help="Which are averaged.")
    parser.add_argument("--config", type=Path | None, default=None, help="Its validation sets choose; for greedy.")
    parser.add_argument(
        "--metric", type=str | None, default=None, help="Such as id/acc; null takes the config's checkpoint.monitor."
    )
    parser.add_argument("--out", type=Path, required=True, help="Checkpoint to write; beside it a .json tells of it.")
    try:
        options = parser.parse_args(own)
    except ArgumentError as error:
        raise ConfigError(one_sentence(error, keys_of_parser(parser))) from error
    paths = [Path(word.strip()) for word in options.ckpt_paths.split(",")]
    if len(paths) < 2 or len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError(f"A soup takes two different checkpoints or more; got {options.ckpt_paths!r}.")
    if (options.kind == "greedy") != (options.config is not None):
        raise ConfigError("A greedy soup needs --config, whose validation sets choose; a uniform one takes none.")
    if passed and options.config is None:
        raise ConfigError(f"{passed[0]} is for a config, and none is given; leave it out.")
    for path in (options.out, options.out.with_suffix(".json")):
        if is_taken(path):
            raise RunFolderError(f"{path} exists already; give another --out, or move it away.")
    members = [read_member(path) for path in paths]
    for other in members[1:]:
        check_alike(members[0], other)
    check_writable(options.out.parent)
    if options.kind == "uniform":
        state, told = uniform(members), {"kind": "uniform", "kept": [str(path) for path in paths]}
    else:
        check_config_files(["validate", f"--config={options.config}"])
        scorer = Scorer(options.config, members[0], "validate", passed)
        state, told = greedy(members, scorer, options.metric)
        Console(160).print(_table(told))
    write_averaged(options.out, members[0], state, told)
    replace_file(options.out.with_suffix(".json"), (json.dumps(told, indent=2) + "\n").encode())
    say(f"A soup of {len(told['kept'])} of {len(members)}: {options.out}")
    if command := next_command(options.out, members):
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
        found = scorer(state)
        if metric not in found:
            known, near = ", ".join(found), did_you_mean(metric, found)
            raise ConfigError(f"The metric {metric!r} isn't in validation, which has {known}.{near}")
        values.append(found[metric])
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
    told = {
        "kind": "greedy",
        "metric": f"val/{metric}",
        "value": best,
        "members": {str(member.path): value for member, value in zip(members, values, strict=True)},
        "kept": [str(members[at].path) for at in kept],
    }
    return mean, told


def _table(told: dict[str, Any]) -> Table:
    members = sorted(told["members"].items(), key=lambda item: -item[1])
    rows = [[path, f"{value:.4f}", "yes" if path in told["kept"] else "no"] for path, value in members]
    title = f"{told['metric']} of the members and of their soup"
    return Table(["checkpoint", "value", "kept"], [*rows, ["soup", f"{told['value']:.4f}", ""]], title, align="lrl")
