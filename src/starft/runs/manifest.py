"""``manifest.json`` of a run folder, as a file: the digests of what the run wrote, and what isn't as it was written.

It lists the run's files in ``files``: name -> the digests that the file may have, the newest first. A new digest is
written before its file is swapped in, and those before it stay until it is, so that a kill or a full disk between the
two leaves a file that is known, however often that happens. ``states`` holds digest of a checkpoint -> digest of what a
model is loaded from, which is a third of the checkpoint. `starft.runs.manifest_callback` says what else it holds.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from starft.errors import RunFolderError, WeightsError
from starft.files.atomic import load_json, replace_file
from starft.files.digests import REPLACED, content_digest, file_digest
from starft.runs.layout import MANIFEST, run_folder_of

SCHEMA_VERSION = 1
KEPT = 2
"""Digests that are kept of a file once it is written: its own, and that of the one before it."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return what the manifest of a run folder holds; an empty mapping where there is none.

    Args:
        folder: The run folder.

    Raises:
        RunFolderError: It is damaged, or was edited.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        own = manifest.pop("sha256")
        if own != _own_digest(manifest) or not isinstance(manifest["files"], dict):
            raise ValueError(own)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RunFolderError(
            f"{path} is damaged or was edited, so nobody can tell whether what it lists is as it was; bring it back "
            "from a copy, or delete it to go on without these checks."
        ) from error
    return dict(manifest)


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Write the manifest of a run folder.

    Args:
        folder: The run folder.
        manifest: What it holds.
    """
    replace_file(folder / MANIFEST, _as_file(manifest))


def _as_file(manifest: Mapping[str, Any]) -> bytes:
    content = {"files": {}, **manifest, "schema_version": SCHEMA_VERSION}
    return f"{json.dumps({**content, 'sha256': _own_digest(content)}, indent=1)}\n".encode()


def with_digests_of(folder: Path, before: bytes) -> bytes:
    """Return a manifest that lists what another copy of the run folder holds too, where files are copied one by one.

    Args:
        folder: The run folder.
        before: The manifest of the copy; one that is damaged lists nothing.

    Raises:
        RunFolderError: The run folder's own manifest is damaged.
    """
    manifest = read_manifest(folder)
    with suppress(ValueError, TypeError, KeyError, AttributeError):
        old = load_json(before)
        old_files, files = old["files"], manifest["files"].items()
        both = {name: list(dict.fromkeys([*digests, *old_files.get(name, [])])) for name, digests in files}
        manifest |= {"files": both, "states": old.get("states", {}) | manifest.get("states", {})}
    return _as_file(manifest)


def _own_digest(manifest: Mapping[str, Any]) -> str:
    return content_digest(json.dumps(manifest, sort_keys=True).encode())


def replace_listed_file(
    path: Path, content: bytes | memoryview, folder: Path | None = None, state: str | None = None
) -> None:
    """Write a file of a run in one step, and its digest into the run's manifest.

    Only the process that has the run's lock may do so.

    Args:
        path: The file to make or replace; its folder must exist.
        content: All of it.
        folder: The run folder, whose manifest is made if need be; None looks for one that has a manifest.
        state: Digest of the part of it that a model is loaded from; None where there is none.

    Raises:
        OSError: The disk is full, or the folder can't be written to.
        RunFolderError: The manifest is damaged.
    """
    folder = folder or run_folder_of(path)
    if folder is not None:
        list_digest(folder, path, content_digest(content), state)
    replace_file(path, content)
    if folder is not None:
        _forget_old_digests(folder, path)


def list_digest(folder: Path, path: Path, digest: str, state: str | None = None) -> None:
    """Write the digest of a file into the manifest of its run; files that are gone are left out.

    Args:
        folder: The run folder.
        path: A file in it or below it.
        digest: Of what the file holds, or will hold in a moment.
        state: Of the part of it that a model is loaded from; None where there is none.
    """
    manifest = read_manifest(folder)
    files: dict[str, list[str]] = manifest.get("files", {})
    name = _name_in(folder, path)
    if files.get(name, [None])[0] == digest:
        return
    there = {file: digests for file, digests in files.items() if (folder / file).exists()}
    there[name] = list(dict.fromkeys([digest, *files.get(name, [])]))
    states = manifest.get("states", {}) | ({digest: state} if state is not None else {})
    _write_files(folder, {**manifest, "states": states}, there)


def _write_files(folder: Path, manifest: Mapping[str, Any], files: Mapping[str, Sequence[str]]) -> None:
    known = {digest for digests in files.values() for digest in digests}
    states = {digest: state for digest, state in manifest.get("states", {}).items() if digest in known}
    write_manifest(folder, {**manifest, "files": files, "states": states})


def _forget_old_digests(folder: Path, path: Path) -> None:
    """Keep the digests of a file that was just written, and of the one before it, alone."""
    manifest, name = read_manifest(folder), _name_in(folder, path)
    digests = manifest["files"][name]
    if len(digests) > KEPT:
        _write_files(folder, manifest, {**manifest["files"], name: digests[:KEPT]})


def _name_in(folder: Path, path: Path) -> str:
    """Return a file's name below a folder; a link stays what it is, wherever it leads."""
    return Path(path).absolute().relative_to(folder.absolute()).as_posix()


def check_listed(path: Path) -> bool:
    """Return whether the manifest of a run knows a weight file, and refuse one that isn't as the run wrote it.

    Args:
        path: The file.

    Raises:
        RunFolderError: The manifest is damaged.
        WeightsError: The file's bytes aren't those that were written.
    """
    folder = run_folder_of(path)
    if folder is None or _name_in(folder, path) not in read_manifest(folder)["files"]:
        return False
    if problem := file_problem(path):
        raise WeightsError(f"{problem}; {REPLACED}")
    return True


def listed_states(path: Path) -> list[str]:
    """Return the digests that what a model is loaded from may have; empty where the manifest doesn't tell.

    Args:
        path: A checkpoint.

    Raises:
        RunFolderError: The manifest is damaged.
    """
    folder = run_folder_of(path)
    if folder is None:
        return []
    manifest = read_manifest(folder)
    states, digests = manifest.get("states", {}), manifest["files"].get(_name_in(folder, path), [])
    return [states[digest] for digest in digests] if all(digest in states for digest in digests) else []


def checked_pretrained(pretrained: str | None) -> str | None:
    """Return what names pre-trained weights; refuse a file of a run that isn't as the run wrote it.

    Args:
        pretrained: A tag, a path, or None.

    Raises:
        RunFolderError: The manifest of the run is damaged.
        WeightsError: The file's bytes aren't those that were written.
    """
    if pretrained is not None and Path(pretrained).is_file():
        check_listed(Path(pretrained))
    return pretrained


def file_problem(path: Path) -> str:
    """Return what is wrong with a file that a run wrote, as a part of a sentence; empty where nothing is.

    A file that no manifest lists has no problem.

    Args:
        path: The file; one that is missing has a problem if it is listed.
    """
    folder = run_folder_of(path)
    try:
        for _ in range(3):  # a run that is under way may write another one meanwhile
            digests = read_manifest(folder).get("files", {}).get(_name_in(folder, path)) if folder is not None else None
            if folder is None or digests is None:
                return ""
            if not path.is_file():
                return f"{path} is missing, though the run wrote it"
            if file_digest(path) in digests:
                return ""
    except RunFolderError as error:
        return str(error).rstrip(".")
    return f"{path} isn't as the run wrote it: its SHA-256 isn't the one in {MANIFEST}"


def folder_problems(folder: Path, names: Iterable[str]) -> list[str]:
    """Return what is wrong with some files of a run, each a part of a sentence.

    Args:
        folder: The run folder.
        names: Of the files in it; those that neither exist nor are listed have no problem.
    """
    return [problem for name in names if (problem := file_problem(folder / name))]
