"""What holds in every process of the tests: no network, little memory, and fixtures where tests run."""

import os
import signal
from importlib import import_module

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
if not any(name.startswith("MALLOC_") for name in os.environ):
    os.environ["MALLOC_ARENA_MAX"] = "8"  # a command leaves glibc as it is then, and doesn't keep what it frees

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a script; here Ctrl-C is heard
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Load the fixtures, and torch with them; the process that only hands out tests to others needs neither."""
    import_module("fakes.verbs")
    collector.config.pluginmanager.import_plugin("fakes.fixtures")
