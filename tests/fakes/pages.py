"""How much memory a process asks of the system; a file that imports no torch, as a new process is started for it."""

import resource

from starft.cli.launch import keep_memory


def pages_asked_for() -> int:
    """Return how many pages the system hands out for 64 MiB that are used and freed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    _ = b"x" * 2**26
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def pages_before_and_after() -> tuple[int, int]:
    before = pages_asked_for()
    keep_memory()
    pages_asked_for()
    return before, pages_asked_for()
