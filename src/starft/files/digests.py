"""SHA-256 digests of files, ``SHA256SUMS`` of an export, and weight files that aren't as they were written."""

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from starft.errors import WeightsError

SUMS = "SHA256SUMS"
PART = 2**24
"""Bytes that are hashed at a time: so many that a thread that hashes hardly ever waits for the others."""
CARD = "README.md"
"""The one file of an export that people are meant to edit."""

REPLACED = (
    "it is damaged or was replaced. Take another one, such as last.ckpt or best.ckpt of its run; one that was replaced "
    "on purpose goes into a folder of its own."
)
"""How the sentence ends on a weight file that isn't as it was written."""


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file.

    Args:
        path: The file.
    """
    digest, buffer = hashlib.sha256(), memoryview(bytearray(min(PART, path.stat().st_size + 1)))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(buffer):
            digest.update(buffer[:size])
    return digest.hexdigest()


@contextmanager
def checked_on_error(check: Callable[[Path], None], path: Path) -> Iterator[None]:
    """Check files that a block couldn't read: that they are damaged is told before what came of it.

    Args:
        check: Raises an error where something is wrong.
        path: What it is given.
    """
    try:
        yield
    except Exception:  # of any class, as damaged bytes may mean anything
        check(path)
        raise


@contextmanager
def checked_meanwhile(check: Callable[[Path], None], path: Path) -> Iterator[None]:
    """Check files in a thread of its own while the block uses what they hold; hashing costs no time on a free core.

    What the block made is sound once the block has ended. An error of the check replaces any error of the block. Let
    the block have work for one core: where torch spreads work over all of them, the thread slows it down.

    Args:
        check: Raises an error where something is wrong.
        path: What it is given.
    """
    with ThreadPoolExecutor(1) as thread:
        checked = thread.submit(check, path)
        try:
            yield
        finally:
            checked.result()


def content_digest(content: bytes | memoryview) -> str:
    """Return the SHA-256 of what a file will hold.

    Args:
        content: All of it.
    """
    return hashlib.sha256(content).hexdigest()


def check_weights_file(path: Path) -> None:
    """Refuse a weight file that isn't as it was written.

    ``SHA256SUMS`` beside it tells, and the checksums that torch writes with each tensor.

    Args:
        path: The file, which exists.

    Raises:
        WeightsError: Its bytes aren't those that were written.
    """
    if problem := _unlike_sums(path.parent, [path.name]):
        raise WeightsError(f"{problem}; {REPLACED}")
    if broken := _broken_part(path):
        raise WeightsError(
            f"The checkpoint {path} can't be read: it is damaged ({broken} has another checksum than it was written "
            "with). Take another one of its folder, as last.ckpt or best.ckpt."
        )


def _broken_part(path: Path) -> str | None:
    """Return the first part of a zip file, as torch writes them, that is damaged; None where none is."""
    try:
        if not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            return archive.testzip()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, OSError, zlib.error):
        return "its list of parts"


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
