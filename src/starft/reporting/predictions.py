"""predictions.csv: one row an image, in the order of the data."""

import csv
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor


class PredictionWriter(BasePredictionWriter):
    """Writes ``set,index,path,label,class_name,probability`` as batches come; drawn images have no path.

    Args:
        folder: The run folder.
    """

    FILE = "predictions.csv"

    def __init__(self, folder: Path) -> None:
        super().__init__(write_interval="batch")
        self.path = folder / self.FILE

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
        """Append one batch of whole rows."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        eval_set = data.predict_sets[dataloader_idx]
        names = eval_set.prediction_names
        new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["set", "index", "path", "label", "class_name", "probability"])
            columns = (prediction[key].tolist() for key in ("index", "label", "probability"))
            for index, label, probability in zip(*columns, strict=True):
                path = data.predict_path(dataloader_idx, index)
                writer.writerow([eval_set.name, index, path, label, names[label], f"{probability:.6f}"])
