"""predictions.csv: one row an image, in the order of the data."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from starft.distributed import gather_objects, world_size

Row = tuple[int, int, int, float]
"""Position of the set, position of the image in it, predicted label, its probability."""


class PredictionWriter(BasePredictionWriter):
    """Writes ``set,index,path,label,class_name,probability``; drawn images have no path.

    A process alone writes batches as they come. Of several, the first one writes all at the end, in the order of the
    data, each image once.

    Args:
        folder: The run folder.
    """

    FILE = "predictions.csv"

    def __init__(self, folder: Path) -> None:
        super().__init__(write_interval="batch")
        self.path = folder / self.FILE
        self._kept: list[Row] = []

    def write_on_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        prediction: dict[str, Tensor],
        batch_indices: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Append one batch of whole rows, or keep it for the end."""
        rows = _rows(dataloader_idx, prediction)
        if world_size() == 1:
            self._append(trainer, rows)
        else:
            self._kept += rows

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write what all processes kept."""
        if world_size() == 1:
            return
        shares = gather_objects(self._kept)
        if trainer.is_global_zero:
            self._append(trainer, sorted({row[:2]: row for share in shares for row in share}.values()))

    def _append(self, trainer: L.Trainer, rows: Iterable[Row]) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        sets = [(eval_set.name, eval_set.prediction_names) for eval_set in data.predict_sets]
        new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["set", "index", "path", "label", "class_name", "probability"])
            for which, index, label, probability in rows:
                name, classes = sets[which]
                path = data.predict_path(which, index)
                writer.writerow([name, index, path, label, classes[label], f"{probability:.6f}"])


def _rows(which: int, prediction: dict[str, Tensor]) -> Iterator[Row]:
    columns = (prediction[key].tolist() for key in ("index", "label", "probability"))
    for index, label, probability in zip(*columns, strict=True):
        if index >= 0:  # else it stands for no image
            yield which, index, label, probability
