"""Logit adjustment and class weights: by hand, by torch and by scikit-learn; what is refused; in a run."""

import math
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from starft.errors import ConfigError, DataError
from starft.losses import CrossEntropy
from starft.losses.class_balance import balanced_weights, log_priors
from starft.mini import MiniWorld
from starft.training.gradients import check_accumulation, start_terms

COUNTS = (6, 3, 1)
LOGITS = torch.tensor([[2.0, 0.0, 1.0], [0.5, -1.0, 0.0], [0.0, 3.0, 1.0], [1.0, 1.0, 1.0]])
LABELS = torch.tensor([0, 2, 1, 2])
CTX: Any = SimpleNamespace(logits=LOGITS, labels=LABELS)


@pytest.mark.parametrize("tau", [1.0, 2.5])
def test_logit_adjustment_by_hand(tau: float) -> None:
    """-log of prior_y^tau exp(z_y) over the sum of them, averaged."""
    term = CrossEntropy(logit_adjustment=tau)
    term.count_classes(COUNTS)
    total = 0.0
    for row, label in zip(LOGITS.tolist(), LABELS.tolist(), strict=True):
        parts = [(count / 10) ** tau * math.exp(logit) for count, logit in zip(COUNTS, row, strict=True)]
        total -= math.log(parts[label] / sum(parts)) / 4
    assert term(CTX).item() == pytest.approx(total, rel=1e-6)


def test_balanced_weights_are_scikit_learn_s() -> None:
    labels = np.repeat([0, 1, 2], COUNTS)
    theirs = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(balanced_weights(COUNTS).numpy(), theirs, rtol=1e-6)
    term = CrossEntropy(class_weights="balanced", label_smoothing=0.1)
    term.count_classes(COUNTS)
    expected = F.cross_entropy(LOGITS, LABELS, torch.tensor(theirs).float(), label_smoothing=0.1)
    torch.testing.assert_close(term(CTX), expected)


def test_weights_by_name() -> None:
    """-log softmax of the rows, weighted 1, 5, 1, 5 and divided by 12."""
    term = CrossEntropy(class_weights={"swan": 5.0})
    term.check_classes(["duck", "gull", "swan"])
    term.count_classes(())
    rows = [
        -math.log(math.exp(row[y]) / sum(map(math.exp, row))) for row, y in zip(LOGITS.tolist(), LABELS, strict=True)
    ]
    assert term(CTX).item() == pytest.approx((rows[0] + 5 * rows[1] + rows[2] + 5 * rows[3]) / 12, rel=1e-6)
    with pytest.raises(ConfigError, match=r"accumulate_grad_batches is 2, but CrossEntropy compares"):
        check_accumulation([term], 2)
    check_accumulation([CrossEntropy(logit_adjustment=1.0)], 2)


def test_a_batch_that_weighs_nothing_teaches_nothing() -> None:
    """0 / 0 otherwise, and a run of small batches would end there."""
    for smoothing in (0.0, 0.1):
        term = CrossEntropy(class_weights={"swan": 0.0}, label_smoothing=smoothing)
        term.check_classes(["duck", "gull", "swan"])
        logits = LOGITS.clone().requires_grad_()
        value = term(SimpleNamespace(logits=logits, labels=torch.tensor([2, 2, 2, 2])))  # type: ignore[arg-type]
        assert value.item() == 0
        assert not torch.autograd.grad(value, logits)[0].any()


def test_any_word_may_be_the_name_of_a_class() -> None:
    term = CrossEntropy(class_weights={"owner": 2.0, "self": 3.0})
    term.check_classes(["owner", "pet", "self"])
    expected = F.cross_entropy(LOGITS, LABELS, torch.tensor([2.0, 1.0, 3.0]))
    torch.testing.assert_close(term(CTX), expected)


def test_a_class_without_images_counts_as_one_of_one() -> None:
    assert log_priors([3, 0]).exp().tolist() == pytest.approx([0.75, 0.25])
    assert balanced_weights([3, 0]).tolist() == pytest.approx([4 / 6, 2.0])


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"sawn": 2.0},
            "class_weights has a weight for 'sawn', which is none of the 3 training classes; name those, or set "
            "class_weights to balanced. Did you mean swan?",
        ),
        ({"duck": -1.0}, "duck of class_weights must be a finite number, at least 0; got -1.0."),
        (
            {"duck": 0.0, "gull": 0.0, "swan": 0.0},
            "class_weights are 0 for all 3 training classes, so nothing would be learned; give one of them a weight "
            "above 0.",
        ),
    ],
)
def test_weights_that_cant_be_used(given: dict[str, float], sentence: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        CrossEntropy(class_weights=given).check_classes(["duck", "gull", "swan"])


@pytest.mark.parametrize("given", [{"logit_adjustment": 1.0}, {"class_weights": "balanced"}])
def test_counts_are_needed(given: dict[str, Any]) -> None:
    term = CrossEntropy(**given)
    sentence = "CrossEntropy counts the training images of each class, and these data don't tell them; set logit_adj"
    with pytest.raises(DataError, match=f"^{sentence}"):
        start_terms([term], object())
    data = MiniWorld(train_size=24, val_size=12, test_size=12, batch_size=12)
    data.prepare_data()
    data.setup("fit")
    start_terms([term], data)
    counts = np.bincount(data.train_set.labels, minlength=12)  # type: ignore[union-attr]
    assert data.train_class_counts == tuple(counts)
    assert sum(counts) == 24


def test_a_negative_factor_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"^logit_adjustment of CrossEntropy must be a finite number, at least 0; got -1"
    ):
        CrossEntropy(logit_adjustment=-1.0)
