"""One run, one folder: locked while a process works in it, checked before the run, never overwritten.

The lock goes with its process, however that ends.
"""

import re
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from starft.errors import RunFolderError
from starft.files.addresses import address_of, shown
from starft.files.atomic import TEMPORARY, files_in, remove_temporary_files, replace_file
from starft.runs.layout import (
    AUDIT,
    BEST,
    CHECKPOINTS,
    CONFIG,
    KEPT,
    LAST,
    LOCK,
    LOGS,
    MANIFEST,
    METRICS,
    POOL,
    ROWS,
    UNFINISHED,
)
from starft.runs.manifest import read_manifest
from starft.safe_text import say

LOG_FILES = re.compile(r"hparams\.yaml|metrics(-\d+)?\.csv")
BEGUN = (f"{Path(CONFIG).stem}*.yaml", f"{Path(POOL).stem}*.json", MANIFEST, ROWS, UNFINISHED, LOCK, f"{KEPT}-*")
"""What a run writes before its first checkpoint, beside its logs."""


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
        folder: The run folder, or None where there is none.
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


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Make a run folder if need be, and let no other process work in it during a block.

    Args:
        folder: Where the run will write.

    Raises:
        RunFolderError: It isn't a folder, can't be written to, its manifest is damaged, or another process is at it.
    """
    _refuse_file(folder)
    check_writable(folder)
    read_manifest(folder)
    lock = RunLock(folder)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _refuse_file(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"The run folder {folder} is a file; give another --trainer.default_root_dir.")


def claim(folder: Path, resumed_from: Path | None, config: str = "") -> None:
    """Make the folder of a training run, or refuse it; the caller has its lock.

    A run that was killed before its first checkpoint just runs again; its log is kept under another name.

    Args:
        folder: Where the run will write.
        resumed_from: The checkpoint that is continued, or None for a new run.
        config: The resolved config.

    Raises:
        RunFolderError: The folder holds another run, isn't a folder, or can't be written to.
    """
    own = resumed_from is not None and resumed_from.resolve().parent == (folder / CHECKPOINTS).resolve()
    _refuse_file(folder)
    empty = not files_in(folder, [LOCK, AUDIT])
    again = not empty and not own and resumed_from is None and _never_saved(folder, config)
    if not own and not empty and not again:
        last = folder / CHECKPOINTS / LAST
        go_on = f", or continue it with --ckpt_path {last}" if last.is_file() else ""
        raise RunFolderError(
            f"The run folder {folder} isn't empty; give another --trainer.default_root_dir, "
            + (f"move it away{go_on}." if go_on else "or move it away.")
        )
    check_writable(folder)
    remove_temporary_files(folder, (CONFIG, POOL, MANIFEST, ROWS, UNFINISHED))
    remove_temporary_files(folder / CHECKPOINTS, (LAST, BEST))
    if again:
        _keep_logs_apart(folder)


def _never_saved(folder: Path, config: str) -> bool:
    """Return whether a folder holds nothing but what this very run wrote before it was killed without a checkpoint."""
    logs = {path for path in folder.glob(f"{LOGS}/**/*") if path.is_dir() or LOG_FILES.fullmatch(path.name)}
    parts = [path for path in folder.glob(f"{CHECKPOINTS}/*") if TEMPORARY.fullmatch(path.name)]
    own = {path for pattern in BEGUN for path in folder.glob(pattern)}
    own |= {folder / LOGS, folder / CHECKPOINTS, *logs, *parts, folder / AUDIT, *folder.glob(f"{AUDIT}/**/*")}
    own |= {path for path in folder.iterdir() if TEMPORARY.fullmatch(path.name)}
    saved = folder / CONFIG
    same = not saved.exists() or (saved.is_file() and saved.read_bytes() == config.encode())
    return same and (saved.exists() or (folder / MANIFEST).exists()) and own >= {*folder.rglob("*")}


def _keep_logs_apart(folder: Path) -> None:
    """Rename the logs of a run that begins anew, so that nobody joins two beginnings to one curve."""
    for path in folder.glob(f"{LOGS}/*/{METRICS}"):
        number = 1
        while (aside := path.with_stem(f"{path.stem}-{number}")).exists():
            number += 1
        path.rename(aside)


class Traces:
    """What a run leaves that ends by a person's mistake before its first checkpoint, so that it can be taken back.

    Made before the run writes anything.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._above = [above for above in (folder, *folder.parents) if not above.exists()]
        self._before = {path for path in (*self._files(), *self._folders()) if path.exists()}

    def _files(self) -> list[Path]:
        return [path for pattern in (*BEGUN, f"{LOGS}/*/hparams.yaml") for path in self.folder.glob(pattern)]

    def _folders(self) -> list[Path]:
        return [*self.folder.glob(f"{LOGS}/*"), self.folder / LOGS, self.folder / CHECKPOINTS]

    def remove(self, logs: bool = False) -> None:
        """Remove the files and the empty folders that the run made, unless it has saved or, before a step, logged.

        Args:
            logs: Remove the log too: steps were made, and what was wrong came before the first checkpoint.
        """
        new = [path for path in self._folders() if path.is_dir() and path not in self._before]
        logged = [path / METRICS for path in new if (path / METRICS).is_file()]
        saved = any((self.folder / CHECKPOINTS).glob("*.ckpt")) and (logs or self.folder / CHECKPOINTS in new)
        if saved or (logged and not logs):
            return
        for path in (*self._files(), *logged):
            if path not in self._before:
                path.unlink()
        for made in (*new, *self._above):
            if made.is_dir() and not any(made.iterdir()):
                made.rmdir()


def check_writable(folder: Path) -> None:
    """Make a folder if need be and write a byte into it.

    Args:
        folder: Where a run will write.

    Raises:
        RunFolderError: It can't be made or written to, or is remote: an object store knows no locks and no renaming,
            which the manifest, the results and the checkpoints of a run rely on.
    """
    if address_of(folder) is not None:
        raise RunFolderError(
            f"The run folder {shown(folder)} is remote, where starft can't lock it; give one of this machine, and "
            "copy it when the run has ended."
        )
    probe = folder / f".writable.{uuid.uuid4().hex}.tmp"  # a name that is known as temporary if a kill leaves it
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(probe, b"x")
        probe.unlink()
    except OSError as error:
        raise RunFolderError(f"The run folder {folder} can't be written to: {error.strerror}; give another.") from error


def refuse_output(path: Path) -> None:
    """Refuse to write results or predictions where some are.

    Args:
        path: The file that a verb would write.

    Raises:
        RunFolderError: It exists.
    """
    if path.exists():
        raise RunFolderError(f"{path} exists already; move it away or give another --trainer.default_root_dir.")


def save_config(folder: Path, text: str, name: str = CONFIG) -> Path:
    """Write the resolved config, or another file that says what was run, beside the checkpoints.

    Args:
        folder: The run folder.
        text: YAML, or what the file is to hold.
        name: Of the file.

    Returns:
        Where it went: ``config.yaml``, or ``config-2.yaml`` and on for a run continued with other settings; an earlier,
        different one is kept.
    """
    number, path = 1, folder / name
    while path.exists():
        if path.read_text(encoding="utf-8") == text:
            return path
        number += 1
        path = folder / f"{Path(name).stem}-{number}{Path(name).suffix}"
    replace_file(path, text.encode())
    return path
