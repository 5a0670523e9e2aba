"""What is told of a training that has ended: how it ended, its best validation value, and what comes next."""

import shlex
import sys
from pathlib import Path

import lightning as L

from starft.errors import ConfigError
from starft.files.digests import run_folder
from starft.files.yaml_reader import read_yaml
from starft.runs.folder import CHECKPOINTS, CONFIG, LAST, BestCheckpoint
from starft.runs.limits import limits
from starft.runs.unfinished import MarkUnfinished, read_early_stopping, unfinished_note
from starft.safe_text import say


def tell_end(trainer: L.Trainer, folder: Path, prefix: str = "") -> None:
    """Print how a training ended, the best validation value and its checkpoint, and how to test it.

    Args:
        trainer: After its training.
        folder: The run folder.
        prefix: What stands before the next command, so that it finds the config's own classes.

    Raises:
        ConfigError: No step was made.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, MarkUnfinished):
            step = trainer.global_step
            if callback.started is None or callback.started == step < trainer.estimated_stepping_batches:
                raise ConfigError(
                    "Nothing was trained: no batch was left, or a callback stopped the run before its first step; look "
                    "at trainer.limit_train_batches, max_time and callbacks, and at the size of the training data."
                )
            if callback.message:
                say(f"Note: {callback.message}", file=sys.stderr)
    checkpoint = folder / CHECKPOINTS / LAST
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, BestCheckpoint) and callback.best_model_score is not None:
            checkpoint = folder / CHECKPOINTS / "best.ckpt"
            say(f"Best {callback.monitor}: {float(callback.best_model_score):.4f} ({checkpoint})")
        elif isinstance(callback, BestCheckpoint):
            say(f"Note: {callback.why_none(trainer)}", file=sys.stderr)
    if checkpoint.is_file():
        command = ["starft", "test", "--config", folder / CONFIG, "--ckpt_path", checkpoint]
        say(f"Next: {prefix}{shlex.join(map(str, command))}")
    else:
        say(f"Note: There is no {checkpoint}: nothing was saved that could be tested.", file=sys.stderr)


def notes_of_training(checkpoint: Path) -> list[str]:
    """Return what makes a checkpoint one of less than a run's whole plan and data, a sentence each.

    Args:
        checkpoint: That is scored.
    """
    try:
        config = read_yaml(run_folder(checkpoint) / CONFIG)
        trainer = dict(config["trainer"])
    except (OSError, ConfigError, KeyError, TypeError, ValueError):
        trainer = {}
    early, unfinished = read_early_stopping(checkpoint)[1], unfinished_note(checkpoint)
    return [note for note in (early, unfinished, *limits(trainer, "fit")) if note]
