"""Fixtures of all tests: few threads, little memory, and checkpoints of a tiny CLIP."""

import ctypes
import gc
import multiprocessing
import os
import platform
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fakes import checkpoints, preloaded  # noqa: F401  # makes what every command makes once
from fakes.processes import forking
from fakes.sources import parsed
from starft.signals import STOPS


@pytest.fixture(autouse=True, scope="session")
def _few_threads() -> None:
    """Two threads, or one in each process where tests run in several, or OMP_NUM_THREADS if that is fewer."""
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, torch.get_num_threads()))


@pytest.fixture(autouse=True, scope="session")
def _forks_have_all_behind_them(request: pytest.FixtureRequest) -> None:
    """Start what forks processes before a command does, whose own would have less; there is one for all."""
    slow = any(item.get_closest_marker("slow") for item in request.session.items)
    if slow and "forkserver" in multiprocessing.get_all_start_methods():
        forking()


@pytest.fixture(autouse=True, scope="module")
def _memory_is_given_back() -> Iterator[None]:
    """After each file; trainers and modules hold each other, and few objects with large tensors call no collector."""
    yield
    parsed.cache_clear()  # half a million objects for the collector to look at
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(autouse=True, scope="module")
def _signals_as_before() -> Iterator[None]:
    """After each file; a trainer that a test or a benchmark runs by itself, outside of a command, keeps noting them."""
    before = {number: signal.getsignal(number) for number in STOPS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


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
