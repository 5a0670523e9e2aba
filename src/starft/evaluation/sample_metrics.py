"""What became of every sample of an eval set, kept on the device until the end, and the scores made of it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_calibration_error
from torchmetrics.utilities import dim_zero_cat

from starft.evaluation.f1 import MacroF1
from starft.types import EvalSet

TOP = 5
BINS = 15
"""Equal bins of the confidence in the expected calibration error."""


class Samples(NamedTuple):
    """One row a sample, by position in the data set; all (n,).

    Args:
        position: In the data set, int64.
        label: True label, int64.
        prediction: Predicted label, int64.
        right: Whether the prediction counts as right, bool.
        in_top: Whether one of the `TOP` likeliest labels does, bool.
        group: Group id, int64; 0 where there are no groups.
        confidence: Probability of the prediction, float32.
    """

    position: Tensor
    label: Tensor
    prediction: Tensor
    right: Tensor
    in_top: Tensor
    group: Tensor
    confidence: Tensor


class SampleRecord(Metric):
    """Collects `Samples` without making the device wait; joined over processes, a sample seen twice counts once.

    Args:
        **kwargs: Options of ``torchmetrics.Metric``.
    """

    is_differentiable = False
    full_state_update = False

    rows: list[Tensor]
    confidence: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("rows", [], dist_reduce_fx="cat")
        self.add_state("confidence", [], dist_reduce_fx="cat")

    def update(self, samples: Samples) -> None:
        """Keep one batch.

        Args:
            samples: Of the batch.
        """
        self.rows.append(torch.stack([column.long() for column in samples[:-1]], dim=1))
        self.confidence.append(samples.confidence.float())

    def compute(self) -> Samples:
        """Return all samples, sorted by position; empty columns if nothing was seen."""
        if not len(self.rows):
            none = torch.zeros(0, dtype=torch.long)
            return Samples(none, none, none, none.bool(), none.bool(), none, none.float())
        rows, confidence = dim_zero_cat(self.rows).cpu(), dim_zero_cat(self.confidence).cpu()
        order = rows[:, 0].argsort(stable=True)
        rows, confidence = rows[order], confidence[order]
        first = torch.ones(len(rows), dtype=torch.bool)
        first[1:] = rows[1:, 0] != rows[:-1, 0]
        position, label, prediction, right, in_top, group = rows[first].unbind(dim=1)
        return Samples(position, label, prediction, right.bool(), in_top.bool(), group, confidence[first])


def sample_scores(samples: Samples, eval_set: EvalSet) -> dict[str, Tensor]:
    """Return ``ece``, ``top5_acc`` where there are more than 5 labels, ``macro_f1`` where each picture has one label.

    ECE: the gap between confidence and accuracy in 15 equal bins, weighted by their samples (Guo et al., ICML 2017,
    arXiv 1706.04599). Top 5: the true label is among the 5 likeliest.

    Args:
        samples: All of the set.
        eval_set: The set.
    """
    if not len(samples.position):
        return {}
    scores = {
        "ece": binary_calibration_error(samples.confidence, samples.right.long(), BINS, "l1", validate_args=False)
    }
    if len(eval_set.prediction_names) > TOP:
        scores["top5_acc"] = samples.in_top.float().mean()
    if not eval_set.accepted:
        f1 = MacroF1(eval_set.num_labels)
        f1.update(samples.prediction, samples.label)
        scores["macro_f1"] = f1.compute()
    return scores


def accept(preds: Tensor, labels: Tensor, accepted: Sequence[Sequence[int]]) -> Tensor:
    """Return predictions (B,) in which every right one equals its label; nothing accepted, no change.

    Args:
        preds: Predicted labels (B,).
        labels: True labels (B,).
        accepted: For each label the predictions that are right, one at least.
    """
    if not accepted:
        return preds
    pairs = torch.tensor([(label, prediction) for label, row in enumerate(accepted) for prediction in row])
    right = torch.zeros(len(accepted), 1 + max(map(max, accepted)), dtype=torch.bool)
    right[tuple(pairs.T)] = True
    right = right.to(preds.device, non_blocking=True)
    known = preds.clamp(max=right.shape[1] - 1)
    return torch.where(right[labels, known] & (known == preds), labels, preds)


def samples_of(logits: Tensor, labels: Tensor, index: Tensor, group: Tensor, eval_set: EvalSet) -> Samples:
    """Return what became of one batch.

    Args:
        logits: One a label, (B, L).
        labels: True labels (B,).
        index: Positions in the data set (B,).
        group: Group ids (B,).
        eval_set: The set they are of.
    """
    confidence, prediction = logits.softmax(dim=-1).max(dim=-1)
    top = logits.topk(min(TOP, logits.shape[-1]), dim=-1).indices
    right = accept(prediction, labels, eval_set.accepted) == labels
    each = labels.repeat_interleave(top.shape[1])
    in_top = (accept(top.flatten(), each, eval_set.accepted) == each).view(top.shape).any(dim=1)
    return Samples(index, labels, prediction, right, in_top | right, group, confidence)
