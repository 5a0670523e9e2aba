"""The rule of ``starft tune`` and what it needs: settings of the data, an audit, predictions of the frozen model."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from starft.audit.attributes import UNREADABLE, read_attributes
from starft.cli.single_run import Run, stops_told
from starft.config.data import data_of
from starft.config.space import Space
from starft.data.datamodules import BaseDataModule
from starft.errors import ConfigError
from starft.evaluation.rules import RULES, Candidate, Rule, Setting
from starft.files.atomic import replace_file
from starft.reporting.console import Console
from starft.runs.layout import AUDIT
from starft.runs.validation import Columns, read_validation
from starft.safe_text import say

RECOMMENDED, IF_NOT = "zero_shot_agreement", "id"
"""The rule where none is named, and where the frozen model can't say what to keep (docs/tuning.md measures both)."""
FROZEN = ("model.model_name", "model.pretrained")
"""Keys that say what the frozen model is."""


def rule_for(tried: Space, rule: str | None) -> str:
    """Return the rule that is named, or the default; refuse one that the tried keys leave nothing to compare with.

    Args:
        tried: The keys, with all values.
        rule: The one that is named; None where none is.

    Raises:
        ConfigError: It compares with a frozen model, and several are tried.
    """
    other = next((key for key in FROZEN if key in tried), None)
    if other is None:
        return rule or RECOMMENDED
    if rule is None:
        say(f"Note: {other} is tried, so that there is no one frozen model; the rule is {IF_NOT}.", file=sys.stderr)
        return IF_NOT
    if RULES[rule].reads_frozen:
        raise ConfigError(f"The rule {rule} compares with one frozen model, and {other} is tried; give another --rule.")
    return rule


def takes_frozen(
    rule: Rule,
    path: Path,
    overrides: Sequence[str],
    folder: Path,
    *,
    content: Mapping[str, Any],
    named: bool,
    execute: Callable[[Run], None],
) -> bool:
    """Give a rule the frozen model's predictions; return whether it can choose by them, or refuse where it is named.

    Args:
        rule: Compares with them.
        path: The config's file.
        overrides: Options of the command line.
        folder: Of the run that scores it; what is there of other values is removed.
        content: What the config's file holds.
        named: Whether somebody asks for this rule.
        execute: Does what is missing of a run.

    Raises:
        ConfigError: The rule is named and can't choose by them, or they can't be read.
    """
    own = rule.setting.id_set
    values = json.dumps([content, sorted(overrides)], default=str)
    note = folder.parent / f".{folder.name}.json"  # what it was scored with
    with _alone(folder):  # another process may remove what this one would read
        if not note.is_file() or note.read_text(encoding="utf-8") != values:
            shutil.rmtree(folder, ignore_errors=True)
            replace_file(note, values.encode())
        rule.frozen = frozen_predictions(path, overrides, folder, own, execute)
        try:
            rule.value(Candidate("the frozen model", {}, {own: rule.frozen}))
        except ConfigError as error:
            if named or not any((folder.parent / "trials").glob("trial-*")):
                shutil.rmtree(folder, ignore_errors=True)  # of other images, next time
            if named:
                raise
            say(f"Note: {str(error).partition(';')[0]}, so that the rule is {IF_NOT}.", file=sys.stderr)
            return False
    return True


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one process after the other use a run folder."""
    lock = FileLock(folder.parent / f".{folder.name}.taken")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"Another process is at {folder}; this one waits for it.")
        with stops_told("the frozen model"):
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def make_rule(
    name: str,
    pulls: bool,
    path: Path,
    content: Mapping[str, Any],
    overrides: Sequence[str],
    tolerance: float,
    audit: Path | None,
) -> Rule:
    """Return the rule with all that it needs, but for the frozen model's predictions.

    Args:
        name: One of `RULES`.
        pulls: Whether candidates have a pull.
        path: The config's file.
        content: What the file holds.
        overrides: Options of the command line.
        tolerance: Accuracy that may be lost, in [0, 1].
        audit: Folder of ``starft audit data``; None takes audit in the config's run folder.

    Raises:
        ConfigError: The rule needs what isn't there.
    """
    options = [option for option in overrides if option.startswith("--data.")]
    data = data_of(content.get("data"), 0, str(path), options)
    setting = setting_of(data, tolerance, pulls)
    if name == "inferred_groups":
        if audit is not None and not audit.is_dir():
            raise ConfigError(f"--audit {audit} is no folder; give the one that `starft audit data` wrote into.")
        folder = audit or Path((content.get("trainer") or {}).get("default_root_dir") or "runs/latest") / AUDIT
        if folder.is_dir():
            found = read_attributes(folder, f"val/{setting.id_set}")
            values = np.where(np.array(found.names)[found.values] == UNREADABLE, -1, found.values)
            setting = replace(setting, attributes=values)
    return RULES[name](setting)


def setting_of(data: BaseDataModule, tolerance: float, pulls: bool) -> Setting:
    """Return what a rule may use of some data.

    Args:
        data: Of the config.
        tolerance: Accuracy that may be lost, in [0, 1].
        pulls: Whether candidates have a pull.

    Raises:
        ConfigError: No validation set is like the training data.
    """
    usual = [item for item in data.val_sets if not item.ood and not item.captions]
    usual.sort(key=lambda item: item.class_names != tuple(data.class_names))  # stable: the first one stays first
    if not usual:
        raise ConfigError(
            "A rule chooses by a validation set with classes that isn't OOD, and the data have none; "
            "give them a val split or a val_fraction."
        )
    grouped = tuple(item.name for item in usual if item.group_names and not item.metrics)
    return Setting(usual[0].name, grouped, tolerance, pulls)


def frozen_predictions(
    path: Path, overrides: Sequence[str], folder: Path, id_set: str, execute: Callable[[Run], None]
) -> Columns:
    """Return the frozen model's predictions on the ID validation set.

    Args:
        path: The config's file.
        overrides: Options of the command line.
        folder: Of the run that scores it, which is made once.
        id_set: That set.
        execute: Does what is missing of a run.

    Raises:
        ConfigError: It gives a NaN or an infinity for an image, or was scored when the data had no such set.
    """
    run = Run("the frozen model", path, 0, folder, False, tuple(overrides), "validate")
    if not run.done:
        Console(160).print("The frozen model on the validation sets", style="bold")
        with stops_told(run.title):
            execute(run)
    found = read_validation(folder)
    if id_set not in found.samples:
        shutil.rmtree(folder, ignore_errors=True)  # mended images or weights are scored anew
        why = found.failure or f"The data had no set {id_set} then; run the same command again."
        raise ConfigError(f"The frozen model wasn't scored, so there is nothing to compare with: {why}")
    return found.samples[id_set]
