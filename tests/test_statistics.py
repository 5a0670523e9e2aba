"""Intervals: against statsmodels, by hand, and by simulation of their coverage."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import f1_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from starft.statistics import (
    DRAWS,
    Difference,
    group_mean_interval,
    half_width_over_seeds,
    independent_difference,
    macro_f1_interval,
    paired_difference,
    stratified_difference,
    wilson_interval,
    worst_group_interval,
)

REPEATS = 1000


@pytest.mark.parametrize(("correct", "total"), [(0, 7), (3, 7), (7, 7), (4321, 5000), (1, 1)])
def test_wilson_against_statsmodels(correct: int, total: int) -> None:
    assert wilson_interval(correct, total) == pytest.approx(
        proportion_confint(correct, total, method="wilson"), abs=1e-9
    )


def test_wilson_against_published_intervals() -> None:
    """Newcombe (Statistics in Medicine 17, 1998) has 81 of 263; the other is worked by hand.

    For 8 of 10: centre (0.8 + 3.8415 / 20) / (1 + 0.38415) = 0.71674, half-width
    1.96 / 1.38415 * sqrt(0.8 * 0.2 / 10 + 3.8415 / 400) = 0.22656.
    """
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=5e-5)
    assert wilson_interval(0, 0) is None


def test_one_clearly_worst_group_has_its_own_wilson_interval() -> None:
    assert worst_group_interval([60, 98, 97], [100, 100, 100]) == pytest.approx(wilson_interval(60, 100))
    assert worst_group_interval([5, 0], [10, 0]) == pytest.approx(wilson_interval(5, 10))
    assert worst_group_interval([10, 7], [10, 7])[0] == pytest.approx(wilson_interval(7, 7)[0])  # type: ignore[index]
    assert worst_group_interval([], []) is None
    assert worst_group_interval([0, 0], [0, 0]) is None


def test_equal_groups_share_the_doubt() -> None:
    """Of two equal groups either may be the worst: each upper limit at sqrt(0.975) = 0.98742 one-sided."""
    low, high = worst_group_interval([80, 80], [100, 100]) or (0, 0)
    assert low == pytest.approx(proportion_confint(80, 100, 0.05, "wilson")[0])
    assert high == pytest.approx(proportion_confint(80, 100, 2 * (1 - 0.975**0.5), "wilson")[1])


def coverage(rates: NDArray[np.float64], sizes: list[int], truth: float, interval: object) -> float:
    """Return how often, in %, the interval of drawn counts holds the truth."""
    assert callable(interval)
    drawn = np.random.default_rng(1).binomial(sizes, rates, (REPEATS, len(sizes)))
    return 100 * float(np.mean([low <= truth <= high for low, high in (interval(row, sizes) for row in drawn)]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rates", "sizes"),
    [
        ([0.7, 0.9, 0.95, 0.9], [600, 200, 600, 200]),  # one is the worst
        ([0.72, 0.85, 0.95, 0.99], [642, 2255, 642, 2255]),
        ([0.8, 0.8], [100, 100]),  # which one is the worst is chance
        ([0.95] * 4, [100] * 4),
        ([0.8] * 4, [200] * 4),
        ([0.6] * 10, [100] * 10),
    ],
)
def test_the_worst_groups_interval_covers(rates: list[float], sizes: list[int]) -> None:
    assert 93 <= coverage(np.array(rates), sizes, min(rates), worst_group_interval) <= 97


def test_nearly_equal_groups_are_covered_a_little_too_often() -> None:
    rates = np.array([0.8, 0.82, 0.85, 0.9])
    assert 95 <= coverage(rates, [200] * 4, 0.8, worst_group_interval) <= 99


def test_the_percentile_bootstrap_of_a_minimum_does_not_cover() -> None:
    """Why the worst group isn't bootstrapped: its minimum is biased, and each resample biases it again."""
    generator = np.random.default_rng(2)

    def percentile(row: NDArray[np.int64], sizes: list[int]) -> NDArray[np.float64]:
        rates = generator.binomial(sizes, row / sizes, (500, len(sizes))) / sizes
        return np.quantile(rates.min(axis=1), [0.025, 0.975])

    assert coverage(np.array([0.8] * 4), [200] * 4, 0.8, percentile) < 75


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rates", "sizes", "weights"),
    [
        ([0.7, 0.9, 0.95, 0.9], [60, 200, 60, 200], None),
        ([0.95, 0.97, 0.98, 0.9], [642, 642, 2255, 2255], [0.73, 0.04, 0.01, 0.22]),
        ([0.9, 0.95], [50, 40], None),
    ],
)
def test_the_group_means_interval_covers(rates: list[float], sizes: list[int], weights: list[float] | None) -> None:
    truth = float(np.average(rates, weights=weights))
    seeds = iter(range(REPEATS))
    held = coverage(np.array(rates), sizes, truth, lambda row, n: group_mean_interval(row, n, weights, next(seeds)))
    assert 93 <= held <= 97


def test_a_group_mean_by_the_normal_law() -> None:
    low, high = group_mean_interval([700, 900], [1000, 1000]) or (0, 0)
    error = 1.96 * ((0.7 * 0.3 + 0.9 * 0.1) / 1000) ** 0.5 / 2
    assert (low, high) == pytest.approx((0.8 - error, 0.8 + error), abs=0.002)
    assert group_mean_interval([700, 900], [1000, 1000]) == (low, high), "seeded"
    assert group_mean_interval([7, 0], [10, 0]) == group_mean_interval([7], [10])
    assert group_mean_interval([7, 3], [10, 10], [1.0, 0.0]) == group_mean_interval([7], [10])
    assert group_mean_interval([0], [0]) is None


@pytest.mark.slow
def test_the_paired_interval_covers() -> None:
    """Samples that only the first gets right: 12 %, only the second: 5 %."""
    generator = np.random.default_rng(3)
    held = 0
    for seed in range(2 * REPEATS):
        kind = generator.choice(3, 400, p=[0.12, 0.05, 0.83])
        low, high = paired_difference(kind != 1, kind != 0, seed=seed).interval
        held += low <= 0.07 <= high
    assert 0.93 <= held / (2 * REPEATS) <= 0.97


def test_a_paired_difference_by_hand_and_beside_mcnemar() -> None:
    first = np.array([True] * 80 + [True] * 15 + [False] * 4 + [False])
    second = np.array([True] * 80 + [False] * 15 + [True] * 4 + [False])
    found = paired_difference(first, second)
    difference, (low, high) = found.value, found.interval
    assert difference == pytest.approx(0.11)
    assert mcnemar([[80, 15], [4, 1]], exact=True).pvalue < 0.05
    assert 0 < low < 0.11 < high
    error = 1.96 * ((0.19 - 0.11**2) / 100) ** 0.5
    assert (low, high) == pytest.approx((0.11 - error, 0.11 + error), abs=0.012)


def test_a_paired_difference_at_another_level_is_wider() -> None:
    kind = np.repeat([0, 1, 2], [48, 20, 332])
    first, second = kind != 1, kind != 0
    (low, high), error = paired_difference(first, second, level=0.99).interval, (0.17 - 0.07**2) ** 0.5 / 20
    assert (low, high) == pytest.approx((0.07 - 2.576 * error, 0.07 + 2.576 * error), abs=0.006)
    assert paired_difference(first, second) == paired_difference(first, second, level=0.95)


def test_a_paired_difference_of_group_means() -> None:
    group = np.array([0] * 90 + [1] * 10)
    first = np.array([True] * 90 + [True] * 10)
    second = np.array([True] * 90 + [False] * 10)
    assert paired_difference(first, second).value == pytest.approx(0.1)
    found = paired_difference(first, second, group)
    difference, (low, high) = found.value, found.interval
    assert difference == 0.5
    # 10 of 10 in the one group: 10.5 of 12 with the halves that are added; 0 of 90 in the other
    assert low == pytest.approx(0.5 * (10.5 - 0.5) / 12 - 1.96 * 0.5 * (2 / 9 / 10) ** 0.5, abs=0.03)
    assert 0.5 <= high < 0.52


@pytest.mark.parametrize(("won", "certain"), [(0, False), (4, False), (8, True)])
def test_few_pairs_are_not_certain_where_an_exact_test_is_not(won: int, certain: bool) -> None:
    """Of 8 samples the first is right on all, the second misses some: the percentile bootstrap was sure from 3 on."""
    first, second = np.ones(8, dtype=bool), np.arange(8) >= won
    assert (mcnemar([[8 - won, won], [0, 0]], exact=True).pvalue < 0.05) == certain
    found = paired_difference(first, second)
    difference, (low, high) = found.value, found.interval
    assert difference == won / 8
    assert (low > 0) == certain
    assert low <= difference <= high
    assert high - low > 0.2


def test_shares_of_several_runs_are_drawn_as_they_are() -> None:
    first, second = np.array([1.0, 0.5, 0.0, 1.0] * 50), np.array([0.5, 0.5, 0.0, 0.0] * 50)
    found = paired_difference(first, second)
    value, (low, high) = found.value, found.interval
    assert value == pytest.approx(0.375)
    error = 1.96 * float(np.std(first - second)) / 200**0.5
    assert (low, high) == pytest.approx((0.375 - error, 0.375 + error), abs=0.01)


def test_the_spread_over_seeds_is_students() -> None:
    assert half_width_over_seeds([0.5]) == 0.0
    assert half_width_over_seeds([0.4, 0.6]) == pytest.approx(12.7062 * 0.1414214 / 2**0.5, rel=1e-4)


def test_two_intervals_are_squared_and_added() -> None:
    """The example of Newcombe (1998), table II: 56 of 70 less 48 of 80, by method 10."""
    one, two = wilson_interval(56, 70), wilson_interval(48, 80)
    assert one is not None
    assert two is not None
    found = independent_difference((0.8, one), (0.6, two))
    assert found.value == pytest.approx(0.2)
    assert found.interval == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert [Difference(0.0, ends).sign for ends in ((0.1, 0.3), (-0.1, 0.3), (-0.3, -0.1))] == [1, 0, -1]


def test_a_stratified_difference_holds_the_truth_whatever_the_sides_are_made_of() -> None:
    """Two classes of different accuracy, 0.3 less on the second side, which has other shares of them."""
    generator = np.random.default_rng(5)
    total, rates = np.array([[90, 12], [10, 60], [5, 0]]), np.array([[0.95, 0.65], [0.7, 0.4], [0.5, 0.5]])
    held, values = 0, []
    for _ in range(REPEATS):
        compared = stratified_difference(generator.binomial(total, rates), total)
        assert compared is not None
        values.append(compared[1].value)
        held += compared[1].interval[0] <= 0.3 <= compared[1].interval[1]
    assert np.mean(values) == pytest.approx(0.3, abs=0.01)
    assert 0.93 <= held / REPEATS <= 0.99
    assert stratified_difference(np.array([[3, 0]]), np.array([[4, 0]])) is None
    few = stratified_difference(np.array([[10, 0]]), np.array([[10, 1]]))
    assert few is not None
    assert few[1].interval[0] < 0.3, "one image proves little"


@pytest.mark.slow
def test_macro_f1_covers_what_another_bootstrap_gives() -> None:
    generator = np.random.default_rng(4)
    labels = generator.integers(0, 5, 400)
    predictions = np.where(generator.random(400) < 0.7, labels, generator.integers(0, 5, 400))
    values = []
    for _ in range(300):
        rows = generator.integers(0, 400, 400)
        values.append(f1_score(labels[rows], predictions[rows], average="macro"))
    assert macro_f1_interval(labels, predictions) == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.015)
    assert macro_f1_interval(labels[:0], predictions[:0]) is None
    assert DRAWS >= 1000
