"""Macro-averaged F1 as WILDS computes it for iWildCam.

Paper: WILDS (Koh et al., ICML 2021, arXiv 2012.07421), section 4.1. Deviations: none known.
"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from starft.errors import ConfigError


class MacroF1(Metric):
    """Mean over classes of F1 = 2 TP / (2 TP + FP + FN), a float scalar; NaN if nothing was seen.

    The mean runs over the classes that occur among the *true* labels, as in WILDS; scikit-learn's and torchmetrics' own
    averages take in classes that were only predicted too, which is lower. ``update`` takes ``preds`` and ``target``,
    integers (n,) in ``[0, num_classes)``, and a group, which it doesn't look at.

    Args:
        num_classes: How many classes there are.
        **kwargs: Options of ``torchmetrics.Metric``.

    Raises:
        ConfigError: If ``num_classes`` is below 1.

    Example:
        >>> metric = MacroF1(num_classes=3)
        >>> metric.update(torch.tensor([0, 0, 2]), torch.tensor([0, 1, 1]))
        >>> metric.compute()  # class 0: 2 / 3; class 1: 0; class 2 never is the true one
        tensor(0.3333)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    class_correct: Tensor
    class_predicted: Tensor
    class_total: Tensor

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if num_classes < 1:
            raise ConfigError(f"num_classes must be at least 1, got {num_classes}.")
        self.num_classes = num_classes
        for name in ("class_correct", "class_predicted", "class_total"):
            self.add_state(name, torch.zeros(num_classes, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor, group: Tensor | None = None) -> None:
        """Count one batch.

        Args:
            preds: Predicted classes (n,), not logits.
            target: True classes (n,).
            group: Not looked at; it lets the metric stand beside those that need it.
        """
        for name, classes in (
            ("class_correct", target[preds == target]),
            ("class_predicted", preds),
            ("class_total", target),
        ):
            setattr(self, name, getattr(self, name) + torch.bincount(classes, minlength=self.num_classes))

    def compute(self) -> Tensor:
        """Return the mean F1 of the classes that occurred."""
        f1 = 2 * self.class_correct / (self.class_predicted + self.class_total)
        return f1[self.class_total > 0].mean()
