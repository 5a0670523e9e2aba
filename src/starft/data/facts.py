"""What a run knows of its images, so that it can tell what changed: paths, labels, groups, sizes and times of files.

Contents aren't read, but for the beginning, the middle and the end of at most `SAMPLED` files a set: they tell a copy,
whose times are new, from images that were replaced by others of the same size.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from starft.data.source import ImageTable
from starft.files.addresses import address_of
from starft.files.remote import look_up
from starft.wording import count_of

SAMPLED = 512
"""Files of a set whose contents are looked into."""
PART = 32 * 1024
"""Bytes that are read of a file at its beginning, in its middle and at its end."""
DIGEST = 16
"""Bytes of a content's digest."""
MISSING = -1
"""Size and time of a file that isn't there."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class TableFacts:
    """What is known of the images of one set.

    Shapes: N images in F files, of which S were looked into.

    Args:
        root: Folder that the paths are below; it may change.
        paths: One an image.
        labels: Class of each image, (N,).
        groups: Group of each image, (N,); empty where there are none.
        files: The files that hold the images.
        sizes: Bytes of each file, (F,).
        times: When each file was last changed, in nanoseconds, (F,).
        sampled: Positions of the files that were looked into, or whose server told their version, (S,).
        contents: Digests of what was seen, (S, 16).
    """

    root: str
    paths: tuple[str, ...]
    labels: Ints
    groups: Ints
    files: tuple[str, ...]
    sizes: Ints
    times: Ints
    sampled: Ints
    contents: NDArray[np.uint8]

    def digest(self) -> str:
        """Return one digest over everything but the root."""
        digest = blake2b(digest_size=32)
        for name, array in _arrays(self).items():
            if name != "root":
                digest.update(f"{name} {array.shape}".encode() + array.tobytes())
        return digest.hexdigest()


def facts_of(table: ImageTable) -> TableFacts:
    """Return what is known of the images of a table: one look at each file, and a look into some.

    Of remote files it is what their server says: size and version, of all where it lists them, else of some.

    Args:
        table: The images.

    Raises:
        DataError: The server can't be asked.
    """
    root, files = os.fspath(table.root), tuple(table.files)
    if (address := address_of(root)) is not None:
        on_server = look_up([f"{address}/{file}" for file in files])
        remote = [on_server.get(f"{address}/{file}") for file in files]
        looks = [(MISSING if file is None or file.size is None else file.size, MISSING) for file in remote]
        sampled = np.array([at for at, file in enumerate(remote) if file is not None], dtype=np.int64)
        contents = b"".join(_digest(file.version.encode()) for file in remote if file is not None)
    else:
        looks = [_look(f"{root}/{file}") for file in files]
        sampled = np.unique(np.linspace(0, max(0, len(files) - 1), min(SAMPLED, len(files))).astype(np.int64))
        contents = b"".join(_content(f"{root}/{files[at]}") for at in sampled)
    known = np.array(looks, dtype=np.int64).reshape(len(files), 2)
    return TableFacts(
        root=root,
        paths=tuple(table.paths),
        labels=np.array(table.labels, dtype=np.int64),
        groups=np.array(table.groups if table.groups is not None else [], dtype=np.int64),
        files=files,
        sizes=known[:, 0],
        times=known[:, 1],
        sampled=sampled,
        contents=np.frombuffer(contents, dtype=np.uint8).reshape(len(sampled), DIGEST),
    )


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=DIGEST).digest()


def _look(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116  # many of them
    except (OSError, ValueError):
        return MISSING, MISSING
    return status.st_size, status.st_mtime_ns


def _content(path: str) -> bytes:
    """Return a digest of the beginning, the middle and the end of a file."""
    digest = blake2b(digest_size=DIGEST)
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            for start in dict.fromkeys((0, max(0, (size - PART) // 2), max(0, size - PART))):
                file.seek(start)
                digest.update(file.read(PART))
    except (OSError, ValueError):
        digest.update(b"can't be read")
    return digest.digest()


# --- kept as a file ---------------------------------------------------------------------------------------------------


def _arrays(facts: TableFacts) -> dict[str, NDArray[np.generic]]:
    """Return all fields as plain arrays; texts are joined, in UTF-8 or whatever bytes a path has."""
    made: dict[str, NDArray[np.generic]] = {}
    for field in fields(facts):
        value = getattr(facts, field.name)
        if isinstance(value, np.ndarray):
            made[field.name] = value
        elif field.name == "files" and value == facts.paths:
            made[field.name] = np.zeros(0, dtype=np.uint8)
        else:
            text = value if isinstance(value, str) else "\0".join(value)
            made[field.name] = np.frombuffer(os.fsencode(text), dtype=np.uint8)
    return made


def save_facts(file: os.PathLike[str] | object, sets: Mapping[str, TableFacts]) -> None:
    """Write what is known of some sets as ``.npz``.

    Args:
        file: Where to; a path, or a file that is open for writing.
        sets: By name.
    """
    arrays: dict[str, NDArray[np.generic]] = {
        f"{at}.{name}": array for at, facts in enumerate(sets.values()) for name, array in _arrays(facts).items()
    }
    names = np.frombuffer(os.fsencode("\0".join(sets)), dtype=np.uint8)
    np.savez_compressed(file, allow_pickle=False, names=names, **arrays)  # type: ignore[arg-type]


def load_facts(path: Path) -> dict[str, TableFacts]:
    """Read what `save_facts` wrote; nothing where the file is missing or damaged.

    Args:
        path: The file.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            names = _texts(kept["names"])
            return {name: _facts({key: kept[f"{at}.{key}"] for key in _KEYS}) for at, name in enumerate(names)}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return {}


_KEYS = tuple(field.name for field in fields(TableFacts))


def _texts(array: NDArray[np.uint8]) -> tuple[str, ...]:
    return tuple(os.fsdecode(array.tobytes()).split("\0")) if len(array) else ()


def _facts(arrays: Mapping[str, NDArray[np.generic]]) -> TableFacts:
    texts = {name: _texts(arrays[name]) for name in ("root", "paths", "files")}  # type: ignore[arg-type]
    plain = {name: arrays[name] for name in _KEYS if name not in texts}
    files = texts["files"] or texts["paths"]
    return TableFacts("".join(texts["root"]), texts["paths"], files=files, **plain)  # type: ignore[arg-type]


# --- what changed -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Changes:
    """What changed in the sets that were there before and are there now, each a part of a sentence.

    Args:
        other: What makes them other data.
        notes: What may be nothing, such as the times of a copy.
    """

    other: tuple[str, ...]
    notes: tuple[str, ...]


def changes(before: Mapping[str, TableFacts], now: Mapping[str, TableFacts]) -> Changes:
    """Return what changed between two looks at the same sets; a set that only one has isn't compared.

    Args:
        before: At the first look, by name.
        now: At this one.
    """
    both = [name for name in now if name in before]
    pairs = {name: (before[name], now[name]) for name in both}
    moved, gone, new = _moves(before, now, both)
    whole = len(both) == len(before)
    other = (
        ["rows were reordered, or the splits drawn otherwise"] if whole and len(moved) > 1 and not gone + new else []
    )
    other += moved
    for what, paths in (("gone", gone), ("new", new)):
        if paths:
            were = sum(len(before[name].paths) for name in both)
            of = f"{len(paths)} of {count_of(were, 'image')}" if what == "gone" else count_of(len(paths), "image")
            where = "" if whole or what == "new" else f" from {_listing(both)}"
            other.append(f"{of} {'is' if len(paths) == 1 else 'are'} {what}{where}, first {paths[0]}")
    ordered = [name for name, (a, b) in pairs.items() if a.paths != b.paths and Counter(a.paths) == Counter(b.paths)]
    if ordered:
        other.append(f"rows of {_listing(ordered)} were reordered")
    for what in ("labels", "groups"):
        other += _relabelled(pairs, what)
    touched = _touched(pairs)
    if touched.changed:
        images = sum(len(now[name].files) for name in both)
        other.append(f"{len(touched.changed)} of {count_of(images, 'image')} changed, first {touched.changed[0]}")
    return Changes(tuple(other), touched.notes)


def others(before: Mapping[str, TableFacts], now: Mapping[str, TableFacts]) -> list[str]:
    """Return the names that mean other data now: of another root, without an image in common.

    Args:
        before: At the first look, by name.
        now: At this one.
    """
    both = [name for name in now if name in before and now[name].root != before[name].root]
    return [name for name in both if not set(now[name].paths) & set(before[name].paths)]


def _listing(names: Sequence[str]) -> str:
    return " and ".join(names) if len(names) < 3 else f"{', '.join(names[:-1])} and {names[-1]}"


def _moves(
    before: Mapping[str, TableFacts], now: Mapping[str, TableFacts], both: Sequence[str]
) -> tuple[list[str], list[str], list[str]]:
    """Return which images changed their set, and the paths that are gone from all sets, and new."""
    same_root = {before[name].root for name in both}
    was: dict[str, str] = {}
    for name, facts in before.items():
        if name in both or facts.root in same_root:
            was |= dict.fromkeys(facts.paths, name)
    here = {path: name for name in both for path in now[name].paths}
    counts: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], str] = {}
    for name in both:
        own = set(before[name].paths)
        for path in now[name].paths:
            old = was.get(path, name)
            if path not in own and old != name:
                counts[old, name] += 1
                first.setdefault((old, name), path)
    sentences = []
    for (old, new), count in counts.items():
        back = counts.get((new, old), 0)
        if back and old > new:  # "train" after "test": told once
            sentences.append(
                f"{old} and {new} images are exchanged: {count} of {old} {'is' if count == 1 else 'are'} in {new} now, "
                f"first {first[old, new]}, and {back} of {new} in {old}"
            )
        elif not back:
            are = "is" if count == 1 else "are"
            sentences.append(f"{count_of(count, 'image')} of {old} {are} in {new} now, first {first[old, new]}")
    known = {path for facts in now.values() for path in facts.paths}
    gone = [path for name in both for path in before[name].paths if path not in known]
    new_paths = [path for path in here if path not in was]
    return sentences, gone, new_paths


def _relabelled(pairs: Mapping[str, tuple[TableFacts, TableFacts]], what: str) -> list[str]:
    """Return a sentence on images that have another label or group than before."""
    other: list[str] = []
    for old, new in pairs.values():
        a, b = getattr(old, what), getattr(new, what)
        if len(a) != len(old.paths) or len(b) != len(new.paths):
            if len(a) != len(b):
                return [f"there are {what} {'no more' if len(a) else 'now'}"]
            continue
        if old.paths == new.paths:
            other += [new.paths[at] for at in np.flatnonzero(a != b)]
        else:
            was = dict(zip(old.paths, a.tolist(), strict=True))
            other += [path for path, value in zip(new.paths, b.tolist(), strict=True) if was.get(path, value) != value]
    if not other:
        return []
    return [f"{what} of {count_of(len(other), 'image')} changed, first {other[0]}"]


@dataclass(frozen=True)
class _Touched:
    changed: list[str]
    notes: tuple[str, ...]


def _touched(pairs: Mapping[str, tuple[TableFacts, TableFacts]]) -> _Touched:
    """Return the files that are others under their old paths, and a note on those that may be."""
    changed: list[str] = []
    unsure, looked = 0, 0
    for old, new in pairs.values():
        was = {file: at for at, file in enumerate(old.files)}
        contents, here_too = (
            {facts.files[at]: bytes(row) for at, row in zip(facts.sampled.tolist(), facts.contents, strict=True)}
            for facts in (old, new)
        )
        here = [at for at, file in enumerate(new.files) if file in was]
        there = [was[new.files[at]] for at in here]
        sizes, times = old.sizes[there] != new.sizes[here], old.times[there] != new.times[here]
        for at, size, time in zip(here, sizes.tolist(), times.tolist(), strict=True):
            file = new.files[at]
            if size:
                changed.append(file)
            elif file in contents and (time or file in here_too):  # times can be kept, and set
                looked += time
                if (here_too.get(file) or _content(f"{new.root}/{file}")) != contents[file]:
                    changed.append(file)
            elif time:
                unsure += 1
    if not unsure:
        return _Touched(changed, ())
    note = (
        f"{count_of(unsure, 'image')} {'has' if unsure == 1 else 'have'} another time of change and the same size as "
        f"before, as copies have; {looked} others of that kind were looked into"
    )
    return _Touched(changed, (note,))
