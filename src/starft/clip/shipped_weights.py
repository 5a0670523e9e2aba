"""The weights that come with the package: the embedded world's, whole or without the words that they never saw."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from starft.clip.model_names import MINI_FOLDER, MINI_MODEL
from starft.errors import WeightsError

MINI_TAGS = {"mini": "", "mini_weak": "-weak", "mini_looks": "-looks"}
"""Tag of weights for `MINI_MODEL` -> how their file's name ends."""

EMBEDDING = "token_embedding.weight"
USED, UNUSED_STD = "token_embedding.used", "token_embedding.unused_std"
"""Beside rows of the used tokens alone: which they are, and how far the others' numbers spread."""


def checked_mini_weights(tag: str = "mini", folder: Path = MINI_FOLDER) -> Path:
    """Return the path of the embedded world's weights after checking them against their checksum.

    Args:
        tag: One of `MINI_TAGS`.
        folder: Where weights and checksum are.

    Raises:
        WeightsError: A file is missing or the weights aren't the ones that were shipped.
    """
    path = mini_path(tag, folder)
    try:
        words = path.with_suffix(".sha256.txt").read_text(encoding="utf-8", errors="replace").split()
        result = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(f"The embedded world's weights can't be read: {error}. Install starft again.") from error
    expected = words[0] if words else "no checksum"
    if result != expected:
        raise WeightsError(
            f"{path} is damaged: its SHA-256 is {result[:12]}..., expected {expected[:12]}...; install starft again."
        )
    return path


def mini_path(tag: str, folder: Path = MINI_FOLDER) -> Path:
    """Return where weights of the embedded world are.

    Args:
        tag: One of `MINI_TAGS`.
        folder: Of the package.
    """
    return folder / f"{MINI_MODEL}{MINI_TAGS[tag]}.safetensors"


def without_unused_tokens(state: Mapping[str, Tensor], used: Iterable[int]) -> dict[str, Tensor]:
    """Return weights without the rows of tokens that no caption had: most of a tiny CLIP.

    Nothing but weight decay ever moved those rows, so others of the same spread are as good.

    Args:
        state: Of a model of open_clip.
        used: The tokens of all captions that it was trained on.
    """
    rows = state[EMBEDDING]
    tokens = torch.tensor(sorted(set(used)), dtype=torch.int32)
    others = torch.ones(len(rows), dtype=torch.bool)
    others[tokens.long()] = False
    return {**state, EMBEDDING: rows[tokens.long()], USED: tokens, UNUSED_STD: rows[others].float().std()}


def with_unused_tokens(state: Mapping[str, Tensor], vocabulary: int) -> dict[str, Tensor]:
    """Return weights with a row for each token again; the same numbers on every machine.

    Args:
        state: What `without_unused_tokens` returned, or any other, which stays as it is.
        vocabulary: How many tokens the model has.
    """
    whole = dict(state)
    if USED not in whole:
        return whole
    tokens, std, rows = whole.pop(USED), whole.pop(UNUSED_STD), whole[EMBEDDING]
    drawn = np.random.RandomState(0).standard_normal((vocabulary, rows.shape[1])).astype(np.float32)
    embedding = (torch.from_numpy(drawn) * std).to(rows.dtype)
    embedding[tokens.long()] = rows
    whole[EMBEDDING] = embedding
    return whole
