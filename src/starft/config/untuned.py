"""A tuned run's folder isn't scored without one of its checkpoints: that would be the model as it was before."""

from collections.abc import Sequence
from pathlib import Path

from starft.config.early_checks import config_paths
from starft.errors import RunFolderError
from starft.runs.layout import BEST, CHECKPOINTS, CONFIG, LAST, UNFINISHED

_CONFIG = Path(CONFIG).stem
FIRST = (BEST, LAST)
"""The checkpoints that are suggested first."""


def check_checkpoint_given(words: Sequence[str], folder: Path) -> None:
    """Refuse to score the pre-trained model with the config, or into the folder, of a run that was trained.

    Args:
        words: ``validate``, ``test`` or ``predict``, and its options, without a checkpoint.
        folder: The run folder.

    Raises:
        RunFolderError: The folder is that of a training run.
    """
    verb = words[0]
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


def _place(name: str) -> int:
    return FIRST.index(name) if name in FIRST else len(FIRST)
