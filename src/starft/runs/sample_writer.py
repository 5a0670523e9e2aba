"""Writing what became of each test sample, and small pictures of the worst mistakes."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from starft.errors import ConfigError, StarftError
from starft.files.atomic import replace_file
from starft.runs.layout import PICTURES, SAMPLES_NPZ, SAMPLES_PARQUET
from starft.runs.manifest import replace_listed_file
from starft.runs.samples import COLUMNS, SIDE, TEXTS, SampleTable, picture_path, worst_mistakes
from starft.safe_text import say
from starft.types import EvalSet, ImagePreprocessing

MOST = 250_000
"""Samples that are kept without being asked for."""


class Rows(Protocol):
    """What became of each sample of one eval set: tensors (n,), by position."""

    @property
    def label(self) -> Tensor:
        """True labels."""
        ...

    @property
    def prediction(self) -> Tensor:
        """Predicted labels."""
        ...

    @property
    def in_top(self) -> Tensor:
        """Whether the label is among the likeliest five."""
        ...

    def _asdict(self) -> dict[str, Any]:
        """Return them all: ``position``, ``label``, ``prediction``, ``confidence``, ``right`` and on."""
        ...


class TestData(Protocol):
    """What was tested, behind its loaders."""

    @property
    def test_data(self) -> Sequence[Any]:
        """Data sets in the order of the eval sets; an item has an ``image`` (3, H, W)."""
        ...

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Return an item, or a batch of them, with its image normalised."""
        ...

    def predict_path(self, which: int, index: int) -> str:
        """Return the path of an image, or an empty text."""
        ...


def check_format(kind: str | None) -> None:
    """Refuse a format that can't be written here, before the test runs.

    Args:
        kind: ``auto``, ``npz``, ``parquet`` or None.

    Raises:
        ConfigError: Parquet needs a package that isn't installed.
    """
    if kind == "parquet" and find_spec("pyarrow") is None:
        raise ConfigError("save_samples parquet needs pyarrow; install starft[parquet], or set save_samples to npz.")


def keep_samples(
    folder: Path,
    kind: str,
    eval_sets: Sequence[EvalSet],
    samples: Mapping[str, Rows],
    data: TestData,
    preprocessing: ImagePreprocessing,
) -> None:
    """Write what became of each sample, and pictures of the worst mistakes.

    Args:
        folder: The run folder.
        kind: ``npz``, ``parquet``, or ``auto``: npz unless there are more than `MOST` samples.
        eval_sets: What was tested.
        samples: By eval set.
        data: Where the images are from.
        preprocessing: How they were normalised.
    """
    if kind == "auto":
        count = sum(len(rows.label) for rows in samples.values())
        if count > MOST:
            say(f"Note: Of {count:,} samples none is kept one by one; --save_samples npz keeps them.", file=sys.stderr)
            return
        kind = "npz"
    table = write_samples(folder, kind, eval_sets, samples, data.predict_path)

    def image_of(at: int, index: int) -> NDArray[np.float32]:
        row = data.on_after_batch_transfer(data.test_data[at][index], at)
        image: NDArray[np.float32] = row["image"].float().numpy()
        return image

    write_pictures(folder, eval_sets, table, image_of, preprocessing)


def write_samples(
    folder: Path,
    kind: str,
    eval_sets: Sequence[EvalSet],
    samples: Mapping[str, Rows],
    path_of: Callable[[int, int], str],
) -> SampleTable:
    """Write the file and return its table.

    Args:
        folder: The run folder.
        kind: ``npz`` or ``parquet``.
        eval_sets: What was tested.
        samples: By eval set.
        path_of: Gives the path of an image from the positions of its set and of it in the set.
    """
    kept = [(at, item) for at, item in enumerate(eval_sets) if item.name in samples]
    table = pd.concat([_rows(at, item, samples[item.name], path_of) for at, item in kept])
    columns = {name: table[name].to_numpy(dtype=np.str_ if name in TEXTS else None) for name in COLUMNS}
    buffer = BytesIO()
    if kind == "parquet":
        table.to_parquet(buffer, index=False)
    else:
        np.savez_compressed(buffer, allow_pickle=False, **columns)
    path = folder / (SAMPLES_PARQUET if kind == "parquet" else SAMPLES_NPZ)
    replace_listed_file(path, buffer.getbuffer(), folder)
    return SampleTable(columns)


def _rows(at: int, eval_set: EvalSet, samples: Rows, path_of: Callable[[int, int], str]) -> pd.DataFrame:
    column = {name: values.numpy() for name, values in samples._asdict().items()}
    names = eval_set.prediction_names
    groups = eval_set.group_names
    return pd.DataFrame(
        {
            "set": eval_set.name,
            "index": column["position"],
            "path": [path_of(at, index) for index in column["position"].tolist()],
            "label": column["label"],
            "label_name": [names[label] if label < len(names) else "several" for label in column["label"].tolist()],
            "prediction": column["prediction"],
            "prediction_name": [names[label] for label in column["prediction"].tolist()],
            "confidence": column["confidence"],
            "right": column["right"],
            "in_top5": column["in_top"],
            "group": column["group"] if groups else 0,
            "group_name": [groups[group] for group in column["group"].tolist()] if groups else "all",
        }
    )


def write_pictures(
    folder: Path,
    eval_sets: Sequence[EvalSet],
    samples: SampleTable,
    image_of: Callable[[int, int], NDArray[np.float32]],
    preprocessing: ImagePreprocessing,
) -> None:
    """Keep small pictures of the worst mistakes, as the model saw them: a report needs no data then.

    Args:
        folder: The run folder.
        eval_sets: What was tested.
        samples: As `write_samples` gave them.
        image_of: Gives the normalised image (3, H, W), from the positions of its set and of it in the set.
        preprocessing: How it was normalised.
    """
    (folder / PICTURES).mkdir(exist_ok=True)
    mean, std = (np.array(part, dtype=np.float32)[:, None, None] for part in (preprocessing.mean, preprocessing.std))
    for at, eval_set in enumerate(eval_sets):
        for index in worst_mistakes(samples, eval_set.name)["index"].tolist():
            try:
                image = image_of(at, index)
            except (OSError, StarftError):  # it was tested, and is gone
                continue
            write_picture(picture_path(folder, at, index), image * std + mean)


def write_picture(path: Path, levels: NDArray[np.float32]) -> None:
    """Write a small JPEG.

    Args:
        path: The file.
        levels: Pixels (3, H, W) in [0, 1]; what lies outside is cut off.
    """
    pixels = np.clip(255 * levels + 0.5, 0, 255).astype(np.uint8)
    picture = Image.fromarray(pixels.transpose(1, 2, 0))
    picture.thumbnail((SIDE, SIDE))
    buffer = BytesIO()
    picture.save(buffer, "jpeg", quality=85)
    replace_file(path, buffer.getvalue())
