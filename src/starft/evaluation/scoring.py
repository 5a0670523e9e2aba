"""How a trained model is scored in a run: the hooks of validation, test and predict around an `Evaluator`."""

import lightning as L
import torch
from torch import Tensor

from starft.clip import ClipEncoder
from starft.evaluation.evaluator import Evaluator
from starft.types import Batch


class ScoringModule(L.LightningModule):
    """Scores its CLIP on the eval sets of a stage; training is a subclass's.

    A subclass sets all that is named here before the first evaluation, the evaluator in ``setup``.
    """

    clip: ClipEncoder
    class_names: tuple[str, ...]
    linear_head: Tensor | None
    head_bias: Tensor | None
    evaluator: Evaluator | None

    @torch.no_grad()
    def features(self, encoder: ClipEncoder, batch: Batch) -> Tensor:
        """Return unit image features (B, D) of a batch that is still on the host, in the trainer's precision.

        Args:
            encoder: ``clip`` or ``twin``.
            batch: From a loader of the DataModule.
        """
        precision = self.trainer.precision_plugin
        there = self.trainer.strategy.batch_to_device(precision.convert_input(batch), self.device)  # as the loops do
        with precision.forward_context():
            return encoder.encode_image(there["image"])

    def on_validation_epoch_start(self) -> None:
        """Make the heads anew from the weights as they are."""
        self._evaluator().prepare(self.clip, self.class_names, self.linear_head, self.head_bias)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Tensor | None:
        """Count one batch of one eval set; return its logits, for callbacks, where it has classes."""
        return self._evaluator().update(dataloader_idx, self.clip.encode_image(batch["image"]), batch)

    def on_validation_epoch_end(self) -> None:
        """Log every metric of every eval set under ``val/``."""
        for name, value in self._evaluator().compute().items():
            self.log(f"val/{name}", value, prog_bar=name.endswith(("/acc", "_r1")))

    def on_test_epoch_start(self) -> None:
        """Make the heads anew from the weights as they are."""
        self.on_validation_epoch_start()

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> Tensor | None:
        """Count one batch of one eval set; return its logits, for callbacks, where it has classes."""
        return self.validation_step(batch, batch_idx, dataloader_idx)

    def on_test_epoch_end(self) -> None:
        """Log every metric of every eval set under ``test/``."""
        self.log_dict({f"test/{name}": value for name, value in self._evaluator().compute().items()})

    def on_predict_epoch_start(self) -> None:
        """Make the heads anew from the weights as they are."""
        self.on_validation_epoch_start()

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Return ``index``, predicted ``label`` (both int64) and its ``probability``, each (B,)."""
        logits = self._evaluator().logits(dataloader_idx, self.clip.encode_image(batch["image"]))
        probability, label = logits.softmax(dim=-1).max(dim=-1)
        return {"index": batch["index"], "label": label, "probability": probability}

    def _evaluator(self) -> Evaluator:
        assert self.evaluator is not None, "setup comes first"
        return self.evaluator
