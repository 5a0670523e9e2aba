"""Reading shards from end to end: once, as what they hold is kept in the cache folder.

An entry of the cache holds size and time of change of every shard; where one differs, it is made anew. Entries of few
images aren't kept.
"""

import json
import os
import sys
import uuid
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from shutil import disk_usage
from typing import Any
from zipfile import BadZipFile

import numpy as np

from starft.data.datasets.cells import CellError, cell_texts
from starft.data.listing import LARGE
from starft.data.packed.arrow_tables import ARROW, PARQUET, ImageRows
from starft.data.packed.index import Column, PackedIndex, path_hash, stamp_of
from starft.data.packed.paths import Texts
from starft.data.packed.samples import NOWHERE, UNLABELLED, Columns, Flaws, Sample
from starft.data.packed.tar_shards import tar_samples
from starft.data.problem_texts import some
from starft.errors import DataError
from starft.files.addresses import address_of, shown
from starft.files.atomic import load_json
from starft.files.cache import CACHE, cache_folder
from starft.files.remote import RemoteFile, fetch, remote_shards
from starft.files.sizes import in_words
from starft.safe_text import say
from starft.wording import count_of

TAR = (".tar",)
SUFFIXES = (*TAR, *PARQUET, *ARROW)
TELL = 10**9
"""Bytes that are copied in silence."""


def open_index(root: Path, shards: Sequence[str], columns: Columns, image: str | None) -> PackedIndex:
    """Return the index of some shards: from the cache, or made anew.

    Args:
        root: Folder that the shards are below, perhaps a remote one.
        shards: Their paths below it.
        columns: What labels and the like may be called.
        image: Column or ending of the images; None finds it.

    Raises:
        DataError: A shard is missing, is no shard, lacks a column, or can't be fetched.
    """
    address = address_of(root)
    asked = repr((address or os.fspath(root.resolve()), [*shards], {**columns}, image))
    entry = _folder() / f"{blake2b(os.fsencode(asked), digest_size=16).hexdigest()}.npz"
    remote = remote_shards([f"{address}/{shard}" for shard in shards]) if address is not None else None
    kept = _kept(entry, root, remote)
    if kept is not None:
        return kept
    index = _Scan(root, shards, columns, image, remote).index()
    if len(index) >= LARGE or any(Path(place).parent == _folder() for place in index.places):
        _keep(entry, index)
    return index


def _folder() -> Path:
    return cache_folder() / "packed"


class _Scan:
    """Reads shards from end to end, into arrays that take no object for each image."""

    def __init__(
        self,
        root: Path,
        shards: Sequence[str],
        columns: Columns,
        image: str | None,
        remote: Sequence[RemoteFile] | None = None,
    ) -> None:
        self.root, self.shards, self.columns, self.image = root, tuple(shards), columns, image
        self.remote, self.stamps = remote, array("q")
        self.flaws = Flaws()
        self.keys, self.captions = _Joined(), _Joined()
        self.offsets, self.lengths, self.hashes = array("q"), array("q"), array("Q")
        self.codes = {kind: array("i") for kind in columns}
        self.known: dict[str, dict[tuple[type, Any], int]] = {kind: {} for kind in columns}
        self.texts: dict[str, dict[str, int]] = {kind: {} for kind in columns}
        self.class_names: tuple[str, ...] | None = None

    def index(self) -> PackedIndex:
        """Read all of them."""
        self._check_room()
        starts, places = [0], []
        for number, shard in enumerate(self.shards):
            places.append(self._shard(shard, self.remote[number] if self.remote is not None else None))
            starts.append(len(self.offsets))
        texts = {
            kind: Texts.of(self.texts[kind]) if kind != "caption" else self.captions.texts() for kind in self.codes
        }
        hashes = np.array(self.hashes, dtype=np.uint64)
        order = np.argsort(hashes, kind="stable")
        index = PackedIndex(
            self.root,
            self.shards,
            tuple(places),
            np.array(self.stamps, dtype=np.int64).reshape(-1, 2),
            np.array(starts, dtype=np.int64),
            self.keys.texts(),
            hashes[order],
            order,
            np.array(self.offsets, dtype=np.int64),
            np.array(self.lengths, dtype=np.int64),
            {kind: Column(np.array(codes, dtype=np.int32), texts[kind]) for kind, codes in self.codes.items()},
            self.class_names or (),
            self.flaws,
        )
        self._leave_out_twins(index)
        return index

    def _check_room(self) -> None:
        """Tell how much the copied images of Parquet files will take, and refuse it where the disk has less.

        They take about what the files do, as images hardly shrink further. Copies of before are replaced one by one.
        """
        tables = [at for at, shard in enumerate(self.shards) if Path(shard).suffix.lower() in PARQUET]
        if self.remote is not None:
            files = [(self.remote[at].path, _stamp(self.remote[at])) for at in tables]
        else:
            paths = [self.root / self.shards[at] for at in tables]
            files = [(path, stamp_of(os.fspath(path))) for path in paths if path.is_file()]
        size = sum(stamp[0] for path, stamp in files if not self._copy(path, stamp).is_file())
        folder = _folder()
        free = disk_usage(next(path for path in (folder, *folder.absolute().parents) if path.is_dir())).free
        images = f"the images of {count_of(len(tables), 'Parquet file')} to the cache {folder}"
        if size > free:
            raise DataError(
                f"Copying {images} takes {in_words(size)}, and its disk has {in_words(free)} left; free some, or set "
                f"{CACHE} to a folder on another disk."
            )
        if size > TELL:
            say(f"Note: copying {images}, {in_words(size)}, once.", file=sys.stderr)

    def _shard(self, name: str, remote: RemoteFile | None) -> str:
        """Read one shard; return the file that its images lie in."""
        if remote is None:
            return self._read(name, self.root / name, None)
        path = fetch(remote)
        try:
            return self._read(name, path, _stamp(remote))
        except DataError as error:  # people know the address
            raise DataError(str(error).replace(os.fspath(path), shown(remote.address))) from error

    def _read(self, name: str, path: Path, stamp: tuple[int, int] | None) -> str:
        """Read a shard that lies on this machine; return the file that its images lie in."""
        try:
            self.stamps.extend(stamp := stamp or stamp_of(os.fspath(path)))
            if path.suffix.lower() in TAR:
                self._samples(name, tar_samples(path, name, self.columns, self.image, self.flaws))
                return os.fspath(path)
            rows = ImageRows(path, self.columns, self.image)
            if self.class_names not in (None, rows.class_names):
                raise DataError(
                    f"{path} names the classes {some(rows.class_names or ['none'])}, and the tables before it "
                    f"{some(self.class_names or ['none'])}; give tables of one kind with data.init_args.shards."
                )
            self.class_names = rows.class_names
            if rows.is_plain:
                self._samples(name, rows.samples(None))
                return os.fspath(path)
            return self._copied(name, path, stamp, rows)
        except OSError as error:
            raise DataError(f"The shard {path} can't be read: {error.strerror}; check its path.") from error

    def _copied(self, name: str, path: Path, stamp: tuple[int, int], rows: ImageRows) -> str:
        """Copy the images of a compressed table into the cache; return the file."""
        copy = self._copy(path, stamp)
        temporary = copy.with_name(f".{copy.name}.{uuid.uuid4().hex}.tmp")
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                self._samples(name, rows.samples(file))
            temporary.replace(copy)
        except OSError as error:  # of the copy: what is wrong with the table is told otherwise
            raise DataError(
                f"The images of {path} can't be copied to the cache {copy.parent} ({error.strerror}); make room there, "
                f"or set {CACHE} to another folder."
            ) from error
        finally:
            with suppress(OSError):  # a folder that can't be written to
                temporary.unlink(missing_ok=True)
        return os.fspath(copy)

    def _copy(self, path: Path, stamp: tuple[int, int]) -> Path:
        """Return where the images of a table are copied to."""
        asked = repr((os.fspath(path.resolve()), stamp, self.image))
        return _folder() / f"{blake2b(os.fsencode(asked), digest_size=16).hexdigest()}.images"

    def _samples(self, shard: str, samples: Iterator[Sample]) -> None:
        labels = self.codes["label"]
        for key, offset, length, cells in samples:
            path = f"{shard}#{key}"
            self.keys.add(key)
            self.offsets.append(offset)
            self.lengths.append(length)
            self.hashes.append(path_hash(path))
            unlabelled = bool(self.class_names) and cells.get("label") == UNLABELLED
            for kind, codes in self.codes.items():
                cell = None if unlabelled and kind == "label" else cells.get(kind)
                codes.append(-1 if cell is None else self._code(kind, cell, path))
            if offset == NOWHERE:
                self.flaws.add("image", path)
            elif labels[-1] < 0:
                self.flaws.add("unlabelled" if unlabelled else "label", path)

    def _code(self, kind: str, cell: Any, path: str) -> int:
        """Return the code of what is said of an image; captions are all kept, as hardly one comes twice."""
        try:
            known = type(cell), cell
            code = self.known[kind].get(known)
            if code is not None:
                return code
            (text,) = cell_texts([cell])
        except (CellError, TypeError) as error:  # a list can't be looked up
            why = error.args[0] if isinstance(error, CellError) else "holds a list or an object; put one value there"
            raise DataError(f"{shown(self.root / path)}: its {kind} {why}.") from error
        if text is None:
            return -1
        if kind == "caption":
            return self.captions.add(text) - 1
        code = self.known[kind][known] = self.texts[kind].setdefault(text, len(self.texts[kind]))
        return code

    def _leave_out_twins(self, index: PackedIndex) -> None:
        """Keep the first of several images with one path."""
        for at in np.flatnonzero(index.hashes[1:] == index.hashes[:-1]).tolist():
            one, other = index.paths(index.order[at : at + 2])
            if one == other:
                self.flaws.add("twice", one)
                index.offsets[index.order[at + 1]] = NOWHERE


class _Joined:
    """Texts that are put together one by one."""

    def __init__(self) -> None:
        self.content, self.ends = bytearray(), array("q")

    def add(self, text: str) -> int:
        """Add one; return how many there are."""
        self.content += os.fsencode(text)
        self.ends.append(len(self.content))
        return len(self.ends)

    def texts(self) -> Texts:
        """Return all of them."""
        return Texts(np.array(self.content, dtype=np.uint8), np.array(self.ends, dtype=np.int64))


ARRAYS = ("stamps", "starts", "hashes", "order", "offsets", "lengths")


def _keep(entry: Path, index: PackedIndex) -> None:
    about = {
        "shards": index.shards,
        "places": index.places,
        "columns": [*index.columns],
        "class_names": index.class_names,
        "flaws": vars(index.flaws),
    }
    arrays = {name: getattr(index, name) for name in ARRAYS}
    for name, texts in {"keys": index.keys, **{kind: c.texts for kind, c in index.columns.items()}}.items():
        arrays |= {f"{name}.content": texts.content, f"{name}.ends": texts.ends}
    arrays |= {f"{kind}.codes": column.codes for kind, column in index.columns.items()}
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        temporary = entry.with_name(f".{entry.name}.{os.getpid()}")
        with temporary.open("wb") as file:
            np.savez(file, about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8), **arrays)
        temporary.replace(entry)
    except OSError:
        pass  # a cache that can't be written costs time, nothing else


def _stamp(remote: RemoteFile) -> tuple[int, int]:
    """Return size and version of a remote shard."""
    return remote.size or 0, int(remote.path.name[:15], 16)


def _kept(entry: Path, root: Path, remote: Sequence[RemoteFile] | None) -> PackedIndex | None:
    """Return an index that still holds, or None."""
    try:
        with entry.open("rb") as file, np.load(file, allow_pickle=False) as value:
            about = load_json(value["about"].tobytes())
            shards = about["shards"]
            stamps = map(_stamp, remote) if remote is not None else (stamp_of(f"{root}/{shard}") for shard in shards)
            for place, stamp, now in zip(about["places"], value["stamps"].tolist(), stamps, strict=True):
                if [*now] != stamp or not Path(place).is_file():
                    return None

            def texts(name: str) -> Texts:
                return Texts(value[f"{name}.content"], value[f"{name}.ends"])

            return PackedIndex(
                root,
                tuple(shards),
                tuple(about["places"]),
                keys=texts("keys"),
                columns={kind: Column(value[f"{kind}.codes"], texts(kind)) for kind in about["columns"]},
                class_names=tuple(about["class_names"]),
                flaws=Flaws(**about["flaws"]),
                **{name: value[name] for name in ARRAYS},
            )
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, TypeError):
        return None
