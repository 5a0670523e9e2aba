"""samples.npz or samples.parquet: what became of each test sample.

Columns, one row a sample, set by set in the order of the data: ``set``, ``index`` (position in the set), ``path``
(empty for drawn images), ``label`` and ``prediction`` with their names, ``confidence`` (of the prediction), ``right``,
``in_top5``, ``group`` and ``group_name`` (``all`` where the set has no groups).
"""

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

from starft.runs.layout import PICTURES, SAMPLES_NPZ, SAMPLES_PARQUET

SHOWN = 12
"""Mistakes of each set that get a picture."""

SIDE = 96
LARGEST = 4 << 30
"""Bytes of the unpacked arrays: a million samples take less than a quarter."""

TEXTS = ("set", "path", "label_name", "prediction_name", "group_name")
FLAGS = ("right", "in_top5")
COLUMNS = (
    "set",
    "index",
    "path",
    "label",
    "label_name",
    "prediction",
    "prediction_name",
    "confidence",
    "right",
    "in_top5",
    "group",
    "group_name",
)


def read_samples(folder: Path) -> pd.DataFrame | None:
    """Return the table of a run folder, or None where none was written.

    Args:
        folder: The run folder.

    Raises:
        ValueError: The file is damaged.
    """
    npz, parquet = folder / SAMPLES_NPZ, folder / SAMPLES_PARQUET
    try:
        if npz.is_file():
            table = _read_npz(npz)
        elif parquet.is_file():
            table = pd.read_parquet(parquet)[list(COLUMNS)]
        else:
            return None
        return _checked(table)
    except Exception as error:  # of a damaged file the libraries raise whatever they stumble over
        raise ValueError(f"its per-sample predictions can't be read ({type(error).__name__})") from error


def _read_npz(path: Path) -> pd.DataFrame:
    with zipfile.ZipFile(path) as packed:
        size = sum(item.file_size for item in packed.infolist())
    if size > LARGEST:
        raise ValueError(f"{size} bytes unpacked")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as value:
        return pd.DataFrame({name: value[name] for name in COLUMNS})


def _checked(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the kinds of values that it was written with.

    Raises:
        ValueError: A column holds something else.
    """
    for name in COLUMNS:
        column = table[name]
        if name in TEXTS:
            table[name] = column.astype(str)
        elif name in FLAGS:
            if column.dtype != bool:
                raise ValueError(f"{name} is no column of booleans")
        elif name == "confidence":
            if not column.between(0, 1.001).all():
                raise ValueError(f"{name} isn't in [0, 1]")
        elif not pd.api.types.is_integer_dtype(column):
            raise ValueError(f"{name} is no column of whole numbers")
    return table


def worst_mistakes(table: pd.DataFrame, eval_set: str) -> pd.DataFrame:
    """Return the `SHOWN` most confident mistakes in the worst group of a set, the surest first.

    Args:
        table: Of one run.
        eval_set: Its name.
    """
    mine = table[table["set"] == eval_set]
    if mine.empty:
        return mine
    worst = mine.groupby("group")["right"].mean().idxmin()
    wrong = mine[(mine["group"] == worst) & ~mine["right"]]
    return wrong.sort_values("confidence", ascending=False, kind="stable").head(SHOWN)


def picture_path(folder: Path, set_at: int, index: int) -> Path:
    """Return where the picture of a sample is, if it was kept.

    Args:
        folder: The run folder.
        set_at: Position of its set among those tested.
        index: Its position in the set.
    """
    return folder / PICTURES / f"{set_at}-{index}.jpg"
