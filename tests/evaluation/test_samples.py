"""Records of samples, and the scores made of them, against torchmetrics and scikit-learn on the logits."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, top_k_accuracy_score
from torchmetrics.functional.classification import multiclass_calibration_error

from starft.evaluation.sample_metrics import SampleRecord, Samples, sample_scores, samples_of
from starft.runs.sample_writer import write_samples
from starft.runs.samples import COLUMNS, read_samples
from starft.types import EvalSet

NAMES = tuple("abcdefgh")
PLAIN = EvalSet("id", NAMES, ("{}",))


def drawn(n: int, classes: int = 8, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes - 1, (n,), generator=generator)  # the last one never occurs
    logits = torch.randn(n, classes, generator=generator)
    logits[torch.arange(n), labels] += 1
    return logits, labels


def record(logits: torch.Tensor, labels: torch.Tensor, eval_set: EvalSet, batch: int = 32) -> Samples:
    kept = SampleRecord()
    index = torch.arange(len(labels))
    for rows in index.split(batch):
        kept.update(samples_of(logits[rows], labels[rows], rows, torch.zeros_like(rows), eval_set))
    return kept.compute()


def test_scores_against_other_libraries() -> None:
    logits, labels = drawn(200)
    scores = sample_scores(record(logits, labels, PLAIN), PLAIN)
    assert scores.keys() == {"ece", "top5_acc", "macro_f1"}
    told = multiclass_calibration_error(logits.softmax(dim=-1), labels, num_classes=8, n_bins=15)
    assert scores["ece"].item() == pytest.approx(told.item(), abs=1e-6)
    probabilities = logits.softmax(dim=-1).numpy()
    assert scores["top5_acc"].item() == pytest.approx(
        top_k_accuracy_score(labels.numpy(), probabilities, k=5, labels=list(range(8))), abs=1e-6
    )
    preds = logits.argmax(dim=-1).numpy()
    told = f1_score(labels.numpy(), preds, labels=labels.unique().numpy(), average="macro")
    assert scores["macro_f1"].item() == pytest.approx(told, abs=1e-6)


def test_ece_by_hand() -> None:
    # 15 bins: .95 and .94 lie in the last two-hundredths of bin 14, .55 in bin 8.
    confidence = torch.tensor([0.95, 0.94, 0.55])
    right = torch.tensor([True, False, True])
    column = torch.arange(3)
    samples = Samples(column, column, column, right, right, column, confidence)
    # bin 14: |0.5 - 0.945| * 2/3; bin 8: |1 - 0.55| * 1/3
    assert sample_scores(samples, EvalSet("id", ("a", "b", "c"), ("{}",)))["ece"].item() == pytest.approx(
        0.445 * 2 / 3 + 0.45 / 3, abs=1e-6
    )


def test_five_labels_have_no_top_five_and_nothing_seen_has_no_score() -> None:
    five = EvalSet("five", NAMES[:5], ("{}",))
    logits, labels = drawn(20, 5)
    assert "top5_acc" not in sample_scores(record(logits, labels, five), five)
    assert sample_scores(record(logits[:0], labels[:0], PLAIN), PLAIN) == {}


def test_pictures_of_several_things_count_each_and_have_no_f1() -> None:
    several = EvalSet("several", NAMES, ("{}",), accepted=(*((label,) for label in range(8)), (6, 7)))
    logits = torch.arange(8.0, 0, -1).repeat(2, 1)  # a, b, c, d, e are the likeliest, a first
    logits[1, 7] = 3.5  # now h is before e
    samples = record(logits, torch.tensor([8, 8]), several)
    assert samples.right.tolist() == [False, False]
    assert samples.in_top.tolist() == [False, False]
    logits[1, 7] = 5.5
    samples = record(logits, torch.tensor([8, 8]), several)
    assert samples.in_top.tolist() == [False, True]
    assert "macro_f1" not in sample_scores(samples, several)


def test_a_sample_seen_twice_counts_once_whatever_the_order() -> None:
    logits, labels = drawn(6)
    once = record(logits, labels, PLAIN)
    kept = SampleRecord()
    for rows in (torch.tensor([4, 1]), torch.tensor([0, 5, 3]), torch.tensor([2, 4])):
        kept.update(samples_of(logits[rows], labels[rows], rows, torch.zeros_like(rows), PLAIN))
    for one, other in zip(once, kept.compute(), strict=True):
        assert torch.equal(one, other)


def test_it_leaves_nothing_in_a_checkpoint() -> None:
    logits, labels = drawn(3)
    kept = SampleRecord()
    kept.update(samples_of(logits, labels, labels, labels, PLAIN))
    assert kept.state_dict() == {}
    kept.reset()
    assert not kept.rows


def test_both_files_of_samples_hold_the_same(tmp_path: Path) -> None:
    sets = (PLAIN, EvalSet("birds", ("duck", "gull"), ("{}",), group_names=("duck, lake", "duck, land")))
    rows = {"id": record(*drawn(20), PLAIN), "birds": record(*drawn(5, 2), sets[1])}
    tables = []
    for kind in ("npz", "parquet"):
        (tmp_path / kind).mkdir()
        write_samples(tmp_path / kind, kind, sets, rows, lambda at, index: f"{at}/é{index}.jpg" if at else "")
        table = read_samples(tmp_path / kind)
        assert table is not None
        assert len(table) == 25
        tables.append(table)
    for name in COLUMNS:
        assert np.array_equal(tables[0][name], tables[1][name]), name
        assert tables[0][name].dtype == tables[1][name].dtype
    birds = tables[1].of_set("birds")
    assert birds["path"].tolist() == [f"1/é{index}.jpg" for index in range(5)]
    assert set(birds["group_name"].tolist()) == {"duck, lake"}
    assert tables[1].rows(np.array([24, 0]))["set"].tolist() == ["birds", "id"]
