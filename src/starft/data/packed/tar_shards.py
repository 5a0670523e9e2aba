"""Samples of a tar shard in WebDataset's layout: ``KEY.jpg`` beside ``KEY.json``, ``KEY.cls`` or ``KEY.txt``.

The headers are read here: Python's tarfile takes 37 microseconds a member, more than a minute for a million images with
a label each, and this 6. ``webdataset``'s own wids keeps dictionaries of members in each worker process, which grow
over an epoch, and looks neither at the size nor at the end of a shard.
"""

from collections.abc import Collection, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from zlib import adler32

import numpy as np

from starft.data.packed.samples import NOWHERE, Columns, Flaws, Sample
from starft.data.picture_files import picture_endings
from starft.errors import DataError
from starft.files.atomic import load_json

BLOCK = 512
FILES = b"0\0" + b"7"
"""Types of members that are files."""
ADLER = 65521
"""What Adler's checksum sums bytes by, plus 1."""
ARRAY = "npy"
"""Ending of NumPy's arrays; ``npy.0`` is the first number of one."""
COMPRESSED = {b"\x1f\x8b": "gzip -d", b"BZh": "bzip2 -d", b"\xfd7zXZ": "xz -d", b"\x28\xb5\x2f\xfd": "zstd -d"}
"""How compressed files begin, and what unpacks them."""


class Member(NamedTuple):
    """One file in a tar file.

    Args:
        name: As it is written.
        offset: Where its bytes begin.
        length: How many there are.
    """

    name: str
    offset: int
    length: int


def tar_samples(path: Path, name: str, columns: Columns, image: str | None, flaws: Flaws) -> Iterator[Sample]:
    """Yield the samples of a shard; of those without an image too, and of a shard that is cut those that are whole.

    Args:
        path: The shard.
        name: What messages call it.
        columns: Endings of text members, fields of the ``.json``, and numbers of the ``.npy`` (``npy.0`` is the first),
            that say something of an image.
        image: Ending of the image; None takes the only one that is a picture's.
        flaws: Told what is wrong.

    Raises:
        DataError: It isn't a tar file, or a key has several pictures.
    """
    kinds = [(name, kind) for kind, names in columns.items() for name in names[::-1]]  # the first name counts
    endings, pictures = {name for name, _ in kinds}, {ending[1:] for ending in picture_endings()}
    numbers = [name for name in endings if name.startswith(f"{ARRAY}.")]
    endings |= {ARRAY} if numbers else set()
    key: str | None = None
    offset, length, chosen = NOWHERE, 0, ""
    fields: dict[str, Any] = {}
    with path.open("rb") as file:
        for member in _members(file, path, name, flaws):
            this, ending = _parted(member.name)
            if this is None:
                continue
            if this != key:
                if key is not None:
                    yield Sample(key, offset, length, {kind: fields[name] for name, kind in kinds if name in fields})
                key, offset, length, chosen, fields = this, NOWHERE, 0, "", {}
            if ending == image or (image is None and ending in pictures):
                if chosen == ending:
                    flaws.add("twice", f"{name}#{member.name}")
                elif chosen:
                    raise DataError(
                        f"{path} holds two pictures of the key {key}, {chosen} and {ending}; "
                        "name the one to take with data.init_args.image_column."
                    )
                else:
                    offset, length, chosen = member.offset, member.length, ending
            elif ending == "json":
                try:
                    fields = {**load_json(_content(file, member)), **fields}
                except (ValueError, TypeError):  # not JSON, or no object
                    flaws.add("json", f"{name}#{member.name}")
            elif ending in endings:
                content = _content(file, member)
                fields |= _numbers(content, numbers) if ending == ARRAY else {ending: _text(content)}
    if key is not None:
        yield Sample(key, offset, length, {kind: fields[name] for name, kind in kinds if name in fields})


def _content(file: BinaryIO, member: Member) -> bytes:
    file.seek(member.offset)
    return file.read(member.length)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace").strip()


def _numbers(content: bytes, names: Collection[str]) -> dict[str, Any]:
    """Return numbers of an array, as far as it has them, by ``npy.`` and their place."""
    try:
        values = np.load(BytesIO(content), allow_pickle=False).ravel().tolist()
    except (ValueError, EOFError):
        return {}
    places = {name: name.removeprefix(f"{ARRAY}.") for name in names}
    return {name: values[int(at)] for name, at in places.items() if at.isdecimal() and int(at) < len(values)}


def _parted(name: str) -> tuple[str | None, str]:
    """Return the key of a member, up to the first dot of its name, and its ending; no key of what is no sample's."""
    folder, slash, last = name.removeprefix("./").rpartition("/")
    stem, dot, ending = last.partition(".")
    return (folder + slash + stem, ending.lower()) if stem and dot else (None, "")


def _members(file: BinaryIO, path: Path, name: str, flaws: Flaws) -> Iterator[Member]:
    """Yield the files of a tar file in their order."""
    size = file.seek(0, 2)
    at, long = 0, ""
    while at + BLOCK <= size:
        file.seek(at)
        header = file.read(BLOCK)
        if not header[0] and not any(header):
            return
        length = _length(header) if _is_sound(header) else -1
        if length < 0 and at == 0:
            raise DataError(_not_tar(path, header))
        if length < 0 or at + BLOCK + length > size:
            break
        kind = header[156]
        if kind in b"xL":
            long = _long_name(file.read(length), kind) or long
        elif kind in FILES:
            yield Member(long or _name(header), at + BLOCK, length)
            long = ""
        elif kind not in b"g":
            long = ""
        at += BLOCK + (length + BLOCK - 1) // BLOCK * BLOCK
    if size == 0:
        raise DataError(f"The shard {path} is empty (0 bytes); get it again.")
    flaws.add("cut", f"{name} at byte {at:,} of {size:,}")


def _is_sound(header: bytes) -> bool:
    """Return whether the sum of a header is as it says, modulo 65521: Adler's checksum takes a tenth of the time."""
    field = header[148:156]  # counted as spaces
    try:
        return (adler32(header) % 2**16 - 1 - sum(field) + 8 * 32 - int(field.strip(b"\0 "), 8)) % ADLER == 0
    except ValueError:
        return False


def _length(header: bytes) -> int:
    field = header[124:136]
    if field[0] & 0x80:  # of 8 GiB and more
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.strip(b"\0 ") or b"0", 8)
    except ValueError:
        return -1


def _name(header: bytes) -> str:
    name = header[:100].rstrip(b"\0")
    prefix = header[345:500].rstrip(b"\0") if header[345] and header[257:263] == b"ustar\0" else b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "surrogateescape")


def _long_name(content: bytes, kind: int) -> str:
    """Return the name that a header of its own holds: GNU's, or the path among pax's records."""
    if kind == ord("L"):
        return content.rstrip(b"\0").decode("utf-8", "surrogateescape")
    while content:
        digits, _, rest = content.partition(b" ")
        if not digits.isdigit() or not 0 < int(digits) <= len(content):
            break
        record = rest[: int(digits) - len(digits) - 2]
        if record.startswith(b"path="):
            return record[5:].decode("utf-8", "surrogateescape")
        content = content[int(digits) :]
    return ""


def _not_tar(path: Path, header: bytes) -> str:
    for start, command in COMPRESSED.items():
        if header.startswith(start):
            return (
                f"The shard {path} is compressed, so that no image can be read by itself; unpack it with `{command}`."
            )
    return f"The shard {path} isn't a tar file; get it again, or give data.init_args.shards without it."
