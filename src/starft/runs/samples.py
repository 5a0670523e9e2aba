"""samples.npz or samples.parquet: what became of each test sample.

Columns, one row a sample, set by set in the order of the data: ``set``, ``index`` (position in the set), ``path``
(empty for drawn images), ``label`` and ``prediction`` with their names, ``confidence`` (of the prediction), ``right``,
``in_top5``, ``group`` and ``group_name`` (``all`` where the set has no groups).
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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


@dataclass(frozen=True)
class SampleTable:
    """A row a sample; pandas, which would do as well, takes longer to load than a report to be made.

    Args:
        columns: Arrays (n,) by the names in `COLUMNS`.
    """

    columns: Mapping[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.columns["index"])

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.columns[name]

    def rows(self, which: NDArray[Any] | slice) -> "SampleTable":
        """Return some rows.

        Args:
            which: Their positions in the order that is wanted, a slice of them, or a bool for each row.
        """
        return SampleTable({name: column[which] for name, column in self.columns.items()})

    def of_set(self, eval_set: str) -> "SampleTable":
        """Return the rows of an eval set.

        Args:
            eval_set: Its name.
        """
        at = np.flatnonzero(self["set"] == eval_set)
        together = len(at) > 0 and at[-1] - at[0] + 1 == len(at)
        return self.rows(slice(at[0], at[-1] + 1) if together else at)  # a slice copies nothing


def read_samples(folder: Path) -> SampleTable | None:
    """Return the table of a run folder, or None where none was written.

    Args:
        folder: The run folder.

    Raises:
        ValueError: The file is damaged.
    """
    npz, parquet = folder / SAMPLES_NPZ, folder / SAMPLES_PARQUET
    try:
        if npz.is_file():
            return _checked(_read_npz(npz))
        return _checked(_read_parquet(parquet)) if parquet.is_file() else None
    except Exception as error:  # of a damaged file the libraries raise whatever they stumble over
        raise ValueError(f"its per-sample predictions can't be read ({type(error).__name__})") from error


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(path) as packed:
        size = sum(item.file_size for item in packed.infolist())
    if size > LARGEST:
        raise ValueError(f"{size} bytes unpacked")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as value:
        return {name: value[name] for name in COLUMNS}


def _read_parquet(path: Path) -> dict[str, NDArray[Any]]:
    import pyarrow.parquet as pq  # noqa: PLC0415  # an extra

    table = pq.read_table(path, columns=list(COLUMNS))
    return {name: table[name].to_numpy() for name in COLUMNS}


def _checked(columns: dict[str, NDArray[Any]]) -> SampleTable:
    """Return the table with the kinds of values that it was written with.

    Raises:
        ValueError: A column holds something else, or is longer than another.
    """
    for name in COLUMNS:
        column = columns[name]
        if column.shape != columns["index"].shape or column.ndim != 1:
            raise ValueError(f"{name} is no column as long as the others")
        if name in TEXTS:
            columns[name] = column.astype(str, copy=False)
        elif name in FLAGS:
            if column.dtype != bool:
                raise ValueError(f"{name} is no column of booleans")
        elif name == "confidence":
            if not ((column >= 0) & (column <= 1.001)).all():
                raise ValueError(f"{name} isn't in [0, 1]")
        elif not np.issubdtype(column.dtype, np.integer):
            raise ValueError(f"{name} is no column of whole numbers")
    return SampleTable(columns)


def accuracy_by(keys: NDArray[Any], right: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return which groups or names there are, in their order, and the share of right predictions of each.

    Args:
        keys: Group or name (n,) of each sample.
        right: Whether it was predicted rightly, (n,).
    """
    there, places = np.unique(keys, return_inverse=True)
    return there, np.bincount(places, right) / np.bincount(places)


def worst_mistakes(samples: SampleTable, eval_set: str) -> SampleTable:
    """Return the `SHOWN` most confident mistakes in the worst group of a set, the surest first.

    Args:
        samples: Of one run.
        eval_set: Its name.
    """
    mine = samples.of_set(eval_set)
    if not len(mine):
        return mine
    groups, accuracies = accuracy_by(mine["group"], mine["right"])
    wrong = mine.rows((mine["group"] == groups[accuracies.argmin()]) & ~mine["right"])
    return wrong.rows(np.argsort(-wrong["confidence"], kind="stable")[:SHOWN])


def picture_path(folder: Path, set_at: int, index: int) -> Path:
    """Return where the picture of a sample is, if it was kept.

    Args:
        folder: The run folder.
        set_at: Position of its set among those tested.
        index: Its position in the set.
    """
    return folder / PICTURES / f"{set_at}-{index}.jpg"
