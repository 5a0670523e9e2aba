"""A run folder on an object store: the run works in a local copy, and what is new of it is copied to the store.

Object stores know no locks and no renaming, which checkpoints, manifest and results rely on. A record beside the local
copy says which version of each file the store had, and what the local file was, when both were last the same; it is
written before each change of the store, so that a copy may be cut short anywhere.
"""

import errno
import json
import os
import shutil
import stat
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path, PureWindowsPath
from typing import Any

from filelock import FileLock

from starft.errors import DataError, RunFolderError
from starft.files.addresses import address_of, shown
from starft.files.atomic import TEMPORARY, load_json, replace_file, sync
from starft.files.digests import file_digest
from starft.files.remote import RemoteFile, fetch, files_below
from starft.files.stores import NotThere, answer
from starft.runs.folder import lock_folder
from starft.runs.layout import (
    AUDIT,
    BEST,
    CHECKPOINTS,
    CONFIG,
    EARLY,
    KEPT,
    LAST,
    LOCK,
    LOGS,
    MANIFEST,
    OUTDATED,
    POOL,
    RESULTS,
    ROWS,
    UNFINISHED,
)
from starft.runs.local_copy import local_folder
from starft.runs.manifest import with_digests_of
from starft.safe_text import say

WRITABLE = ("s3", "gs")
REMOVED = {UNFINISHED, EARLY, *OUTDATED}
"""What a run takes away itself, or renames."""
OF_A_RUN = {*REMOVED, CONFIG, MANIFEST, CHECKPOINTS, LOGS, AUDIT}
"""What tells a run folder from another."""
STAYS = {CONFIG, POOL, MANIFEST, ROWS, f"{CHECKPOINTS}/{LAST}", f"{CHECKPOINTS}/{BEST}"}
"""What no run ever takes away; where it is gone, somebody else cleared the local copy."""
FIRST = {UNFINISHED: 0, RESULTS: 2, MANIFEST: 3}
"""In which order files are copied; all others come between the mark and the results."""
CHANGING = ""
"""Version, in the record, of the one file of the store that is being written or removed."""


def remote_folder(given: str | Path | None) -> "RemoteFolder | None":
    """Return the run folder of an address; None for one of this machine.

    Args:
        given: What ``trainer.default_root_dir`` holds.

    Raises:
        RunFolderError: It is of a server that can't be written to.
    """
    return RemoteFolder(address) if (address := address_of(given or "")) is not None else None


class RemoteFolder:
    """A run folder on an object store, and its local copy.

    Args:
        address: As `address_of` returns it.

    Raises:
        RunFolderError: It is of a server that can't be written to.
    """

    def __init__(self, address: str) -> None:
        self.address, self.folder = address.rstrip("/"), local_folder(address)
        if self.address.partition(":")[0] not in WRITABLE:
            raise RunFolderError(
                f"The run folder {shown(address)} can't be written to; give one of this machine, or one that begins "
                f"with {' or '.join(f'{scheme}://' for scheme in WRITABLE)}."
            )
        self._record = self.folder.with_name(f"{self.folder.name}.json")

    def begin(self, section: Any, at_end: ExitStack, first: bool, trial: bool) -> None:
        """Bring the local copy up to date, see that the store can be written to, and have it written to at the end.

        The process that owns the run folder has its lock from here until the copy at the end is done.

        Args:
            section: The config of the command, whose ``ckpt_path`` may be an address in the run folder; changed.
            at_end: Of the command.
            first: Whether this is the process that owns the run folder.
            trial: Whether nothing is written.

        Raises:
            DataError: The store can't be asked, or written to.
            RunFolderError: It holds something else than a run, or another training than the local copy; or another
                process is at work in the local copy.
        """
        checkpoint = address_of(section["ckpt_path"] or "") or ""
        if checkpoint.startswith(f"{self.address}/"):
            section["ckpt_path"] = str(self.folder / checkpoint.removeprefix(f"{self.address}/"))
        if first:
            at_end.callback(self._leave_no_empty_folder)
            at_end.enter_context(lock_folder(self.folder))
        self.fetch(first)
        if first and not trial:
            probe = f".writable.{uuid.uuid4().hex}.tmp"
            self._put(probe, b"x")
            self._remove(probe)
            say(f"Note: The run works in {self.folder}, and is copied to {self.address}.", file=sys.stderr)
            at_end.push(self._end)

    def fetch(self, first: bool = True) -> None:
        """Fetch what the store has and the local copy lacks, or has as it was before.

        What a run takes away itself counts as taken away if all else of the local copy is there.

        Args:
            first: Whether this is the process that owns the run folder. What another lacks, the first may have renamed.

        Raises:
            DataError: The store can't be asked, or was written to meanwhile, or the local copy can't be used.
            RunFolderError: It holds something else than a run, or another training than the local copy; or the run was
                removed from it.
        """
        with self._locked():
            there, here = self._there(), self._here()
            known = self._known(there)
            if there and not OF_A_RUN & {name.partition("/")[0] for name in there}:
                raise RunFolderError(
                    f"{self.address} holds other files than a run's ({min(there)}); give an address below it."
                )
            if known and here and not there:
                raise RunFolderError(
                    f"{self.address} is empty, though its run was copied there from {self.folder}; move that folder "
                    f"away to begin anew, or delete {self._record} to have it copied there again."
                )
            lacking = [name for name in known if name in there and name not in here]
            if lacking and (not here or (first and not all(map(_goes, lacking)))):
                known = {name: last for name, last in known.items() if name not in lacking}
                self._remember(known)
            try:
                wanted = self._wanted(there, known, first)
                for name in [name for name in known if there and name not in there and _goes(name)]:
                    if _status(self.folder / name) == known.pop(name)[1:]:
                        (self.folder / name).unlink()
                for name in wanted:
                    path = self.folder / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
                    shutil.move(fetch(there[name]), beside)  # a folder of the run may be a link to another disk
                    sync(beside)
                    os.replace(beside, path)  # noqa: PTH105
                    known[name] = [there[name].version, *(_status(path) or [])]
            finally:
                self._remember(known)
            now = self._there() if wanted else {}
            if changed := [name for name in wanted if name not in now or now[name].version != there[name].version]:
                raise DataError(
                    f"Another machine wrote to {self.address} while its files were fetched ({_few(changed)}), which "
                    "don't belong together now; run the command again when that has ended."
                )

    def _wanted(self, there: Mapping[str, RemoteFile], known: dict[str, list[Any]], first: bool) -> list[str]:
        """Return the names of what is to be fetched, before anything is; note in `known` what is the same in both."""
        wanted, apart = [], []
        for name, file in there.items():
            path, (version, *before) = self.folder / name, known.get(name, [None])
            status = _status(path)
            if version == file.version and (status is not None or _goes(name) or not (first or name in STAYS)):
                continue
            if status is None or status == before:
                wanted.append(name)
            elif file.size != status[0] or file_digest(fetch(file)) != file_digest(path):
                apart.append(name)
            else:
                known[name] = [file.version, *status]
        if apart:
            raise RunFolderError(
                f"{self.address} and its local copy {self.folder} went on apart from each other ({_few(apart)}); move "
                "the local copy away to go on with the store's, or give another --trainer.default_root_dir."
            )
        return wanted

    def copy(self) -> None:
        """Copy what is new to the store, and remove there what the run has removed.

        The mark of an unfinished run comes first; its manifest comes last, and lists until then what was there too.
        What others put there that is no part of a run stays as it is.

        Raises:
            DataError: The store can't be written to, or the local copy can't be used.
            RunFolderError: Another machine has written there, or somebody has cleared the local copy.
        """
        with self._locked():
            there, here = self._there(), self._here()
            known = self._known(there)
            strange = {
                name for name, file in there.items() if known.get(name, [None])[0] not in (CHANGING, file.version)
            }
            others = {name for name in strange if name in here or name.partition("/")[0] in OF_A_RUN}
            if others:
                raise RunFolderError(
                    f"Another machine has written to {self.address} ({_few(others)}), so nothing more is copied "
                    f"there; end one of the two runs. What this one has is in {self.folder}."
                )
            new = {name for name, status in here.items() if name not in there or known.get(name, [])[1:] != status}
            gone = {name for name in known if name in there and name not in here} - strange
            if not new and not gone:
                return
            for folder in {self.folder / name.partition("/")[0] for name in gone}:
                if folder.is_symlink() and not folder.exists():  # to a disk that was taken away
                    raise FileNotFoundError(errno.ENOENT, "the link leads nowhere", str(folder))
            if lost := gone & STAYS:
                raise RunFolderError(
                    f"Somebody has cleared {self.folder} ({_few(lost)}), so nothing more is copied from there to "
                    f"{self.address}, which stays as it is; end the run, move what is left of that folder away, and "
                    "go on from the store's last checkpoint."
                )
            if MANIFEST in new and MANIFEST in there:
                before = answer(self.address, lambda store: store.cat_file(f"{self.address}/{MANIFEST}"))
                with self._changes(known, MANIFEST, known[MANIFEST][1:]):  # the local one is still to be copied
                    self._put(MANIFEST, with_digests_of(self.folder, before))
            for name in sorted(new, key=lambda name: (FIRST.get(name, 1), "/" in name, name)):
                with self._changes(known, name, here[name]):
                    self._put(name)
            for name in sorted(gone, key=lambda name: (name == UNFINISHED, name)):
                with self._changes(known, name, []):
                    self._remove(name)
            self._remember(known)

    @contextmanager
    def _changes(self, known: dict[str, list[Any]], name: str, status: list[int]) -> Iterator[None]:
        """Note that a file of the store is being changed and, once it is, which version of which local file it is."""
        self._remember(known | {name: [CHANGING, *known.get(name, [])[1:]]})
        yield
        known.pop(name, None)
        if (file := files_below(self.address, name).get(name)) is not None:
            known[name] = [file.version, *status]

    def copy_or_tell(self) -> None:
        """Copy what is new; where that fails, tell it: a training goes on, and its next checkpoint tries again."""
        try:
            self.copy()
        except (DataError, RunFolderError) as error:
            say(f"Warning: {error} The copy is tried again at the next checkpoint.", file=sys.stderr)

    def _end(self, kind: object, *_: object) -> None:
        try:
            self.copy()
        except (DataError, RunFolderError) as problem:
            what = "The run has ended, and is whole" if kind is None else "What the run has is"
            rest = f" {what} in {self.folder}; its next command copies what is missing."
            sentence = f"{problem}{rest if isinstance(problem, DataError) else ''}"
            if kind is None:
                raise RunFolderError(sentence) from problem
            say(f"Warning: {sentence}", file=sys.stderr)  # the error that ended the command is still to be told

    def _leave_no_empty_folder(self) -> None:
        with suppress(OSError):
            self.folder.rmdir()

    def _put(self, name: str, content: bytes | None = None) -> None:
        address, path = f"{self.address}/{name}", self.folder / name
        if content is not None:
            answer(address, lambda store: store.pipe_file(address, content), writes=True)
            return
        try:
            path.open("rb").close()  # what can't be read is no fault of the store
            answer(address, lambda store: store.put_file(str(path), address), writes=True)
        except (FileNotFoundError, NotThere):
            if path.exists():
                raise

    def _remove(self, name: str) -> None:
        address = f"{self.address}/{name}"
        answer(address, lambda store: store.rm_file(address), writes=True)

    def _there(self) -> dict[str, RemoteFile]:
        there = {name: file for name, file in files_below(self.address).items() if _copied(name)}
        for name in there:
            if not _is_inside(name):
                raise RunFolderError(
                    f"{self.address} holds {name!r}, which can't be the name of a file in a folder; remove it there."
                )
        return there

    def _here(self) -> dict[str, list[int]]:
        """Return size and time of each file, also of those in folders that are links out of the run folder."""
        here, own = {}, self.folder.resolve()
        for above, folders, files in os.walk(self.folder, onerror=_unless_gone, followlinks=True):
            inside = Path(above)
            links = [name for name in folders if (inside / name).is_symlink()]
            for name in [name for name in links if (inside / name).resolve().is_relative_to(own)]:
                folders.remove(name)  # it is copied where it is
            for path in map(inside.joinpath, files):
                name = path.relative_to(self.folder).as_posix()
                if _copied(name) and (status := _status(path)) is not None:
                    here[name] = status
        return here

    def _known(self, there: Mapping[str, RemoteFile]) -> dict[str, list[Any]]:
        """Return version, size and time of each file when it was last the same.

        A file of the store that was being changed when a copy was cut short is ours, whether it was changed or not,
        unless another machine has written to the store since.
        """
        try:
            known = dict(load_json(self._record.read_bytes()))
        except (OSError, ValueError, TypeError):
            return {}
        ours = all(known.get(name, [None])[0] in (CHANGING, file.version) for name, file in there.items())
        for name in [name for name, (version, *_) in known.items() if version == CHANGING]:
            before = known.pop(name)[1:]
            if name in there:
                known[name] = [there[name].version if ours else CHANGING, *before]
        return known

    def _remember(self, known: Mapping[str, list[Any]]) -> None:
        replace_file(self._record, json.dumps(known).encode())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder.with_name(f"{self.folder.name}.lock")):
                yield
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise DataError(
                f"The local copy {self.folder} of {self.address} can't be used: {error.strerror or error}{where}; "
                "check that disk."
            ) from error


def _goes(name: str) -> bool:
    return name.partition("/")[0] in REMOVED


def _is_inside(name: str) -> bool:
    """Return whether a name of the store, which may be anything, leads to a file in the run folder."""
    parts = name.split("/")
    windows = os.name == "nt" and ("\\" in name or PureWindowsPath(name).drive)
    return not ({"", ".", ".."} & {*parts} or "\0" in name or windows)


def _copied(name: str) -> bool:
    last = name.rpartition("/")[2]
    return name != LOCK and not name.startswith(f"{KEPT}-") and not TEMPORARY.fullmatch(last)


def _status(path: Path) -> list[int] | None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return [status.st_size, status.st_mtime_ns] if stat.S_ISREG(status.st_mode) else None


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _few(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[:3])
