"""The commands that repeat a run."""

import shlex
from dataclasses import dataclass
from pathlib import Path

from starft.files.yaml_reader import dump_yaml
from starft.runs.layout import CHECKPOINTS, CONFIG
from starft.runs.run_reader import Run, shortened


@dataclass(frozen=True)
class Repeat:
    """What repeats a run.

    Args:
        lines: Commands, in their order.
        config: What the ``config.yaml`` that they name is to hold, where the run folder has none; or null.
    """

    lines: tuple[str, ...]
    config: str | None = None


def repeat_of(run: Run) -> Repeat:
    """Return what repeats a run: its training, where it has a config of one, and its test.

    A test that belongs to no training here leaves no config but the one in its results.json, so that one is told.

    Args:
        run: Any; without a config nothing is told.
    """
    path = run.folder / CONFIG
    config, new = shlex.quote(shortened(path)), "--trainer.default_root_dir NEW_FOLDER"
    lines = [f"starft fit --config {config} {new}"] if path.is_file() and run.config else []
    if not run.sets or not run.config:
        return Repeat(tuple(lines))
    checkpoint = run.config.get("ckpt_path")
    if path.is_file() and checkpoint:
        own = Path(str(checkpoint)).parent.resolve() == (run.folder / CHECKPOINTS).resolve()
        tested = f"NEW_FOLDER/{CHECKPOINTS}/{Path(str(checkpoint)).name}" if own else shortened(Path(str(checkpoint)))
        lines.append(f"starft test --config {config} --ckpt_path {shlex.quote(tested)} {new}")
        return Repeat(tuple(lines))
    lines.append(f"starft test --config {CONFIG} {new}")
    return Repeat(tuple(lines), dump_yaml(run.config, width=120))
