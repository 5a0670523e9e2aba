"""One process at a time works in a run folder: a lock that goes with its process, however that ends."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from starft.errors import RunFolderError
from starft.safe_text import say

LOCK = ".lock"
"""In the run folder; what a process left behind that was killed locks nothing."""


class RunLock:
    """The lock of a run folder, which must exist.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / LOCK)

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            RunFolderError: Another process has it.
        """
        try:
            self._lock.acquire(timeout=0)
            if not (self.folder / LOCK).exists():  # given back, and removed, in this very moment
                self._lock.release()
                self._lock.acquire(timeout=0)
        except Timeout:
            raise RunFolderError(
                f"Another starft is at work in {self.folder}; wait until it has ended, or give another "
                "--trainer.default_root_dir."
            ) from None
        except (OSError, NotImplementedError) as error:
            say(f"Note: {self.folder} can't be locked ({error}); run nothing else in it meanwhile.", file=sys.stderr)

    def release(self) -> None:
        """Give the lock back; its file goes first, so that nobody waits at one that is about to vanish."""
        if self._lock.is_locked:
            with suppress(OSError):
                (self.folder / LOCK).unlink(missing_ok=True)
            self._lock.release()


@contextmanager
def locked_if_free(folder: Path | None) -> Iterator[bool]:
    """Take the lock of a run folder for a block, and tell whether it was free.

    Args:
        folder: The run folder, or null where there is none.
    """
    if folder is None:
        yield False
        return
    lock = RunLock(folder)
    try:
        lock.acquire()
    except RunFolderError:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
