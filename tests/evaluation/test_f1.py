"""Macro F1 against scikit-learn, over the labels that occur as WILDS has it."""

import pytest
import torch
from sklearn.metrics import f1_score

from starft.errors import ConfigError
from starft.evaluation.f1 import MacroF1


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_scikit_learn_batch_by_batch(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(0, 6, (90,), generator=generator)  # classes 6 to 8 never occur
    preds = torch.where(
        torch.rand(90, generator=generator) < 0.5, target, torch.randint(0, 9, (90,), generator=generator)
    )
    metric = MacroF1(num_classes=9)
    for rows in torch.arange(90).split(40):
        metric.update(preds[rows], target[rows])
    labels = target.unique().numpy()
    told = f1_score(target.numpy(), preds.numpy(), labels=labels, average="macro")
    assert metric.compute().item() == pytest.approx(told, abs=1e-6)
    everything = f1_score(target.numpy(), preds.numpy(), average="macro")
    assert everything < told - 0.05, "the two averages must differ here, or the test tells nothing"


def test_a_group_is_not_looked_at_and_an_empty_batch_is_nan() -> None:
    metric = MacroF1(num_classes=2)
    none = torch.zeros(0, dtype=torch.long)
    metric.update(none, none, none)
    assert metric.compute().isnan()
    metric.update(torch.tensor([0, 1]), torch.tensor([0, 1]), torch.tensor([7, -1]))
    assert metric.compute() == 1


def test_needs_a_class() -> None:
    with pytest.raises(ConfigError, match="num_classes must be at least 1, got 0"):
        MacroF1(0)
