"""Group metrics against hand counts and a plain count over the samples, in one process and in two."""

import doctest
import math
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch import distributed as dist
from torchmetrics import Metric, MetricCollection

from fakes.processes import together
from starft.errors import ConfigError
from starft.evaluation import group_metrics as groups
from starft.evaluation.group_metrics import (
    AdjustedAccuracy,
    AverageAccuracy,
    GroupAccuracy,
    GroupCounts,
    GroupMeanAccuracy,
    WorstGroupAccuracy,
)

Samples = list[tuple[int, int, int]]  # predicted class, true class, group

WEIGHTS = (0.5, 0.1, 0.4)
# Group 0: 3 of 4, group 1: 1 of 2, group 2: not there.
HAND: Samples = [(0, 0, 0), (1, 1, 0), (0, 0, 1), (0, 1, 0), (1, 1, 0), (1, 0, 1)]


def collection() -> MetricCollection:
    return MetricCollection(
        {
            "counts": GroupCounts(3),
            "acc": AverageAccuracy(3),
            "group_acc": GroupAccuracy(3),
            "worst_group_acc": WorstGroupAccuracy(3),
            "group_mean_acc": GroupMeanAccuracy(3),
            "adjusted_acc": AdjustedAccuracy(WEIGHTS),
        }
    )


def tensors(samples: Samples) -> tuple[Tensor, Tensor, Tensor]:
    preds, target, group = torch.tensor(samples, dtype=torch.long).reshape(-1, 3).unbind(dim=1)
    return preds, target, group


def oracle(samples: Samples) -> dict[str, list[float] | list[list[int]] | float]:
    """Return what each metric of the collection should give, counted sample by sample."""
    correct, total = [0, 0, 0], [0, 0, 0]
    for pred, true, group in samples:
        total[group] += 1
        correct[group] += pred == true
    accuracy = [c / t if t else math.nan for c, t in zip(correct, total, strict=True)]
    seen = [g for g in range(3) if total[g]]
    shares = sum(WEIGHTS[g] for g in seen)
    return {
        "counts": [correct, total],
        "acc": sum(correct) / sum(total) if seen else math.nan,
        "group_acc": accuracy,
        "worst_group_acc": min(accuracy[g] for g in seen) if seen else math.nan,
        "group_mean_acc": sum(accuracy[g] for g in seen) / len(seen) if seen else math.nan,
        "adjusted_acc": sum(WEIGHTS[g] * accuracy[g] for g in seen) / shares if seen else math.nan,
    }


def check(got: dict[str, Tensor], samples: Samples) -> None:
    expected = oracle(samples)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(got[name], torch.tensor(value), equal_nan=True, msg=lambda m, n=name: f"{n}: {m}")


def draw(seed: int, n: int, allowed: tuple[int, ...] = (0, 1, 2)) -> Samples:
    rng = torch.Generator().manual_seed(seed)
    preds, target = torch.randint(3, (2, n), generator=rng).tolist()
    group = torch.tensor(allowed)[torch.randint(len(allowed), (n,), generator=rng)].tolist()
    return list(zip(preds, target, group, strict=True))


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (GroupCounts(3), [[3, 1, 0], [4, 2, 0]]),
        (AverageAccuracy(3), 4 / 6),
        (GroupAccuracy(3), [0.75, 0.5, math.nan]),
        (WorstGroupAccuracy(3), 0.5),
        (GroupMeanAccuracy(3), 0.625),
        (AdjustedAccuracy(WEIGHTS), (0.5 * 0.75 + 0.1 * 0.5) / 0.6),
        (AdjustedAccuracy([50, 10, 40], num_groups=3), (0.5 * 0.75 + 0.1 * 0.5) / 0.6),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Metric) else "",
)
def test_hand_count(metric: Metric, expected: float | list[float]) -> None:
    metric.update(*tensors(HAND))
    torch.testing.assert_close(metric.compute(), torch.tensor(expected), equal_nan=True)


@pytest.mark.parametrize("seed", range(8))
def test_random_data_in_batches(seed: int) -> None:
    samples = draw(seed, n=40 + seed)
    metrics = collection()
    for start in range(0, len(samples), 7):
        metrics.update(*tensors(samples[start : start + 7]))
    check(metrics.compute(), samples)


def test_a_group_may_lack_in_a_batch_and_in_an_epoch() -> None:
    metrics = collection()
    epochs = [
        [draw(0, 5, (0,)), draw(1, 6, (1, 2)), []],  # each batch lacks a group, the epoch has all
        [draw(2, 9, (0, 2)), draw(3, 4, (2,))],  # no group 1 in the whole epoch
        [[], draw(4, 3, (1,))],
        [[]],  # nothing at all
        [draw(5, 20)],
    ]
    for batches in epochs:
        for batch in batches:
            metrics.update(*tensors(batch))
        check(metrics.compute(), [sample for batch in batches for sample in batch])
        metrics.reset()


def test_nothing_seen_is_nan_and_not_zero() -> None:
    for metric in (AverageAccuracy(3), WorstGroupAccuracy(3), GroupMeanAccuracy(3), AdjustedAccuracy(WEIGHTS)):
        metric.update(*tensors([]))
        assert metric.compute().isnan()
        assert metric.compute().shape == ()


def test_only_groups_of_weight_zero_is_nan() -> None:
    metric = AdjustedAccuracy([0.0, 1.0])
    metric.update(*tensors([(1, 1, 0)]))
    assert metric.compute().isnan()
    metric.update(*tensors([(1, 0, 1)]))
    assert metric.compute() == 0.0


def test_a_worst_group_of_zero_is_found() -> None:
    metric = WorstGroupAccuracy(2)
    metric.update(*tensors([(1, 1, 0), (0, 1, 1)]))
    assert metric.compute() == 0.0


def test_a_single_group() -> None:
    metric = GroupAccuracy(1)
    metric.update(*tensors([(1, 1, 0), (0, 1, 0)]))
    assert metric.compute() == 0.5


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_small_integers_do_not_wrap(dtype: torch.dtype) -> None:
    metric = GroupAccuracy(200)  # two cells a group: 2 * 199 is more than a byte holds
    metric.update(torch.tensor([1, 0], dtype=dtype), torch.tensor([1, 1]), torch.tensor([127, 127], dtype=dtype))
    metric.update(torch.tensor([1]), torch.tensor([1]), torch.tensor([199], dtype=dtype))
    assert metric.compute()[127] == 0.5
    assert metric.compute()[199] == 1.0
    assert metric.compute().isnan().sum() == 198


def test_counts_stay_exact_under_half_precision_and_inference_mode() -> None:
    module = torch.nn.Module()
    module.metrics = collection()
    module.to(torch.bfloat16)
    samples = draw(6, 300)
    with torch.inference_mode():
        module.metrics.update(*tensors(samples))
    module.metrics.update(*tensors(samples))
    check(module.metrics.compute(), samples * 2)


def test_the_collection_counts_a_batch_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    count = GroupCounts.update

    def spy(self: GroupCounts, preds: Tensor, target: Tensor, group: Tensor) -> None:
        calls.append(type(self).__name__)
        count(self, preds, target, group)

    monkeypatch.setattr(GroupCounts, "update", spy)
    metrics = collection()
    samples = draw(7, 30)
    for epoch in range(3):
        for start in range(0, 30, 10):
            metrics.update(*tensors(samples[start : start + 10]))
        check(metrics.compute(), samples)
        metrics.reset()
        # The very first batch goes to each metric, since that is how torchmetrics finds out whose states agree.
        assert len(calls) == 6 + 2 + 3 * epoch
    assert list(metrics.compute_groups.values()) == [list(metrics.keys())]


def test_an_empty_first_batch_binds_only_what_belongs_together() -> None:
    metrics = MetricCollection({"three": AverageAccuracy(3), "four": AverageAccuracy(4), "mean": GroupMeanAccuracy(3)})
    metrics.update(*tensors([]))
    assert sorted(map(sorted, metrics.compute_groups.values())) == [["four"], ["mean", "three"]]
    metrics.update(*tensors(HAND))
    got = metrics.compute()
    assert got["three"] == got["four"] == torch.tensor(4 / 6)
    assert got["mean"] == 0.625


def test_forward_gives_the_batch_and_keeps_the_epoch() -> None:
    metrics = collection()
    first, second = draw(8, 12), draw(9, 9, (0, 1))
    for batch in (first, second):
        check(metrics(*tensors(batch)), batch)
    check(metrics.compute(), first + second)


def test_options_of_torchmetrics_and_pickling_pass_through() -> None:
    metric = AdjustedAccuracy(WEIGHTS, compute_with_cache=False)
    assert metric.compute_with_cache is False
    metric.update(*tensors(HAND))
    assert pickle.loads(pickle.dumps(metric)).compute() == metric.compute()


@pytest.mark.parametrize(
    ("preds", "target", "group", "sentence"),
    [
        ([0, 1], [0, 1], [0, 3], r"group ids must lie in \[0, 3\), got \[3\]"),
        ([0, 1], [0, 1], [-1, 0], r"group ids must lie in \[0, 3\), got \[-1\]"),
        ([0] * 7, [0] * 7, [9, 8, 7, 6, 5, 4, 3], r"got \[3, 4, 5, 6, 7\]\."),
        ([0, 1], [0], [0, 1], "one length, got 2, 1 and 2"),
        ([0, 1], [0, 1], [0], "one length, got 2, 2 and 1"),
        ([[0.1, 0.9]], [1], [0], r"preds must have the shape \(n,\), got \(1, 2\)\. Take the argmax"),
        ([0], [[0]], [0], r"target must have the shape \(n,\), got \(1, 1\)\.$"),
        ([0], [0], 0, r"group must have the shape \(n,\), got \(\)\.$"),
        ([0.0, 1.0], [0, 1], [0, 1], r"preds must hold integers, got torch\.float32"),
        ([0, 1], [0.0, 1.0], [0, 1], r"target must hold integers, got torch\.float32"),
        ([0, 1], [0, 1], [0.0, 1.0], r"group must hold integers, got torch\.float32"),
        ([True], [1], [0], r"preds must hold integers, got torch\.bool"),
        ([1], [1j], [0], r"target must hold integers, got torch\.complex64"),
    ],
)
def test_a_bad_batch_is_refused_and_not_counted(
    preds: list[int], target: list[int], group: list[int], sentence: str
) -> None:
    metric = GroupCounts(3)
    metric.update(*tensors(HAND))
    with pytest.raises(ValueError, match=sentence):
        metric.update(torch.tensor(preds), torch.tensor(target), torch.tensor(group))
    assert metric.compute().tolist() == [[3, 1, 0], [4, 2, 0]]


@pytest.mark.parametrize("num_groups", [0, -4])
def test_no_groups_are_refused(num_groups: int) -> None:
    with pytest.raises(ConfigError, match=f"num_groups must be at least 1, got {num_groups}"):
        WorstGroupAccuracy(num_groups)


@pytest.mark.parametrize(
    ("weights", "num_groups", "sentence"),
    [
        ([0.5, 0.5], 3, "one weight for each of 3 groups, got 2"),
        ([0.5, -0.5], None, r"finite and at least 0, got \[0\.5, -0\.5\]"),
        ([0.5, math.nan], None, r"finite and at least 0, got \[0\.5, nan\]"),
        ([0.5, math.inf], None, r"finite and at least 0, got \[0\.5, inf\]"),
        ([0.0, 0.0], 2, r"a weight above 0, got \[0\.0, 0\.0\]"),
        ([], None, r"a weight above 0, got \[\]"),
    ],
)
def test_bad_weights_are_refused(weights: list[float], num_groups: int | None, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        AdjustedAccuracy(weights, num_groups)


# The batches of each of two ranks, epoch by epoch.
SHARES: list[list[list[Samples]]] = [
    [[draw(13, 7, (0,))], [draw(14, 6, (1, 2)), draw(15, 6, (2,))]],  # each rank lacks a group, and the other has it
    [[draw(10, 11), draw(11, 5)], [draw(12, 8)]],
    [[draw(16, 9, (0, 2))], [[]]],  # group 1 is on neither rank, and rank 1 has nothing at all
    [[[]], [[]]],
    [[draw(17, 4)], [draw(18, 21)]],
]


def counted() -> list[dict[str, Tensor]]:
    """What a process that knows the other finds in each epoch."""
    metrics = collection()
    results = []
    for epoch in SHARES:
        for batch in epoch[dist.get_rank()]:
            metrics.update(*tensors(batch))
        results.append({name: value.clone() for name, value in metrics.compute().items()})
        metrics.reset()
    return results


@pytest.mark.slow
@pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="torch was built without gloo")
def test_two_processes_count_as_one(tmp_path: Path) -> None:
    for results in together(2, counted, tmp_path):
        for got, epoch in zip(results, SHARES, strict=True):
            check(got, [sample for batches in epoch for batch in batches for sample in batch])


def test_examples_in_the_docstrings() -> None:
    result = doctest.testmod(groups)
    assert result.attempted > 0
    assert result.failed == 0
