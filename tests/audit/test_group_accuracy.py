"""Accuracies corrected for errors of inferred attributes: by hand, by closed forms, and on simulated data."""

import numpy as np
import pytest
from scipy.stats import beta

from starft.audit import group_accuracy
from starft.audit.group_accuracy import CREDIBLE, bounded, corrected_by_checks


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_accuracy, "DRAWS", 200)
    monkeypatch.setattr(group_accuracy, "BURN_IN", 60)


def simulated(seed: int, rate: float, checked: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return counts, checks and true accuracies of 1,000 images of two classes; 20 % lack the shortcut."""
    rng, truth = np.random.default_rng(seed), np.array([[0.95, 0.6], [0.9, 0.7]])
    label, attribute = rng.integers(2, size=1000), (rng.random(1000) < 0.2).astype(int)
    right = (rng.random(1000) < truth[label, attribute]).astype(int)
    inferred = attribute ^ (rng.random(1000) < rate)
    counts, checks = np.zeros((2, 2, 2), dtype=np.int64), np.zeros((2, 2, 2, 2), dtype=np.int64)
    np.add.at(counts, (label, inferred, right), 1)
    np.add.at(checks, tuple(part[:checked] for part in (label, attribute, inferred, right)), 1)
    return counts, checks, truth


def test_where_all_are_checked_the_posterior_is_the_beta_one() -> None:
    counts, checks, _ = simulated(0, 0.3, 1000)
    result = corrected_by_checks(counts, checks)
    wrong, right = np.moveaxis(checks.sum(axis=2), -1, 0)
    low, high = beta.interval(CREDIBLE, right + 0.5, wrong + 0.5)
    assert result.lows == pytest.approx(low, abs=0.02)
    assert result.highs == pytest.approx(high, abs=0.02)


def test_corrected_intervals_hold_the_truth_that_inferred_groups_miss() -> None:
    holds, worst, plain = [], [], []
    for seed in range(10):
        counts, checks, truth = simulated(seed, 0.25, 200)
        result = corrected_by_checks(counts, checks, seed)
        holds.append((result.lows <= truth) & (truth <= result.highs))
        worst.append(result.worst_interval[0] <= truth.min() <= result.worst_interval[1])
        plain.append(counts[0, 1, 1] / counts[0, 1].sum())
    assert np.mean(holds) >= 0.9
    assert sum(worst) >= 8
    assert np.mean(plain) > 0.7, "where it is 0.6"
    assert result.worst == 1


def test_bounds_are_those_by_hand() -> None:
    counts = np.array([[[10, 90], [20, 20]]])  # wrong and right, with and without the shortcut
    misplaced = np.array([[4.0, 10.0]])
    result = bounded(counts, misplaced, np.zeros((1, 2)))
    # With it: 100 less 4 and 10 more; at worst 86 of 106 are right, at best all but 10 - 4 of them.
    # Without it: 40 less 10 and 4 more; at worst 10 of 34, at best all but 20 - 10.
    from_ends = [group_accuracy.wilson_interval(*pair) for pair in ((86, 106), (100, 106), (10, 34), (24, 34))]
    assert result.lows.ravel().tolist() == pytest.approx([from_ends[0][0], from_ends[2][0]])
    assert result.highs.ravel().tolist() == pytest.approx([from_ends[1][1], from_ends[3][1]])
    assert (result.worst, result.values.tolist()) == (1, [[0.9, 0.5]])
    assert result.worst_interval[0] == result.lows.min()
    assert result.worst_interval[1] > result.highs.min(), "either may have been unlucky"


def test_a_group_without_images_is_never_the_worst() -> None:
    counts = np.array([[[10, 90], [0, 0]]])
    assert bounded(counts, np.zeros((1, 2)), np.zeros((1, 2))).worst == 0
    checks = np.zeros((1, 2, 2, 2), dtype=np.int64)
    checks[0, 0, 0] = 5, 45
    result = corrected_by_checks(counts, checks)
    assert result.worst == 0
    assert 0.7 < result.worst_interval[0] < 0.9 < result.worst_interval[1]
