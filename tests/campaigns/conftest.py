"""Campaigns tell how much they checked."""

from collections import Counter
from typing import Any


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print how often each check was made, wherever tests recorded it as a property."""
    counts: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", "") == "call":
                counts.update(value for name, value in report.user_properties if name == "check")
    for check, count in sorted(counts.items()):
        terminalreporter.write_line(f"{count:6} {check}")
