"""Shared by all tests: few threads, no network, a tiny CLIP, a tiny run."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _few_threads() -> None:
    """Two threads, or one in each process where tests run in several."""
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)
