"""Drawn splits: counted by hand, stratified, seeded, disjoint."""

import numpy as np
import pytest

from starft.data.splits import draw_splits, few, hold_out


def test_equal_shares_of_every_cell() -> None:
    cells = np.array([0] * 50 + [1] * 30 + [2] * 20)
    kept, held = hold_out(cells, 0.2, seed=0)
    assert sorted([*kept, *held]) == list(range(100))
    assert len(held) == 20
    counts = np.bincount(cells[held])
    assert np.abs(counts - [10, 6, 4]).max() <= 1
    assert list(held) == sorted(held)
    assert list(kept) == sorted(kept)


def test_many_small_cells_give_their_share_together() -> None:
    """100 classes of 4: a tenth is 40 images, of 40 classes, where rounding class by class would give none."""
    cells = np.repeat(np.arange(100), 4)
    kept, held = hold_out(cells, 0.1, seed=3)
    assert len(held) == 40
    assert np.bincount(cells[held]).max() == 1
    assert set(cells[kept]) == set(range(100))


def test_one_row_of_each_cell_stays() -> None:
    kept, held = hold_out(np.array([0, 1, 2, 2, 3, 3, 3]), 0.9, seed=0)
    assert set(np.array([0, 1, 2, 2, 3, 3, 3])[kept]) == {0, 1, 2, 3}
    assert len(held) == 3


@pytest.mark.parametrize("fraction", [0.0, 0.5])
def test_seeds(fraction: float) -> None:
    cells = np.arange(60) % 3
    first = hold_out(cells, fraction, 1)[1]
    assert np.array_equal(first, hold_out(cells, fraction, 1)[1])
    if fraction:
        assert not np.array_equal(first, hold_out(cells, fraction, 2)[1])
    else:
        assert len(first) == 0


def test_nothing_to_draw_from() -> None:
    kept, held = hold_out(np.array([], dtype=np.int64), 0.5, 0)
    assert (len(kept), len(held)) == (0, 0)


def test_three_splits() -> None:
    cells = np.arange(100) % 4
    splits = draw_splits(cells, test=0.2, val=0.1, seed=0)
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 70, "val": 10, "test": 20}
    assert sorted(np.concatenate(list(splits.values()))) == list(range(100))
    assert list(draw_splits(cells, test=0.2, val=0.0, seed=0)) == ["train", "test"]


def test_few_shots() -> None:
    labels = np.array([0, 1, 0, 1, 0, 2, 0])
    chosen = few(labels, 2, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [2, 2, 1]
    assert list(chosen) == sorted({*chosen})
    draws = {tuple(few(labels, 1, seed)) for seed in range(20)}
    assert len(draws) > 1
    assert np.array_equal(few(labels, 1, 5), few(labels, 1, 5))
    assert len(few(labels, 99, 0)) == 7


def sizes(splits: dict[str, np.ndarray], cells: np.ndarray) -> dict[str, list[int]]:
    return {split: np.bincount(cells[rows], minlength=int(cells.max()) + 1).tolist() for split, rows in splits.items()}


BIASED = np.repeat(np.arange(4), [180, 23, 20, 183])
"""406 images of a strong shortcut: two large groups and two small ones."""


def test_equal_numbers_of_each_group_as_far_as_half_of_it_allows() -> None:
    splits = draw_splits(BIASED, test=0.2, val=0.1, seed=0, equal=True)
    # 81 and 41 images are wanted; of 23 and 20 images 11 and 10 may leave training, two in three of them to the test.
    assert sizes(splits, BIASED) == {"train": [130, 12, 10, 132], "val": [17, 4, 3, 17], "test": [33, 7, 7, 34]}
    assert sorted(np.concatenate(list(splits.values()))) == list(range(406))
    assert all((np.diff(rows) > 0).all() for rows in splits.values())


def test_small_groups_get_more_images_where_it_is_not_said_how_to_draw() -> None:
    by_share = sizes(draw_splits(BIASED, 0.2, 0.1, 0), BIASED)
    unsaid = sizes(draw_splits(BIASED, 0.2, 0.1, 0, equal=None), BIASED)
    assert (min(by_share["test"]), min(unsaid["test"])) == (4, 7)
    assert unsaid == sizes(draw_splits(BIASED, 0.2, 0.1, 0, equal=True), BIASED)
    assert min(sizes({"val": hold_out(BIASED, 0.1, 0, None)[1]}, BIASED)["val"]) == 10
    assert min(sizes({"val": hold_out(BIASED, 0.1, 0)[1]}, BIASED)["val"]) == 2


def test_large_groups_are_drawn_by_share_where_it_is_not_said_how() -> None:
    large = np.repeat(np.arange(2), [3000, 400])
    for equal in (False, None):
        splits = draw_splits(large, 0.2, 0.1, 0, equal)
        assert sizes(splits, large)["test"] == [600, 80]
    assert np.array_equal(hold_out(large, 0.1, 3, None)[1], hold_out(large, 0.1, 3)[1])


def test_a_group_of_a_few_images_keeps_one_for_training() -> None:
    cells = np.repeat(np.arange(3), [1, 2, 40])
    splits = sizes(draw_splits(cells, 0.2, 0.1, 0, equal=True), cells)
    assert splits["train"][:2] == [1, 1]
    assert splits["test"][:2] == [0, 1]
    assert sum(map(sum, splits.values())) == 43


def test_equal_draws_follow_the_seed_and_fractions_beyond_a_half() -> None:
    first, same, other = (draw_splits(BIASED, 0.5, 0.2, seed, True)["test"] for seed in (0, 0, 1))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    assert np.bincount(BIASED[first]).tolist()[1:3] == [11, 10]  # of 16 and 14 that may leave, five in seven
    assert draw_splits(BIASED, 0.0, 0.0, 0, True).keys() == {"train"}


def test_a_group_of_one_image_doesnt_keep_the_others_out_of_the_test() -> None:
    cells = np.repeat(np.arange(9), [37, 37, 37, 1, 1, 1, 2, 2, 3])  # three usual groups and six rare ones
    by_share = sizes(draw_splits(cells, 0.2, 0.1, 0), cells)["test"]
    unsaid = sizes(draw_splits(cells, 0.2, 0.1, 0, equal=None), cells)["test"]
    assert sum(by_share[3:]) < sum(unsaid[3:]) == 3
