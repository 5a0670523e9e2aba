"""Scoring one model on many eval sets, each with its own class names, head and metrics."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from starft.clip import ClipEncoder, zero_shot_head
from starft.metrics import eval_metrics, group_counts
from starft.types import Batch, EvalSet


@dataclass(frozen=True)
class GroupResult:
    """How one group of one eval set fared.

    Args:
        name: The group's name.
        correct: Predictions that were right.
        total: Predictions made.
    """

    name: str
    correct: int
    total: int


class Evaluator(nn.Module):
    """Heads and metrics of the eval sets of one stage.

    A set is scored by the trained linear head where there is one and the set has the training classes; by the zero-shot
    head of its own class names otherwise. Where the linear head scores, the text tower's head is scored beside it, as
    ``text_head_acc``.

    Args:
        eval_sets: In the order of the loaders.
    """

    def __init__(self, eval_sets: Sequence[EvalSet]) -> None:
        super().__init__()
        self.eval_sets = tuple(eval_sets)
        self.metrics = nn.ModuleList(eval_metrics(eval_set) for eval_set in self.eval_sets)
        self.text_metrics = nn.ModuleList(eval_metrics(eval_set) for eval_set in self.eval_sets)
        self._heads: list[Tensor] = []
        self._text_heads: list[Tensor | None] = []

    @torch.no_grad()
    def prepare(self, clip: ClipEncoder, class_names: Sequence[str], linear_head: Tensor | None) -> None:
        """Make the heads from the weights as they are now, and forget earlier counts.

        Args:
            clip: The model that is scored.
            class_names: Training classes of the linear head.
            linear_head: Trained head (C, D), or null.
        """
        self._heads, self._text_heads = [], []
        for eval_set in self.eval_sets:
            text = clip.logit_scale * zero_shot_head(clip, eval_set.class_names, eval_set.templates)
            trained = linear_head is not None and tuple(class_names) == eval_set.class_names
            self._heads.append(linear_head if trained and linear_head is not None else text)
            self._text_heads.append(text if trained else None)
        for metrics in (*self.metrics, *self.text_metrics):
            _collection(metrics).reset()

    def logits(self, which: int, image_features: Tensor) -> Tensor:
        """Return class logits (B, C) of the eval set at position ``which``, scaled, in float32."""
        return image_features.float() @ self._heads[which].float().T

    def update(self, which: int, image_features: Tensor, batch: Batch) -> None:
        """Count one batch of the eval set at position ``which``; image features (B, D) are unit rows."""
        labels = batch["label"]
        group = batch["group"] if self.eval_sets[which].group_names else torch.zeros_like(labels)
        _collection(self.metrics[which]).update(self.logits(which, image_features).argmax(dim=-1), labels, group)
        text_head = self._text_heads[which]
        if text_head is not None:
            preds = (image_features.float() @ text_head.float().T).argmax(dim=-1)
            _collection(self.text_metrics[which]).update(preds, labels, group)

    def compute(self) -> dict[str, Tensor]:
        """Return every number, ``{eval set}/{metric}`` and ``ood_acc``; sums run over all processes."""
        numbers: dict[str, Tensor] = {}
        for which, eval_set in enumerate(self.eval_sets):
            for name, value in _collection(self.metrics[which]).compute().items():
                if value.ndim == 0:
                    numbers[f"{eval_set.name}/{name}"] = value
            if self._text_heads[which] is not None:
                numbers[f"{eval_set.name}/text_head_acc"] = _collection(self.text_metrics[which])["acc"].compute()
        ood = [numbers[f"{eval_set.name}/acc"] for eval_set in self.eval_sets if eval_set.ood]
        if ood:
            numbers["ood_acc"] = torch.stack(ood).mean()
        return numbers

    def groups(self) -> dict[str, list[GroupResult]]:
        """Return the counts of every group, by eval set; a set without groups has one, named ``all``."""
        results = {}
        for which, eval_set in enumerate(self.eval_sets):
            correct, total = group_counts(_collection(self.metrics[which]))
            names = eval_set.group_names or ("all",)
            results[eval_set.name] = [GroupResult(*row) for row in zip(names, correct, total, strict=True)]
        return results


def _collection(module: nn.Module) -> MetricCollection:
    assert isinstance(module, MetricCollection)
    return module
