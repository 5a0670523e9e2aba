"""What holds in every process of the tests: no network, little memory, and fixtures where tests run."""

import gc
import os
import signal
from collections import Counter
from importlib import import_module

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
if not any(name.startswith("MALLOC_") for name in os.environ):
    os.environ["MALLOC_ARENA_MAX"] = "8"  # a command leaves glibc as it is then, and doesn't keep what it frees

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a script; here Ctrl-C is heard
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Load the fixtures, and torch with them; the process that only hands out tests to others needs neither.

    Imports and lists of tests make no garbage, so it isn't looked for meanwhile.
    """
    gc.disable()
    import_module("fakes.verbs")
    collector.config.pluginmanager.import_plugin("fakes.fixtures")


def pytest_collection_finish() -> None:
    """Let looks for garbage pass over the tests themselves and all that they import; there is one after each file."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with many slow tests first: processes take whole files, and short ones at the end even out."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])
