"""What a model says of each validation image, collected beside the metrics."""

from typing import Any, cast

import lightning as L
import torch
from torch import Tensor

from starft.distributed import is_own_row, world_size
from starft.evaluation.evaluator import Evaluator
from starft.evaluation.sample_metrics import SampleRecord, Samples, samples_of
from starft.types import Batch


class KeptPredictions(L.Callback):
    """Keeps the prediction of each image of the validation sets that have classes."""

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget an earlier validation."""
        self._evaluator = cast(Evaluator, pl_module.evaluator)
        self._records = [SampleRecord() for _ in self._evaluator.eval_sets]

    @torch.no_grad()
    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep one batch; of rows that fill up the last batch of a process there are no logits."""
        if not isinstance(outputs, Tensor):
            return
        eval_set, index, label = self._evaluator.eval_sets[dataloader_idx], batch["index"], batch["label"]
        group = batch["group"] if eval_set.group_names else torch.zeros_like(label)
        if world_size() > 1:
            own = is_own_row(index)
            index, label, group = index[own], label[own], group[own]
        self._records[dataloader_idx].update(samples_of(outputs, label, index, group, eval_set))

    def samples(self) -> dict[str, Samples]:
        """Return what became of each image, by validation set."""
        pairs = zip(self._evaluator.eval_sets, self._records, strict=True)
        return {eval_set.name: record.compute() for eval_set, record in pairs if not eval_set.captions}
