"""Draws of splits: stratified, and the same for the same seed."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

ENOUGH = 25
"""A group of fewer images says too little to judge a model by."""
AT_MOST = 0.5
"""Share of a group that an equal draw takes out of the training images, unless larger fractions are asked for."""


def hold_out(cells: Ints, fraction: float, seed: int, equal: bool | None = False) -> tuple[Ints, Ints]:
    """Draw a share of the rows, in equal shares from every cell; one row of each cell stays for sure.

    Args:
        cells: The cell of each row (N,), such as its label or group.
        fraction: Share to hold out, in [0, 1).
        seed: Of the draw.
        equal: Whether to hold out equal numbers of every cell instead, as in `draw_splits`.

    Returns:
        Positions that stay and positions held out, both rising.
    """
    if equal is False:
        return _hold_out_shares(cells, fraction, seed)
    drawn = _draw_equally(cells, 0.0, fraction, seed)
    if equal is None:
        by_share = _hold_out_shares(cells, fraction, seed)
        if not _helps_small_cells(cells, {"val": by_share[1]}, drawn):
            return by_share
    return drawn["train"], drawn["val"]


def _hold_out_shares(cells: Ints, fraction: float, seed: int) -> tuple[Ints, Ints]:
    shuffled = np.random.default_rng(seed).permutation(len(cells))
    by_cell = shuffled[np.argsort(cells[shuffled], kind="stable")]
    first = np.flatnonzero(np.r_[True, np.diff(cells[by_cell]) != 0][: len(cells)])
    free = np.delete(by_cell, first)
    wanted = min(round(fraction * len(cells)), len(free))
    # Evenly spaced places along the cells, laid end to end, take from each cell its share to within one.
    places = np.floor((np.arange(wanted) + 0.5) * len(free) / max(wanted, 1)).astype(np.int64)
    value = np.sort(free[places])
    return np.setdiff1d(np.arange(len(cells)), value), value


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


def draw_splits(cells: Ints, test: float, val: float, seed: int, equal: bool | None = False) -> dict[str, Ints]:
    """Draw train, validation and test; splits without rows are left out.

    Args:
        cells: The cell of each row (N,), such as its label or group.
        test: Share of the test.
        val: Share of the validation.
        seed: Of the draws.
        equal: Whether test and validation hold equal numbers of every cell, as far as half of each cell allows, instead
            of equal shares. None does so where the shares would leave a cell with fewer than 25 rows of a split, and
            the equal numbers more.

    Returns:
        Positions of each split, rising.
    """
    if equal is None:
        by_share, equally = (draw_splits(cells, test, val, seed, how) for how in (False, True))
        return equally if _helps_small_cells(cells, by_share, equally) else by_share
    if equal:
        drawn = _draw_equally(cells, test, val, seed)
    else:
        kept, tested = hold_out(cells, test, seed)
        trained, validated = hold_out(cells[kept], val / (1 - test), seed + 1)
        drawn = {"train": kept[trained], "val": kept[validated], "test": tested}
    return {split: rows for split, rows in drawn.items() if len(rows)}


def _draw_equally(cells: Ints, test: float, val: float, seed: int) -> dict[str, Ints]:
    """Draw the first rows of each shuffled cell for the test, the next for validation."""
    cell_of = np.unique(cells, return_inverse=True)[1]
    sizes = np.bincount(cell_of)
    away = np.minimum(sizes * max(AT_MOST, test + val), sizes - 1).astype(np.int64)
    for_test = np.floor(away * test / max(test + val, 1e-9) + 0.5).astype(np.int64)
    tested = _equal_counts(for_test, round(test * len(cells)))
    validated = _equal_counts((away - tested) * (val > 0), round(val * len(cells)))
    shuffled = np.random.default_rng(seed).permutation(len(cells))
    by_cell = shuffled[np.argsort(cell_of[shuffled], kind="stable")]
    ordered = cell_of[by_cell]
    rank = np.arange(len(cells)) - np.searchsorted(ordered, ordered)
    in_test = rank < tested[ordered]
    in_val = ~in_test & (rank < (tested + validated)[ordered])
    chosen = {"train": ~in_test & ~in_val, "val": in_val, "test": in_test}
    return {split: np.sort(by_cell[rows]) for split, rows in chosen.items()}


def _equal_counts(limits: Ints, total: int) -> Ints:
    """Return counts as equal as their limits allow, which add up to ``total`` if the limits do."""
    counts, left = np.zeros_like(limits), total
    for position, cell in enumerate(np.argsort(limits, kind="stable")):
        counts[cell] = min(limits[cell], left // (len(limits) - position))
        left -= counts[cell]
    return counts


def _helps_small_cells(cells: Ints, by_share: dict[str, Ints], equally: dict[str, Ints]) -> bool:
    """Return whether shares leave small cells of test or validation that an equal draw makes larger.

    Each cell counts by the root of its rows, up to 25 of them: a row more is worth more the fewer there are.
    """
    cell_of = np.unique(cells, return_inverse=True)[1]

    def worth(draw: dict[str, Ints], split: str) -> float:
        rows = draw.get(split, np.zeros(0, dtype=np.int64))
        return float(np.sqrt(np.minimum(np.bincount(cell_of[rows]), ENOUGH)).sum())

    return any(worth(by_share, split) < worth(equally, split) - 0.01 for split in ("val", "test"))
