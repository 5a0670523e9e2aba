"""predictions.csv: one row an image, in the order of the data."""

import csv
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor


class PredictionWriter(BasePredictionWriter):
    """Writes ``set,index,label,class_name,probability`` as batches come.

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
        eval_set = trainer.datamodule.test_sets[dataloader_idx]  # type: ignore[attr-defined]
        names = eval_set.prediction_names
        new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["set", "index", "label", "class_name", "probability"])
            columns = (prediction[key].tolist() for key in ("index", "label", "probability"))
            for index, label, probability in zip(*columns, strict=True):
                writer.writerow([eval_set.name, index, label, names[label], f"{probability:.6f}"])
