"""Listing folders of images, with a cache for very large ones.

The cache lies in the user's cache folder (`cache_folder`), never among the data. An entry holds every folder below the
listed one with its time of change; a folder whose time differs is listed anew, so a change is seen as soon as the file
system notes it. A file that is overwritten under its own name changes no listing.
"""

import os
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np

from starft.data.picture_files import ending_of, is_picture, picture_endings
from starft.files.cache import cache_folder

LARGE = 10_000
"""Listings from this many files on are kept."""


class Listing(NamedTuple):
    """POSIX paths of the files below a folder, sorted.

    Args:
        images: Those that are pictures.
        left_out: All others; of hidden files only those that are called like a picture.
    """

    images: tuple[str, ...]
    left_out: tuple[str, ...]


def list_images(folder: Path) -> tuple[str, ...]:
    """Return the POSIX paths of all images below a folder, sorted, as `list_files` does."""
    return list_files(folder).images


def list_files(folder: Path) -> Listing:
    """Return all images below a folder, and the files that are none.

    Folders that symbolic links lead to are listed too, each once. Hidden files and folders are left out.

    Args:
        folder: Where to look.

    Raises:
        OSError: A folder can't be read.
    """
    entry = cache_folder() / "listings" / f"{blake2b(os.fsencode(folder.resolve()), digest_size=16).hexdigest()}.npz"
    kept = _kept(entry, folder)
    if kept is not None:
        return kept
    folders: dict[str, int] = {}
    images: list[str] = []
    others: list[str] = []
    _walk(str(folder), "", folders, images, others, set())
    listing = Listing(tuple(sorted(images)), tuple(sorted(others)))
    if len(images) + len(others) >= LARGE:
        _keep(entry, folders, listing)
    return listing


def _walk(  # what it fills
    folder: str, prefix: str, folders: dict[str, int], images: list[str], others: list[str], above: set[str]
) -> None:
    real = os.path.realpath(folder)
    if real in above:  # a link to a folder that it lies in
        return
    folders[prefix] = os.stat(folder).st_mtime_ns  # noqa: PTH116  # before listing: a change meanwhile shows next time
    below = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                if not name.startswith("._") and ending_of(name) in picture_endings():  # ._ are macOS's own
                    others.append(prefix + name)
            elif entry.is_dir():
                below.append(name)
            elif is_picture(name, entry.path):
                images.append(prefix + name)
            else:
                others.append(prefix + name)
    for name in below:
        _walk(f"{folder}/{name}", f"{prefix}{name}/", folders, images, others, above | {real})


def _keep(entry: Path, folders: dict[str, int], listing: Listing) -> None:
    text = "\0".join
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        temporary = entry.with_name(f".{entry.name}.{os.getpid()}")
        with temporary.open("wb") as file:
            np.savez(
                file,
                folders=np.frombuffer(os.fsencode(text(folders)), dtype=np.uint8),
                times=np.array(list(folders.values()), dtype=np.int64),
                images=np.frombuffer(os.fsencode(text(listing.images)), dtype=np.uint8),
                left_out=np.frombuffer(os.fsencode(text(listing.left_out)), dtype=np.uint8),
            )
        temporary.replace(entry)
    except OSError:
        pass  # a cache that can't be written costs time, nothing else


def _kept(entry: Path, folder: Path) -> Listing | None:
    """Return a listing that still holds, or None."""
    try:
        with entry.open("rb") as file, np.load(file, allow_pickle=False) as value:
            folders = os.fsdecode(value["folders"].tobytes()).split("\0")
            for name, time in zip(folders, value["times"].tolist(), strict=True):
                if os.stat(f"{folder}/{name}").st_mtime_ns != time:  # noqa: PTH116
                    return None
            files = (os.fsdecode(value[part].tobytes()) for part in Listing._fields)
            return Listing(*(tuple(text.split("\0")) if text else () for text in files))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None
