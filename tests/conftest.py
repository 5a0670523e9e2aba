"""What holds in every process of the tests: no network, and fixtures where tests run."""

import os

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def pytest_collectstart(collector: pytest.Collector) -> None:
    """Load the fixtures, and torch with them; the process that only hands out tests to others needs neither."""
    collector.config.pluginmanager.import_plugin("fakes.fixtures")
