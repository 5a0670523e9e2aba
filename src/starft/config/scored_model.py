"""A tuned run's folder holds results of its own checkpoints: not of the model as it was before, nor of another run."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from starft.config.early_checks import config_paths
from starft.errors import RunFolderError
from starft.runs.layout import BEST, CHECKPOINTS, CONFIG, LAST, UNFINISHED, run_folder

_CONFIG = Path(CONFIG).stem
FIRST = (BEST, LAST)
"""The checkpoints that are suggested first."""


def check_what_is_scored(words: Sequence[str], checkpoint: Path | None, folder: Path) -> None:
    """Refuse to score another model than a run's own into the folder of a run that was trained.

    Without a checkpoint the config of such a run is refused too, wherever the results go by it.

    Args:
        words: ``validate``, ``test`` or ``predict``, and its options.
        checkpoint: That is scored; None for the pre-trained model.
        folder: The run folder, which the results go to.

    Raises:
        RunFolderError: The folder is that of another training run.
    """
    verb = words[0]
    if checkpoint is not None:
        _check_own(verb, checkpoint, folder)
        return
    elsewhere = any(word.partition("=")[0] == "--trainer.default_root_dir" for word in words)
    copies = [] if elsewhere else [path.parent for path in config_paths(words) if path.stem.startswith(_CONFIG)]
    for item in dict.fromkeys((folder, *copies)):
        checkpoints = sorted((item / CHECKPOINTS).glob("*.ckpt"), key=lambda path: (_place(path.name), path.name))
        if not checkpoints and not (item / UNFINISHED).is_file():
            continue
        otherwise = "for the model as it was before training, give another --trainer.default_root_dir"
        if not checkpoints:
            raise RunFolderError(
                f"The training in {item} left no checkpoint, so there is no tuned model to {verb}; "
                f"run `starft fit` first, or {otherwise}."
            )
        listed = " or ".join(map(str, checkpoints[:2]))
        raise RunFolderError(f"{item} holds a tuned model; {verb} it with --ckpt_path {listed}, or, {otherwise}.")


def _check_own(verb: str, checkpoint: Path, folder: Path) -> None:
    own = run_folder(checkpoint)
    there = folder.resolve()
    if own.resolve() == there or checkpoint.resolve().is_relative_to(there):
        return
    if any((folder / CHECKPOINTS).glob("*.ckpt")):
        where = shlex.quote(str(own)) if (own / CHECKPOINTS).is_dir() else "and a folder of its own"
        raise RunFolderError(
            f"{folder} holds a tuned model, and what is found of {checkpoint} would pass for that one's; "
            f"{verb} this one with --trainer.default_root_dir {where}."
        )


def _place(name: str) -> int:
    return FIRST.index(name) if name in FIRST else len(FIRST)
