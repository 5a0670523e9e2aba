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
