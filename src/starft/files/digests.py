"""SHA-256 digests of what starft wrote: in the manifest of a run, and in ``SHA256SUMS`` of an export.

``manifest.json`` of a run folder lists its files in ``files``: name -> the digests that the file may have, the newest
first. A new digest is written before its file is swapped in, and those before it stay until it is, so that a kill or a
full disk between the two leaves a file that is known, however often that happens. `starft.runs.manifest`
says what else it holds.
"""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from starft.errors import RunFolderError, WeightsError
from starft.files.atomic import replace_file

CHECKPOINTS = "checkpoints"
"""In the run folder."""
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
SCHEMA_VERSION = 1
KEPT = 2
"""Digests that are kept of a file once it is written: its own, and that of the one before it."""
CARD = "README.md"
"""The one file of an export that people are meant to edit."""


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file.

    Args:
        path: The file.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(content: bytes | memoryview) -> str:
    """Return the SHA-256 of what a file will hold.

    Args:
        content: All of it.
    """
    return hashlib.sha256(content).hexdigest()


# --- the manifest of a run --------------------------------------------------------------------------------------------


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
    content = {"files": {}, **manifest, "schema_version": SCHEMA_VERSION}
    text = json.dumps({**content, "sha256": _own_digest(content)}, indent=1)
    replace_file(folder / MANIFEST, f"{text}\n".encode())


def _own_digest(manifest: Mapping[str, Any]) -> str:
    return content_digest(json.dumps(manifest, sort_keys=True).encode())


def run_folder(checkpoint: Path) -> Path:
    """Return the folder of the run that a checkpoint belongs to, whatever it is called from: a name alone, or a link.

    Args:
        checkpoint: In ``checkpoints`` of it, in another folder of it, or right in it.
    """
    near = checkpoint if len(checkpoint.parts) > 2 else checkpoint.absolute()
    for path in (near, near.resolve()):
        if path.parent.name == CHECKPOINTS:
            return path.parent.parent
        if (folder := run_folder_of(path)) is not None:
            return folder
    return near.parent


def run_folder_of(path: Path) -> Path | None:
    """Return the folder with the manifest that a file belongs to; null where there is none.

    Args:
        path: A file in a run folder, or in a folder right below it.
    """
    near = Path(path).absolute().parent
    return next((folder for folder in (near, near.parent) if (folder / MANIFEST).is_file()), None)


def replace_listed_file(path: Path, content: bytes | memoryview) -> None:
    """Write a file of a run in one step, and its digest into the run's manifest, if it has one.

    Only the process that has the run's lock may do so.

    Args:
        path: The file to make or replace; its folder must exist.
        content: All of it.

    Raises:
        OSError: The disk is full, or the folder can't be written to.
        RunFolderError: The manifest is damaged.
    """
    folder = run_folder_of(path)
    if folder is not None:
        list_digest(folder, path, content_digest(content))
    replace_file(path, content)
    if folder is not None:
        _forget_old_digests(folder, path)


def list_digest(folder: Path, path: Path, digest: str) -> None:
    """Write the digest of a file into the manifest of its run; files that are gone are left out.

    Args:
        folder: The run folder.
        path: A file in it or below it.
        digest: Of what the file holds, or will hold in a moment.
    """
    manifest = read_manifest(folder)
    files: dict[str, list[str]] = manifest.get("files", {})
    name = _name_in(folder, path)
    if files.get(name, [None])[0] == digest:
        return
    there = {one: digests for one, digests in files.items() if (folder / one).exists()}
    there[name] = list(dict.fromkeys([digest, *files.get(name, [])]))
    write_manifest(folder, {**manifest, "files": there})


def _forget_old_digests(folder: Path, path: Path) -> None:
    """Keep the digests of a file that was just written, and of the one before it, alone."""
    manifest, name = read_manifest(folder), _name_in(folder, path)
    digests = manifest["files"][name]
    if len(digests) > KEPT:
        write_manifest(folder, {**manifest, "files": {**manifest["files"], name: digests[:KEPT]}})


def _name_in(folder: Path, path: Path) -> str:
    """Return a file's name below a folder; a link stays what it is, wherever it leads."""
    return Path(path).absolute().relative_to(folder.absolute()).as_posix()


def is_listed(path: Path) -> bool:
    """Return whether the manifest of a run knows the digest of a file.

    Args:
        path: The file.

    Raises:
        RunFolderError: The manifest is damaged.
    """
    folder = run_folder_of(path)
    return folder is not None and _name_in(folder, path) in read_manifest(folder)["files"]


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


def check_weights_file(path: Path) -> None:
    """Refuse a checkpoint or a weight file that isn't as it was written.

    The manifest of its run or ``SHA256SUMS`` beside it tell. Of a file that neither lists, the checksums do that torch
    writes with each tensor.

    Args:
        path: The file, which exists.

    Raises:
        RunFolderError: The manifest is damaged.
        WeightsError: Its bytes aren't those that were written.
    """
    listed = is_listed(path)
    problem = file_problem(path) if listed else _unlike_sums(path.parent, [path.name])
    if problem:
        raise WeightsError(
            f"{problem}; it is damaged or was replaced. Take another one, such as last.ckpt or best.ckpt of its run; "
            "one that was replaced on purpose goes into a folder of its own."
        )
    if not listed and (broken := _broken_part(path)):
        raise WeightsError(
            f"The checkpoint {path} can't be read: it is damaged ({broken} has another checksum than it was written "
            "with). Take another one of its folder, as last.ckpt or best.ckpt."
        )


def _broken_part(path: Path) -> str | None:
    """Return the first part of a zip file, as torch writes them, that is damaged; null where none is."""
    try:
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, OSError, zlib.error):
        return "its list of parts"


# --- an export --------------------------------------------------------------------------------------------------------


def write_sums(folder: Path) -> None:
    """Write ``SHA256SUMS`` of a folder, as ``sha256sum -c`` reads it, of all that is in it but its card.

    Args:
        folder: With all its files.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (SUMS, CARD))
    lines = [f"{file_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in paths]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def check_export(folder: Path) -> None:
    """Refuse an export whose files aren't those that were written; one without ``SHA256SUMS`` tells nothing.

    Args:
        folder: Of the export.

    Raises:
        WeightsError: A file is missing, damaged or was edited.
    """
    problem = _unlike_sums(folder)
    if problem:
        raise WeightsError(f"The export {folder} is damaged: {problem}; write it again with `starft export`.")


def _unlike_sums(folder: Path, names: Iterable[str] | None = None) -> str:
    """Return what is wrong with the files that ``SHA256SUMS`` lists, or with some of them; empty where nothing is."""
    path = folder / SUMS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError):
        return f"{path} can't be read"
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    if not sums or not all(len(digest) == 64 and name for name, digest in sums.items()):
        return f"{path} is damaged"
    for name in sums if names is None else [name for name in names if name in sums]:
        if not (folder / name).is_file():
            return f"{folder / name} is missing, though {path} lists it"
        if file_digest(folder / name) != sums[name]:
            return f"{folder / name} isn't as it was written: its SHA-256 isn't the one in {path}"
    return ""
