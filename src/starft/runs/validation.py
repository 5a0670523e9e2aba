"""What a trial of ``starft tune`` scored on its validation sets: the file that says that it is done."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from starft.errors import RunFolderError
from starft.files.atomic import load_json, replace_file
from starft.runs.layout import KEPT, VALIDATION, VALIDATION_SAMPLES

COLUMNS = ("position", "label", "prediction", "right", "group", "confidence")
PREFIX = "val/"

Columns = Mapping[str, "np.ndarray[Any, Any]"]
"""`COLUMNS` of one set, each (n,), by position in the set."""


@dataclass(frozen=True)
class Validation:
    """How a model fared on validation sets.

    Args:
        metrics: ``{eval set}/{metric}`` -> value.
        samples: Eval set -> what became of each image.
        seconds: Of training and validation.
        failure: Why there are no numbers; empty where there are.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    samples: Mapping[str, Columns] = field(default_factory=dict)
    seconds: float = 0.0
    failure: str = ""


def write_validation(folder: Path, metrics: Mapping[str, float], samples: Mapping[str, Any], seconds: float) -> None:
    """Write the predictions, and then the numbers, which say that the trial is done.

    Args:
        folder: Of the run.
        metrics: As they were logged.
        samples: Eval set -> object with the tensors of `COLUMNS`.
        seconds: Of training and validation.
    """
    arrays = {
        f"{at}/{column}": getattr(item, column).numpy()
        for at, item in enumerate(samples.values())
        for column in COLUMNS
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    replace_file(folder / VALIDATION_SAMPLES, buffer.getvalue())
    plain = {name.removeprefix(PREFIX): value for name, value in metrics.items() if name.startswith(PREFIX)}
    _write(folder, {"metrics": plain, "sets": list(samples), "seconds": round(seconds, 2), "failure": ""})


def write_failure(folder: Path, why: str, seconds: float = 0.0) -> None:
    """Note that a trial gave no finite numbers, which is its result; what it would have gone on with goes.

    Args:
        folder: Of the run.
        why: A sentence.
        seconds: That it took.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(f"{KEPT}-*"):
        path.unlink()
    _write(folder, {"metrics": {}, "sets": [], "seconds": round(seconds, 2), "failure": why})


def _write(folder: Path, content: dict[str, Any]) -> None:
    replace_file(folder / VALIDATION, (json.dumps(content, indent=2) + "\n").encode())


def read_validation(folder: Path) -> Validation:
    """Return what a trial scored.

    Args:
        folder: Of a run that is done.

    Raises:
        RunFolderError: A file is damaged.
    """
    try:
        value = load_json((folder / VALIDATION).read_text(encoding="utf-8"))
        samples: dict[str, Columns] = {}
        if value["sets"]:
            with np.load(folder / VALIDATION_SAMPLES, allow_pickle=False) as arrays:
                for at, name in enumerate(value["sets"]):
                    samples[name] = {column: arrays[f"{at}/{column}"] for column in COLUMNS}
        metrics = {name: float(number) for name, number in value["metrics"].items()}
        return Validation(metrics, samples, float(value["seconds"]), str(value["failure"]))
    except Exception as error:  # of a damaged file the readers raise whatever they stumble over
        raise RunFolderError(f"{folder / VALIDATION} is damaged; move {folder} away and run it again.") from error
