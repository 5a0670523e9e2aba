"""The user's cache folder, and a part of it that is bounded: what was used last stays.

All processes of a machine share it. Their writes are atomic, and the sum of them stands in a file that each one changes
under a lock. What was removed by hand, or left by a kill, is counted when room is made.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from starft.files.sizes import bytes_of

CACHE = "STARFT_CACHE"
"""Environment variable that names another cache folder."""
SIZE = "STARFT_CACHE_SIZE"
"""Environment variable that says how much of it fetched files may take."""
DEFAULT_SIZE = "50GB"
LEFT = 0.9
"""Share of the limit that is left where room is made: seldom, as all files are looked at."""
LOCKS = 1024
"""Locks of all files together; two that share one wait for each other."""


def cache_folder() -> Path:
    """Return the cache folder: ``$STARFT_CACHE``, or ``starft`` in the user's cache folder."""
    given = os.environ.get(CACHE)
    return Path(given) if given else user_cache_path("starft")


class BoundedCache:
    """Files below one folder of the cache; those that weren't used for longest go where they take too much.

    Args:
        name: Of the folder.
    """

    def __init__(self, name: str) -> None:
        self.folder = cache_folder() / name
        self.limit = bytes_of(os.environ.get(SIZE) or DEFAULT_SIZE, SIZE)

    def path(self, key: str, name: str) -> Path:
        """Return where a file is, or will be.

        Args:
            key: Hexadecimal digits.
            name: How the file's name ends.
        """
        return self.folder / key[:2] / f"{key}-{name}"

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Let no other process do the same during a block; on a file system without locks, a file may be fetched twice.

        Args:
            name: What is done: of a file its key, which shares one of `LOCKS` locks with others.
        """
        name = name if name == "size" else f"{int(name[:8], 16) % LOCKS:03x}"
        (self.folder / "locks").mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / "locks" / name)
        with suppress(NotImplementedError):
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def use(self, path: Path) -> bool:
        """Note that a file is used now; return whether it is there.

        Args:
            path: Of `path`.
        """
        try:
            os.utime(path)
        except OSError:  # of a cache that can only be read, too
            return path.is_file()
        return True

    def count(self, new: Path) -> None:
        """Count a file that was written, and make room where that is too much; the new file stays.

        Args:
            new: The file.
        """
        total = self.folder / "size"
        with self.locked("size"):
            try:
                size = int(total.read_text()) + new.stat().st_size
            except (OSError, ValueError):
                size = self.limit + 1  # nobody has counted yet
            size = self._make_room(new) if size > self.limit else size
            total.write_text(str(size))

    def _make_room(self, new: Path) -> int:
        """Remove what wasn't used for longest; return the bytes that are left."""
        files = []
        for path in self.folder.glob("??/*"):
            with suppress(OSError):  # removed meanwhile
                status = path.stat()
                files.append((status.st_mtime_ns, status.st_size, path))
        size = sum(item[1] for item in files)
        most = self.limit if size <= self.limit else LEFT * self.limit
        for _, length, path in sorted(files):
            if size <= most:
                break
            if path != new:
                path.unlink(missing_ok=True)
                size -= length
        return size
