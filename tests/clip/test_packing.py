"""Captions as rows of tokens, beginnings held once: every caption can be read off again, and sees itself alone."""

import numpy as np
import pytest
import torch

from starft.clip.packing import Packed, pack

ONE, TWO, THREE = [9, 1, 2, 8], [9, 1, 3, 8], [9, 4, 8]


def read(packed: Packed, number: int) -> tuple[list[int], list[int]]:
    """Return tokens and positions of what the end of a caption sees, in the order of their places."""
    row, column = int(packed.rows[number]), int(packed.columns[number])
    seen = packed.visible[row, column].nonzero()[:, 0]
    seen = seen[packed.positions[row, seen].argsort()]
    return packed.tokens[row, seen].tolist(), packed.positions[row, seen].tolist()


def test_three_captions_by_hand() -> None:
    packed = pack([THREE, ONE, TWO])
    assert packed.tokens.tolist() == [[9, 1, 2, 8, 3, 8, 4, 8]]
    assert packed.positions.tolist() == [[0, 1, 2, 3, 2, 3, 1, 2]]
    assert packed.rows.tolist() == [0, 0, 0]
    assert packed.columns.tolist() == [7, 3, 5]
    sees = [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 4], [0, 1, 4, 5], [0, 6], [0, 6, 7]]
    assert [row.nonzero()[:, 0].tolist() for row in packed.visible[0]] == sees


def test_the_mask_is_0_where_visible_for_every_head() -> None:
    packed = pack([ONE, [5, 6, 7, 8, 1]], width=1)
    assert packed.tokens.shape == (2, 5)
    mask = packed.mask(3, torch.device("cpu"), torch.float64)
    assert (mask.shape, mask.dtype) == ((6, 5, 5), torch.float64)
    for row in (0, 1):
        for head in (0, 1, 2):
            assert torch.equal(mask[3 * row + head] == 0, packed.visible[row])
    assert set(mask.unique().tolist()) == {0.0, float("-inf")}


def test_what_fills_a_row_up_sees_itself_alone_and_is_seen_by_nobody() -> None:
    packed = pack([ONE, [5, 6, 7, 8, 1]], width=1)
    short = int(packed.rows[0])
    assert packed.visible[short, 4].tolist() == [False, False, False, False, True]
    assert not packed.visible[short, :4, 4].any()


def test_equal_captions_and_one_that_begins_another_share_all() -> None:
    packed = pack([[9, 1], [9, 1], [9]])
    assert packed.tokens.tolist() == [[9, 1]]
    assert packed.columns.tolist() == [1, 1, 0]


@pytest.mark.parametrize("width", [1, 7, 16, 50, 10_000])
@pytest.mark.parametrize("seed", range(5))
def test_every_caption_is_read_off_again_whatever_the_width(width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    captions = [rng.integers(1, 4, size=rng.integers(1, 12)).tolist() for _ in range(60)]
    packed = pack(captions, width)
    for number, caption in enumerate(captions):
        assert read(packed, number) == (caption, list(range(len(caption))))
    held = len({tuple(caption[: end + 1]) for caption in captions for end in range(len(caption))})
    if width >= held:
        assert packed.tokens.shape == (1, held)
    else:
        assert packed.tokens.shape[1] <= width + 12
        # a new row begins its first caption anew; nothing else is held twice (no token is 0, so 0 fills up)
        longest = max(map(len, captions))
        assert held <= packed.tokens.ne(0).sum() <= held + longest * (len(packed.tokens) - 1)


def test_rows_are_about_equally_full() -> None:
    rng = np.random.default_rng(0)
    packed = pack(rng.integers(1, 50, size=(300, 10)).tolist(), width=128)
    full = packed.tokens.ne(0).sum(dim=1)
    assert full[:-1].min() > 0.85 * packed.tokens.shape[1]
