"""Shared by all tests: few threads, no network, a tiny CLIP, a tiny run."""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import open_clip
import pytest
import torch

from fakes import checkpoints


@pytest.fixture(autouse=True, scope="session")
def _few_threads() -> None:
    """Two threads, or one in each process where tests run in several, or OMP_NUM_THREADS if that is fewer."""
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, torch.get_num_threads()))


@pytest.fixture(autouse=True, scope="session")
def _tiny_tokenizer_made_once() -> Iterator[None]:
    """It takes a tenth of a second, and the tests would make the tiny CLIP's and ViT-B-16's a thousand times."""
    make = open_clip.get_tokenizer
    kept = lru_cache(make)

    def get_tokenizer(model_name: str = "", **given: Any) -> Any:
        often = model_name in ("starft-mini", "ViT-B-16") and not given
        return kept(model_name) if often else make(model_name, **given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_clip, "get_tokenizer", get_tokenizer)
        yield


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk() -> Iterator[None]:
    """No test cuts the power; a run syncs two dozen files, which takes a quarter of its time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the tiny CLIP with three classes and the text head."""
    path = tmp_path_factory.mktemp("text_head") / "last.ckpt"
    checkpoints.write(path)
    return path


@pytest.fixture(scope="session")
def linear_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a trained linear head."""
    path = tmp_path_factory.mktemp("linear_head") / "last.ckpt"
    checkpoints.write(path, head="linear")
    return path
