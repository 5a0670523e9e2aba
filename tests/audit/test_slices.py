"""Error slices: what chance is, by another hand; planted slices, none where errors are at random; one half apart."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, false_discovery_control, fisher_exact

from starft.audit import slices
from starft.audit.slices import ErrorSlice, error_slices, first_half, named


def data(
    seed: int, planted: bool
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return features, labels and errors of 800 images, and which lie in the corner where a model fails."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((800, 6)).astype(np.float32)
    labels = np.arange(800) % 2
    corner = (np.arange(800) % 10 == 0) & planted  # of the first class
    features[corner, 0] += 6
    wrong = rng.random(800) < np.where(corner, 0.9, 0.1)
    return features, labels, wrong, corner


def test_a_planted_slice_is_named_and_measured_on_the_other_half() -> None:
    features, labels, wrong, corner = data(0, planted=True)
    first = named(error_slices(features, labels, labels, wrong, 0))[0]
    half = first_half(labels, 0)
    assert not half[first.members].any(), "found on these"
    assert corner[first.members].mean() > 0.9
    assert first.wrong == wrong[first.members].sum()
    assert first.error > 0.8 > first.interval[0] > 0.5
    assert first.expected == pytest.approx(wrong[~half & (labels == 0)].mean())
    changed = wrong.copy()
    changed[~half] = False
    others = error_slices(features, labels, labels, changed, 0)
    assert any(np.array_equal(item.members, first.members) for item in others), "their errors had a say in who belongs"
    assert named(others) == []


def test_errors_at_random_name_no_slice() -> None:
    some = 0
    for seed in range(10):
        features, labels, wrong, _ = data(seed, planted=False)
        some += bool(named(error_slices(features, labels, labels, wrong, seed)))
    assert some <= 2, "5 % of ten, and their spread"


def test_chance_is_fishers_in_one_stratum_and_a_count_by_hand_in_two() -> None:
    wrong = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 1], dtype=bool)
    side, members = np.ones(10, dtype=bool), np.array([0, 1, 3])
    expected = fisher_exact([[2, 1], [2, 5]], alternative="greater").pvalue
    assert slices._chance(np.zeros(10, dtype=np.int64), wrong, side, members) == pytest.approx(expected)
    strata = np.array([0, 0, 1, 1], dtype=np.int64)  # one error in each pair: both fall on the members in 1 of 4 deals
    chance = slices._chance(strata, np.array([True, False, False, True]), np.ones(4, dtype=bool), np.array([0, 3]))
    assert chance == pytest.approx(0.25)


def test_each_stratum_is_halved_and_many_classes_get_short_codes() -> None:
    strata = np.repeat([0, 1, 2], [10, 20, 2])
    assert np.bincount(strata[first_half(strata, 3)]).tolist() == [5, 10, 1]
    codes = slices._class_codes(np.arange(200) % 100, 0)
    assert codes.shape == (200, slices.CLASS_COMPONENTS)
    assert np.allclose(np.linalg.norm(codes, axis=1), 1)
    assert np.array_equal(codes[:100], codes[100:])


@pytest.mark.parametrize("wrong", [np.zeros(60, dtype=bool), np.ones(60, dtype=bool)])
def test_a_model_without_a_mistake_or_with_nothing_else_has_no_slice(wrong: NDArray[np.bool_]) -> None:
    features = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
    labels = np.arange(60) % 2
    assert named(error_slices(features, labels, labels, wrong, 0)) == []


def test_intervals_of_named_slices_know_that_they_were_chosen() -> None:
    """Of 20 slices of 25 images 16 fail as their classes do, in a fifth, and 4 in two fifths; the unlucky are named."""
    rng, truth = np.random.default_rng(0), np.repeat([0.2, 0.4], [16, 4])
    plain, told = [], []
    for _ in range(300):
        wrong = rng.binomial(25, truth)
        p_values = binom.sf(wrong - 1, 25, 0.2)
        q_values = false_discovery_control(p_values)
        rows = enumerate(zip(wrong.tolist(), p_values, q_values, strict=True))
        for item in named([ErrorSlice(np.full(25, at), errors, 0.2, p, q) for at, (errors, p, q) in rows]):
            true = truth[item.members[0]]
            low, high = slices.wilson_interval(item.wrong, 25) or (0.0, 0.0)
            plain.append(low <= true <= high)
            told.append(item.interval[0] <= true <= item.interval[1])
    assert len(told) > 200
    assert np.mean(plain) < 0.85, "without knowing it"
    assert np.mean(told) >= 0.94


def test_a_level_of_what_was_chosen_by_hand() -> None:
    def made(q_value: float) -> ErrorSlice:
        return ErrorSlice(np.arange(25), 10, 0.2, q_value, q_value)

    first, second = named([made(0.01), made(0.05), *[made(0.5)] * 8])
    assert first.level == second.level == pytest.approx(0.99)
    assert first.interval == slices.wilson_interval(10, 25, first.level)
    assert named([made(0.01)])[0].level == pytest.approx(0.95)
