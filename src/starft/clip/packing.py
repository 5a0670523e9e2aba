"""Captions that begin alike share their tokens: what a causal text tower makes of a beginning depends on it alone.

A causal tower's output at a token depends on that token and those before it. So of "a photo of a duck on a lake." and
"a photo of a duck in a city." the first five words are encoded once. The captions become a tree of tokens, branches of
the tree lie side by side in rows, and the attention mask lets each token see the way from the root to it. Same
features, same gradients, to rounding; half the tokens or fewer, and next to no padding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile

import torch
from torch import Tensor

WIDTH = 128
"""About how many tokens a row holds: attention costs the square of it, a new row begins the captions anew."""


@dataclass(frozen=True)
class Packed:
    """N captions as R rows of at most L tokens, on the host.

    Shapes: ``tokens`` and ``positions`` int64 (R, L); ``visible`` bool (R, L, L); ``rows`` and ``columns`` int64 (N,).

    Args:
        tokens: Token ids; 0 where a row ends early.
        positions: Each token's place in its caption.
        visible: Whether token i of a row sees token j: itself and those before it in its caption.
        rows: In which row each caption ends.
        columns: At which place of it.
    """

    tokens: Tensor
    positions: Tensor
    visible: Tensor
    rows: Tensor
    columns: Tensor

    def mask(self, heads: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Return what is added to the attention logits, (R * heads, L, L): 0 where visible, -inf elsewhere.

        Args:
            heads: Of the tower.
            device: Where it is wanted.
            dtype: Of the tower's weights.
        """
        visible = self.visible.to(device, non_blocking=True)
        mask = torch.zeros(visible.shape, dtype=dtype, device=device).masked_fill_(~visible, float("-inf"))
        return mask.repeat_interleave(heads, dim=0)


def pack(captions: Sequence[list[int]], width: int = WIDTH) -> Packed:
    """Return captions as rows of tokens, beginnings that neighbours share held once.

    The captions are sorted, so what one shares with any before it, it shares with the one just before it. The result
    depends on the captions and their order alone.

    Args:
        captions: Token ids of each, from the first to the one that is pooled; at least one caption, none of them empty.
        width: About how many tokens a row holds; a caption is never cut.
    """
    order = sorted(range(len(captions)), key=lambda number: captions[number])
    texts = [captions[number] for number in order]
    new = [len(text) - _shared(text, before) for text, before in zip(texts, [[], *texts], strict=False)]
    # As many tokens in each row; each but the last is left before a caption that doesn't fit.
    rows_wanted = -(-sum(new) // width)
    room = sum(new) if rows_wanted == 1 else sum(new) // rows_wanted + max(map(len, texts))
    rows: list[list[tuple[int, int, list[int]]]] = [[]]  # of each token: its id, its place, what it sees
    ends: list[tuple[int, int]] = []
    way: list[int] = []  # the columns of the caption before
    for text, tokens in zip(texts, new, strict=True):
        shared = len(text) - tokens
        if len(rows[-1]) + tokens > room:
            rows.append([])
            shared = 0
        way = way[:shared]
        for place in range(shared, len(text)):
            way.append(len(rows[-1]))
            rows[-1].append((text[place], place, list(way)))
        ends.append((len(rows) - 1, way[-1]))
    return _as_tensors(rows, [end for _, end in sorted(zip(order, ends, strict=True))])


def _shared(caption: list[int], other: list[int]) -> int:
    """Return how many tokens two captions begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(caption, other, strict=False)))


def _as_tensors(rows: list[list[tuple[int, int, list[int]]]], ends: list[tuple[int, int]]) -> Packed:
    length = max(map(len, rows))
    tokens = torch.zeros(len(rows), length, dtype=torch.int64)
    positions = torch.zeros_like(tokens)
    visible = torch.eye(length, dtype=torch.bool).repeat(len(rows), 1, 1)  # what fills a row up sees itself
    for row, item in enumerate(rows):
        tokens[row, : len(item)] = torch.tensor([token for token, _, _ in item])
        positions[row, : len(item)] = torch.tensor([place for _, place, _ in item])
        seeing = [column for column, (_, _, seen) in enumerate(item) for _ in seen]
        visible[row, seeing, [column for _, _, seen in item for column in seen]] = True
    return Packed(tokens, positions, visible, *torch.tensor(ends).T)
