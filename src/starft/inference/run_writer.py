"""predictions.csv of a run: one row an image, in the order of the data."""

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from starft.distributed import gather_objects, world_size
from starft.errors import NotFiniteError
from starft.inference.rows import Output, columns
from starft.runs.layout import PREDICTIONS
from starft.safe_text import say

Row = tuple[int, int, int, float]
"""Position of the set, position of the image in it, predicted label, its probability."""

COLUMNS = (*columns(), "set", "index", "label_index")
"""Those of `starft predict CKPT IMAGES`, then the set, the position in it, and that of the label among its names."""


class PredictionWriter(BasePredictionWriter):
    """Writes ``path,label,probability,set,index,label_index``; drawn images have no path.

    A process alone writes batches as they come. Of several, the first one writes all at the end, in the order of the
    data, each image once.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(write_interval="batch")
        self.path = folder / PREDICTIONS
        self._kept: list[Row] = []
        self._output: Output | None = None

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
        if world_size() > 1:
            shares = gather_objects(self._kept)
            if trainer.is_global_zero:
                self._append(trainer, sorted({row[:2]: row for share in shares for row in share}.values()))
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leave whole rows."""
        self._close()

    def tell(self) -> None:
        """Print where the predictions are, in the process that wrote them."""
        if self._output is not None:
            say(f"Predictions: {self.path} ({self._output.count:,} images)")

    def _close(self) -> None:
        if self._output is not None:
            self._output.close()

    def _append(self, trainer: L.Trainer, rows: Iterable[Row]) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        sets = [(eval_set.name, eval_set.prediction_names) for eval_set in data.predict_sets]
        if self._output is None:
            self._output = Output(self.path, None, COLUMNS)
        messages = []
        for which, index, label, probability in rows:
            name, classes = sets[which]
            cells = (data.predict_path(which, index), classes[label], probability, name, str(index), str(label))
            messages.append(dict(zip(COLUMNS, cells, strict=True)))
        self._output.write(messages)


def _rows(which: int, prediction: dict[str, Tensor]) -> Iterator[Row]:
    values = (prediction[key].tolist() for key in ("index", "label", "probability"))
    for index, label, probability in zip(*values, strict=True):
        if index >= 0:  # else it stands for no image
            if not math.isfinite(probability):
                raise NotFiniteError(
                    f"The probability of image {index} of the eval set at position {which} isn't finite; check the "
                    "weights, and set trainer.precision to bf16-mixed or 32-true."
                )
            yield which, index, label, probability
