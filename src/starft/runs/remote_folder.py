"""A run folder on an object store: the run works in a local copy, and what is new of it is copied to the store.

Object stores know no locks and no renaming, which checkpoints, manifest and results rely on. A record beside the local
copy says which version of each file the store had, and what the local file was, when both were last the same.
"""

import hashlib
import json
import os
import re
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from starft.errors import DataError, RunFolderError
from starft.files.addresses import address_of, shown
from starft.files.atomic import TEMPORARY, load_json, replace_file
from starft.files.cache import cache_folder
from starft.files.digests import file_digest
from starft.files.remote import RemoteFile, fetch, files_below
from starft.files.stores import answer
from starft.runs.layout import (
    AUDIT,
    CHECKPOINTS,
    CONFIG,
    EARLY,
    KEPT,
    LOCK,
    LOGS,
    MANIFEST,
    OUTDATED,
    RESULTS,
    UNFINISHED,
)
from starft.runs.manifest import with_digests_of
from starft.safe_text import say

WRITABLE = ("s3", "gs")
REMOVED = {UNFINISHED, EARLY, *OUTDATED}
"""What a run takes away itself, or renames."""
OF_A_RUN = {*REMOVED, CONFIG, MANIFEST, CHECKPOINTS, LOGS, AUDIT}
"""What tells a run folder from another."""
FIRST = {UNFINISHED: 0, RESULTS: 2, MANIFEST: 3}
"""In which order files are copied; all others come between the mark and the results."""


def local_folder(given: str | Path) -> Path:
    """Return the folder that a run works in: the one that was given, or the local copy of an address.

    Args:
        given: What ``trainer.default_root_dir`` holds.
    """
    address = address_of(given)
    if address is None:
        return Path(given)
    address = address.rstrip("/")
    name = re.sub(r"[^\w.-]", "_", shown(address).partition("://")[2])[-60:]
    return cache_folder() / "runs" / f"{name}-{hashlib.sha256(address.encode()).hexdigest()[:8]}"


def not_here(path: Path) -> str:
    """Return a sentence on a run folder or checkpoint that is an address, where only files are read; else nothing.

    Args:
        path: What a person gave.
    """
    if address_of(path) is None:
        return ""
    copies = cache_folder() / "runs"
    return f"{shown(path)} is remote; copy it to this machine, or give its run's local copy, which lies in {copies}."


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
        self._unsure: set[str] = set()

    def begin(self, section: Any, at_end: ExitStack, first: bool, trial: bool) -> None:
        """Bring the local copy up to date, see that the store can be written to, and have it written to at the end.

        Args:
            section: The config of the command, whose ``ckpt_path`` may be an address in the run folder; changed.
            at_end: Of the command.
            first: Whether this is the process that owns the run folder.
            trial: Whether nothing is written.

        Raises:
            DataError: The store can't be asked, or written to.
            RunFolderError: It holds something else than a run, or another training than the local copy.
        """
        checkpoint = address_of(section["ckpt_path"] or "") or ""
        if checkpoint.startswith(f"{self.address}/"):
            section["ckpt_path"] = str(self.folder / checkpoint.removeprefix(f"{self.address}/"))
        self.fetch()
        if first and not trial:
            probe = f".writable.{uuid.uuid4().hex}.tmp"
            self._put(probe, b"x")
            self._remove(probe)
            say(f"Note: The run works in {self.folder}, and is copied to {self.address}.", file=sys.stderr)
            at_end.push(self._end)

    def fetch(self) -> None:
        """Fetch what the store has and the local copy lacks, or has as it was before.

        Raises:
            DataError: The store can't be asked.
            RunFolderError: It holds something else than a run, or another training than the local copy.
        """
        with self._locked():
            there, known, apart = self._there(), self._known(), []
            if there and not OF_A_RUN & {name.partition("/")[0] for name in there}:
                raise RunFolderError(
                    f"{self.address} holds other files than a run's ({min(there)}); give an address below it."
                )
            for name in [name for name in known if there and name not in there and _goes(name)]:
                if _status(self.folder / name) == known.pop(name)[1:]:
                    (self.folder / name).unlink()
            try:
                for name, file in there.items():
                    path, (version, *before) = self.folder / name, known.get(name, [None])
                    here = _status(path)
                    if version == file.version and (here is not None or _goes(name)):
                        continue
                    if here is None or here == before:
                        path.parent.mkdir(parents=True, exist_ok=True)
                        os.replace(fetch(file), path)  # noqa: PTH105
                    elif file.size != here[0] or file_digest(fetch(file)) != file_digest(path):
                        apart.append(name)
                        continue
                    known[name] = [file.version, *(_status(path) or [])]
            finally:
                self._remember(known)
        if apart:
            raise RunFolderError(
                f"{self.address} and its local copy {self.folder} went on apart from each other ({_few(apart)}); move "
                "the local copy away to go on with the store's, or give another --trainer.default_root_dir."
            )

    def copy(self) -> None:
        """Copy what is new to the store, and remove there what the run has removed.

        The mark of an unfinished run comes first; its manifest comes last, and lists until then what was there too.

        Raises:
            DataError: The store can't be written to.
            RunFolderError: Another machine has written there.
        """
        with self._locked():
            there, known, here = self._there(), self._known(), self._here()
            others = {name for name, file in there.items() if known.get(name, [None])[0] != file.version}
            if others - self._unsure:
                raise RunFolderError(
                    f"Another machine has written to {self.address} ({_few(others - self._unsure)}), so nothing more "
                    f"is copied there; end one of the two runs. What this one has is in {self.folder}."
                )
            new = {name for name, status in here.items() if name not in there or known.get(name, [])[1:] != status}
            gone = {name for name in known if name in there and name not in here}
            if not new and not gone:
                return
            self._unsure |= new | gone
            if MANIFEST in new and MANIFEST in there:
                before = answer(self.address, lambda store: store.cat_file(f"{self.address}/{MANIFEST}"))
                self._put(MANIFEST, with_digests_of(self.folder, before))
            for name in sorted(new, key=lambda name: (FIRST.get(name, 1), "/" in name, name)):
                self._put(name)
            for name in sorted(gone, key=lambda name: (name == UNFINISHED, name)):
                self._remove(name)
            there = self._there()
            self._remember({name: [there[name].version, *status] for name, status in here.items() if name in there})
            self._unsure.clear()

    def copy_or_tell(self) -> None:
        """Copy what is new; where that fails, tell it: a training goes on, and its next checkpoint tries again."""
        try:
            self.copy()
        except (DataError, RunFolderError) as error:
            say(f"Warning: {error} The copy is tried again at the next checkpoint.", file=sys.stderr)

    def _end(self, kind: object, *_: object) -> None:
        if kind is not None:  # an error is told already
            self.copy_or_tell()
            return
        try:
            self.copy()
        except DataError as problem:
            raise RunFolderError(
                f"{problem} The run has ended, and is whole in {self.folder}; its next command copies what is missing."
            ) from problem

    def _put(self, name: str, content: bytes | None = None) -> None:
        address, path = f"{self.address}/{name}", str(self.folder / name)

        def put(store: Any) -> None:
            if content is None:
                store.put_file(path, address)
            else:
                store.pipe_file(address, content)

        answer(address, put, writes=True)

    def _remove(self, name: str) -> None:
        address = f"{self.address}/{name}"
        answer(address, lambda store: store.rm_file(address), writes=True)

    def _there(self) -> dict[str, RemoteFile]:
        return {name: file for name, file in files_below(self.address).items() if _copied(name)}

    def _here(self) -> dict[str, list[int]]:
        paths = {path.relative_to(self.folder).as_posix(): path for path in self.folder.rglob("*") if path.is_file()}
        return {name: status for name, path in paths.items() if _copied(name) and (status := _status(path))}

    def _known(self) -> dict[str, list[Any]]:
        """Return version, size and time of each file when it was last the same; nothing without a local copy."""
        try:
            return dict(load_json(self._record.read_bytes())) if self.folder.is_dir() else {}
        except (OSError, ValueError, TypeError):
            return {}

    def _remember(self, known: Mapping[str, list[Any]]) -> None:
        replace_file(self._record, json.dumps(known).encode())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder.with_name(f"{self.folder.name}.lock")):
            yield


def _goes(name: str) -> bool:
    return name.partition("/")[0] in REMOVED


def _copied(name: str) -> bool:
    last = name.rpartition("/")[2]
    return name != LOCK and not name.startswith(f"{KEPT}-") and not TEMPORARY.fullmatch(last)


def _status(path: Path) -> list[int] | None:
    return [(status := path.stat()).st_size, status.st_mtime_ns] if path.is_file() else None


def _few(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[:3])
