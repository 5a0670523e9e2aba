"""Token ids of captions that were tokenized before: kept without their padding, and of a bounded number of captions."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

MOST_KEPT = 1_000_000
"""Captions whose token ids are kept, the first that come; others are tokenized each time."""


class TokenMemo:
    """Caption -> its token ids, padded behind their end with copies of the last one."""

    def __init__(self) -> None:
        self._rows: dict[str, bytes] = {}
        self._context = 0

    def __contains__(self, caption: str) -> bool:
        """Return whether the token ids of a caption are kept."""
        return caption in self._rows

    def __getitem__(self, caption: str) -> Tensor:
        """Return the token ids int64 (context length,) of a caption that is kept."""
        ids = np.frombuffer(self._rows[caption], dtype=np.int32)
        row = np.full(self._context, ids[-1], dtype=np.int64)
        row[: len(ids)] = ids
        return torch.from_numpy(row)

    def keep(self, captions: Sequence[str], tokens: Tensor) -> None:
        """Keep the token ids of captions, as long as there is room.

        Args:
            captions: N that aren't kept yet.
            tokens: Their token ids on the host, (N, context length).
        """
        self._context = tokens.shape[1]
        for caption, row in zip(captions[: MOST_KEPT - len(self._rows)], tokens.numpy().astype(np.int32), strict=False):
            (unlike,) = np.nonzero(row != row[-1])
            self._rows[caption] = row[: unlike[-1] + 2 if len(unlike) else 1].tobytes()
