"""Ctrl-C and SIGTERM, the signals that stop a command."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_start_method, resource_tracker
from types import FrameType

from starft.errors import Terminated

STOPS = frozenset({signal.SIGINT, signal.SIGTERM})
"""The signals that stop a command."""


@contextmanager
def stop_signals_blocked() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until the block is done; a process that is started in it begins with both blocked.

    A signal to all processes of a run would end a process that hasn't come as far as to say what it does with it.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    if get_start_method() != "fork":
        resource_tracker.ensure_running()  # its start lets both signals in again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Let what a scheduler sends end the block as Ctrl-C does."""
    listens = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, _terminate) if listens else None
    try:
        yield
    finally:
        if listens:
            signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
