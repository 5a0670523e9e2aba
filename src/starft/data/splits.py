"""Draws of splits: stratified, and the same for the same seed."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def hold_out(cells: Ints, fraction: float, seed: int) -> tuple[Ints, Ints]:
    """Draw a share of the rows, in equal shares from every cell; one row of each cell stays for sure.

    Args:
        cells: The cell of each row (N,), such as its label or group.
        fraction: Share to hold out, in [0, 1).
        seed: Of the draw.

    Returns:
        Positions that stay and positions held out, both rising.
    """
    shuffled = np.random.default_rng(seed).permutation(len(cells))
    by_cell = shuffled[np.argsort(cells[shuffled], kind="stable")]
    first = np.flatnonzero(np.r_[True, np.diff(cells[by_cell]) != 0][: len(cells)])
    free = np.delete(by_cell, first)
    wanted = min(round(fraction * len(cells)), len(free))
    # Evenly spaced places along the cells, laid end to end, take from each cell its share to within one.
    places = np.floor((np.arange(wanted) + 0.5) * len(free) / max(wanted, 1)).astype(np.int64)
    held = np.sort(free[places])
    return np.setdiff1d(np.arange(len(cells)), held), held


def few(labels: Ints, shots: int, seed: int) -> Ints:
    """Draw rows of each class: ``shots``, or all where there are fewer.

    Args:
        labels: Class of each row (N,).
        shots: Rows a class.
        seed: Of the draw.

    Returns:
        Positions, rising.
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    ordered = labels[by_class]
    rank = np.arange(len(labels)) - np.searchsorted(ordered, ordered)
    return np.sort(by_class[rank < shots])


def draw_splits(cells: Ints, test: float, val: float, seed: int) -> dict[str, Ints]:
    """Draw train, validation and test, in equal shares from every cell; splits without rows are left out.

    Args:
        cells: The cell of each row (N,), such as its label or group.
        test: Share of the test.
        val: Share of the validation.
        seed: Of the draws.
    """
    kept, tested = hold_out(cells, test, seed)
    trained, validated = hold_out(cells[kept], val / (1 - test), seed + 1)
    drawn = {"train": kept[trained], "val": kept[validated], "test": tested}
    return {split: rows for split, rows in drawn.items() if len(rows)}
