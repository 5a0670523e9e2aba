"""``starft interpolate``: WiSE-FT, the line between a tuned model and where it came from, or another one."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from starft.cli.dawin_scoring import score_images
from starft.cli.weight_scoring import Scorer
from starft.config.command import run_command
from starft.config.early_checks import check_config_files
from starft.errors import ConfigError, RunFolderError
from starft.files.atomic import is_taken, replace_file
from starft.reporting.console import Console
from starft.reporting.curve import curve_axes, curve_plot, curve_table
from starft.runs.folder import check_writable
from starft.runs.layout import SWEEP, SWEEP_PLOT
from starft.safe_text import say
from starft.training.averaging import (
    Member,
    State,
    check_alike,
    check_keys,
    interpolate,
    next_command,
    pretrained_weights,
    read_member,
    read_weights,
    write_averaged,
)

ALPHAS = tuple(round(0.1 * step, 1) for step in range(11))
SETS = ("trainer.logger", "trainer.default_root_dir")


def run(words: Sequence[str]) -> int:
    """Run ``starft interpolate``: `command` tells its options."""
    return run_command(command, "starft interpolate", words[1:], SETS)


def command(
    *,
    ckpt_path: Path,
    start: Path | None = None,
    alpha: float | None = None,
    config: Path | None = None,
    alphas: str = ",".join(map(str, ALPHAS)),
    stage: Literal["test", "validate"] = "test",
    dawin: bool = False,
    out: Path | None = None,
    overrides: tuple[str, ...] = (),
) -> int:
    """Mix the weights of two models, theta = (1 - alpha) start + alpha end, heads included (WiSE-FT).

    With --alpha: write that model as a checkpoint for `starft test` and `predict`. With --config: score a sweep of
    alphas on its test sets and draw ID against OOD accuracy.

    Args:
        ckpt_path: The end, alpha 1: a checkpoint.
        start: The start, alpha 0: another checkpoint; null: the pre-trained.
        alpha: Write the model at this place on the line.
        config: Score a sweep on the sets of this config.
        alphas: The places of the sweep.
        stage: Score on the test or the validation sets.
        dawin: In the place of a sweep, mix a model for each of three clusters of images, by which end is surer of them.
        out: Checkpoint to write, or folder of the sweep.
        overrides: They change the config.

    Raises:
        ConfigError: An option can't be used, or the two models don't fit.
        WeightsError: A checkpoint can't be used.
        RunFolderError: What would be written exists already.
    """
    if (alpha is None) == (config is None):
        raise ConfigError("Give either --alpha, for a checkpoint, or --config, for a sweep.")
    if overrides and config is None:
        raise ConfigError(f"{overrides[0]} is for a config, and none is given; leave it out, or sweep with --config.")
    if dawin and config is None:
        raise ConfigError("--dawin finds its alphas on the sets of a config; give --config in the place of --alpha.")
    places = read_alphas(alphas) if alpha is None else [_checked(alpha)]
    end = read_member(ckpt_path)
    first = read_member(start) if start is not None else None
    if first is not None:
        check_alike(first, end)
    if alpha is not None:
        path = out or ckpt_path.with_name(f"{ckpt_path.stem}-alpha{alpha:g}.ckpt")
        write_point(first, end, alpha, path)
    elif config is not None:
        check_config_files(["test", f"--config={config}"])
        if dawin:
            folder = out or ckpt_path.parent.parent / f"dawin-{stage}"
            score_images(first, end, _ends(first, end), config, stage, overrides, folder)
            return 0
        folder = out or ckpt_path.parent.parent / f"interpolation-{stage}"
        sweep(first, end, places, Scorer(config, end, stage, overrides), folder)
    return 0


def write_point(start: Member | None, end: Member, alpha: float, path: Path) -> None:
    """Write one place on the line as a checkpoint.

    Args:
        start: Alpha 0; null is the pre-trained model.
        end: Alpha 1.
        alpha: The place.
        path: Where it goes; nothing is overwritten.

    Raises:
        RunFolderError: The file exists.
        WeightsError: The two don't fit.
    """
    if is_taken(path):
        raise RunFolderError(f"{path} exists already; give another --out, or move it away.")
    first, last = _ends(start, end)
    made_of = {"start": str(start.path) if start is not None else "pre-trained", "end": str(end.path), "alpha": alpha}
    write_averaged(path, end, interpolate(first, last, alpha), made_of)
    say(f"Alpha {alpha:g}: {path}")
    if command := next_command(path, [end]):
        say(command)


def sweep(
    start: Member | None, end: Member, alphas: Sequence[float], scorer: Scorer, folder: Path
) -> list[dict[str, Any]]:
    """Score places on the line; print a table, write the numbers and, where there are two axes, the curve.

    Args:
        start: Alpha 0; null is the pre-trained model.
        end: Alpha 1.
        alphas: The places.
        scorer: Scores each.
        folder: Where interpolation.json and interpolation.png go.

    Returns:
        For each place its ``alpha`` and ``metrics``.

    Raises:
        RunFolderError: The folder holds a sweep already.
        WeightsError: The two don't fit.
    """
    for path in (folder / SWEEP, folder / SWEEP_PLOT):
        if is_taken(path):
            raise RunFolderError(f"{path} exists already; give another --out, or move it away.")
    check_writable(folder)
    first, last = _ends(start, end)
    rows = [{"alpha": alpha, "metrics": scorer(interpolate(first, last, alpha))} for alpha in alphas]
    axes = curve_axes(scorer.eval_sets, end.facts.class_names)
    values = {
        "schema_version": 1,
        "start": str(start.path) if start is not None else "pre-trained",
        "end": str(end.path),
        "stage": scorer.stage,
        "axes": axes,
        "rows": rows,
    }
    replace_file(folder / SWEEP, (json.dumps(values, indent=2) + "\n").encode())
    console = Console(160)
    console.print(curve_table(rows))
    message = f"Numbers: {folder / SWEEP}"
    if axes is not None:
        curve_plot(rows, axes, folder / SWEEP_PLOT)
        message += f", curve: {folder / SWEEP_PLOT}"
    say(message)
    return rows


def read_alphas(text: str) -> list[float]:
    """Return the places that an option names, such as ``0,0.5,1``.

    Args:
        text: Numbers in [0, 1] with commas between.

    Raises:
        ConfigError: They aren't, or one is there twice.
    """
    try:
        alphas = [float(word) for word in text.split(",")]
    except ValueError:
        raise ConfigError(f"alphas must be numbers with commas between, such as 0,0.5,1; got {text!r}.") from None
    if len(set(alphas)) < len(alphas):
        raise ConfigError(f"alphas must be different numbers; got {text!r}.")
    return [_checked(alpha) for alpha in alphas]


def _checked(alpha: float) -> float:
    if not (math.isfinite(alpha) and 0 <= alpha <= 1):
        raise ConfigError(f"alpha must lie in [0, 1], from the start to the end; got {alpha}.")
    return alpha


def _ends(start: Member | None, end: Member) -> tuple[State, State]:
    first = read_weights(start) if start is not None else pretrained_weights(end)
    last = read_weights(end)
    check_keys(end, first, last)
    return first, last
