"""What lies where in a run folder: each name once, and the folder that a checkpoint belongs to."""

from pathlib import Path

CONFIG = "config.yaml"
POOL = "pool.json"
LOGS = "logs"
METRICS = "metrics.csv"
"""In a folder of ``logs``: what the CSV logger wrote."""

CHECKPOINTS = "checkpoints"
LAST, BEST = "last.ckpt", "best.ckpt"

MANIFEST = "manifest.json"
ROWS = "manifest.npz"
"""Beside the manifest: paths, labels, groups, sizes and times of the images."""

UNFINISHED = "unfinished.json"
"""A training is under way, or was stopped before its end."""
EARLY = "early_stopping.json"
"""Where early stopping ended the training: ``step``, ``steps`` and a ``message``."""

KEPT = "kept_activations"
"""With the number of a process behind it: what ``model.keep_activations`` has on the disk until the training's end."""

RESULTS = "results.json"
PREDICTIONS = "predictions.csv"
PICTURES = "samples"
"""Folder of the small pictures of samples."""
SAMPLES_NPZ, SAMPLES_PARQUET = "samples.npz", "samples.parquet"
SAMPLES = (SAMPLES_NPZ, SAMPLES_PARQUET, PICTURES)
OUTDATED = (RESULTS, PREDICTIONS, *SAMPLES)
"""What ``starft test`` and ``starft predict`` write of a checkpoint; another checkpoint makes it outdated."""

VALIDATION, VALIDATION_SAMPLES = "validation.json", "validation.npz"
"""What a trial of ``starft tune`` scores on validation sets, and its prediction of each of their images."""

SWEEP, SWEEP_PLOT = "interpolation.json", "interpolation.png"
DAWIN, DAWIN_IMAGES = "dawin.json", "dawin.csv"
"""In the folder of a WiSE-FT sweep, which may lie in the run folder."""

AUDIT = "audit"
"""Folder of ``starft audit``: features, inferred attributes and what was found; a training may come after it."""
AUDIT_RESULT, AUDIT_SLICES, AUDIT_PAGE = "audit.json", "slices.json", "audit.html"
AUDIT_COPIES = "copies.json"
"""Near duplicates by pair of sets, with digests of the two."""
AUDIT_PICTURES = "pictures"
"""Folder of the small pictures that the page of an audit shows."""

LOGGER_IDS = "loggers.json"
"""Which runs of Weights & Biases and MLflow a run folder belongs to, so that a test goes on with the training's."""

LOCK = ".lock"
"""What a process left behind that was killed locks nothing."""


def run_folder(checkpoint: Path) -> Path:
    """Return the folder of the run that a checkpoint belongs to, whatever it is called from: a name alone, or a link.

    Args:
        checkpoint: In ``checkpoints`` of it, in another folder of it, or right in it.
    """
    near = checkpoint if len(checkpoint.parts) > 2 else checkpoint.absolute()
    for path in (near, near.resolve()):
        if path.parent.name == CHECKPOINTS:
            return path.parent.parent
        if (folder := run_folder_of(path)) is not None:
            return folder
    return near.parent


def run_folder_of(path: Path) -> Path | None:
    """Return the folder with the manifest that a file belongs to; None where there is none.

    Args:
        path: A file in a run folder, or in a folder right below it.
    """
    near = Path(path).absolute().parent
    return next((folder for folder in (near, near.parent) if (folder / MANIFEST).is_file()), None)
