"""Writing tar shards of a data set that is listed: its images as they are, and what is said of each.

A shard is written beside its place and put there when it is whole; ``packed.json`` then lists it. A writing that was
killed goes on behind the last shard that is listed.
"""

import json
import os
import tarfile
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields, replace
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from starft.data.facts import facts_of
from starft.data.images import BadImageError, read_image
from starft.data.packed.description import NAME, Description, read_description, write_description
from starft.data.picture_files import ending_of, picture_endings
from starft.data.source import ImageTable, Source
from starft.errors import DataError
from starft.files.atomic import files_in, remove_temporary_files, sync
from starft.types import EvalSet

ENDINGS = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp",
    "JPEG2000": ".jp2",
    "AVIF": ".avif",
}
"""Format -> ending of a file that had none that says it."""
QUALITY = 95
"""Of JPEGs that are resized; their colours stay at full resolution."""
DERIVED = {"name", "class_names", "templates", "group_names", "num_attributes"}
"""What of an `EvalSet` a packed source makes itself."""


def pack(
    source: Source,
    tables: Mapping[str, ImageTable],
    folder: Path,
    shard_size: int,
    resize: int | None = None,
    keep_bad: bool = False,
    advance: Callable[[int], None] = lambda count: None,
    of: Mapping[str, str] | None = None,
) -> Description:
    """Write the splits of a source as shards; go on where an earlier writing was killed.

    Args:
        source: The data set.
        tables: Images of each split.
        folder: Where to; made if need be.
        shard_size: Bytes from which on a shard is full.
        resize: Pixels that the shorter side of a picture is to have at most; None copies files as they are.
        keep_bad: Whether an image that can't be resized is copied as it is.
        advance: Told how many more images lie in shards.
        of: The source's name of a split that it calls otherwise.

    Returns:
        What was written.

    Raises:
        DataError: The folder holds something else, or an image can't be read.
    """
    start = _described(source, tables, of or {})
    start = replace(start, of=_digest(start, tables, shard_size, resize))
    about = _begun(folder, start, tables)
    done = {split: sum(shard["images"] for shard in about.shards if shard["split"] == split) for split in tables}
    advance(sum(done.values()))
    for split, table in tables.items():
        keys = _keys(table)
        attributes = source.attribute_names
        at = done[split]
        while at < len(table):
            name, first = _name(split, _written(about, split)), at
            temporary = folder / f".{name}.{uuid.uuid4().hex}.tmp"
            try:
                with tarfile.open(temporary, "x") as shard:
                    while at < len(table) and (at == first or shard.offset < shard_size):
                        content, ending = _image(table, at, resize, keep_bad)
                        _add(shard, f"{keys[at]}{ending}", content)
                        _add(shard, f"{keys[at]}.json", _annotation(source, table, at, split, attributes))
                        at += 1
                        advance(1)
                sync(temporary)
                temporary.replace(folder / name)
                sync(folder)
            except OSError as error:
                raise OSError(error.errno, error.strerror, os.fspath(folder / name)) from error
            finally:
                temporary.unlink(missing_ok=True)
            size = (folder / name).stat().st_size
            entry = {"file": name, "split": split, "images": at - first, "bytes": size}
            about = replace(about, shards=(*about.shards, entry))
            write_description(folder, about)
    about = replace(about, complete=True)
    write_description(folder, about)
    return about


def _name(split: str, number: int) -> str:
    return f"{split}-{number:06}.tar"


def _written(about: Description, split: str) -> int:
    return sum(shard["split"] == split for shard in about.shards)


def _described(source: Source, tables: Mapping[str, ImageTable], of: Mapping[str, str]) -> Description:
    scoring = {split: _scoring(source.eval_set("set", of.get(split, split))) for split in tables}
    names = source.class_names, source.templates, source.group_names, source.attribute_names
    return Description("", *names, scoring={split: said for split, said in scoring.items() if said})


def _scoring(scored: EvalSet) -> dict[str, Any]:
    """Return what a plain packed set couldn't know of how a model is scored."""
    return {
        field.name: value
        for field in fields(scored)
        if field.name not in DERIVED and (value := getattr(scored, field.name)) != field.default
    }


def _digest(about: Description, tables: Mapping[str, ImageTable], shard_size: int, resize: int | None) -> str:
    """Return a digest of everything that the shards depend on; of images their paths, sizes and times."""
    digests = [facts_of(table).digest() for table in tables.values()]
    captions = ("\0".join(table.captions) for table in tables.values() if table.captions)
    digests += [blake2b(text.encode("utf-8", "surrogateescape")).hexdigest() for text in captions]
    asked = (digests, [*tables], asdict(about), shard_size, resize)
    return blake2b(repr(asked).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()


def _begun(folder: Path, start: Description, splits: Iterable[str]) -> Description:
    """Return what lies there already of the same pack, or begin it."""
    folder.mkdir(parents=True, exist_ok=True)
    there = read_description(folder, unfinished=True)
    if there is None:
        beside = files_in(folder)
        if beside:
            raise DataError(f"{folder} holds other files, such as {beside[0].name}; give an empty folder with --to.")
        write_description(folder, start)
        return start
    if there.of != start.of:
        raise DataError(
            f"{folder} holds a pack of other images, labels, captions or options; give another folder with --to, or "
            "remove it."
        )
    for shard in there.shards:
        path = folder / shard["file"]
        if not path.is_file() or path.stat().st_size != shard["bytes"]:
            raise DataError(f"{path} isn't as {NAME} lists it; remove {folder} and pack again.")
    remove_temporary_files(folder, {_name(split, _written(there, split)) for split in splits})
    return there


def _keys(table: ImageTable) -> list[str]:
    """Return a key for each image: its path without the ending, as far as the layout and uniqueness allow it."""
    keys: dict[str, None] = {}
    for at, path in enumerate(table.paths):
        folder, slash, name = path.replace("#", "/").rpartition("/")
        ending = ending_of(name)
        stem = (name[: -len(ending)] if ending in picture_endings() else name).replace(".", "_")
        key = folder + slash + stem
        while key in keys:
            key += f"_{at}"
        keys[key] = None
    return [*keys]


def _annotation(source: Source, table: ImageTable, at: int, split: str, attributes: tuple[str, ...]) -> bytes:
    """Return the ``.json`` of an image."""
    label = int(table.labels[at])
    about: dict[str, Any] = {"split": split, "path": table.paths[at]}
    if source.class_names:  # else images are paired with their captions
        about = {"label": label, **about}
    if label < len(source.class_names):
        about["class"] = source.class_names[label]
    if table.groups is not None:
        about["group"] = int(table.groups[at])
        if attributes:
            about["attribute"] = attributes[about["group"] % len(attributes)]
    if table.captions is not None:
        about["caption"] = table.captions[at]
    return json.dumps(about).encode()


def _image(table: ImageTable, at: int, resize: int | None, keep_bad: bool) -> tuple[bytes, str]:
    """Return the bytes of an image and its ending."""
    path = table.location(at)
    if table.read is not None:  # no file of its own: the pixels are kept
        return _encoded(_smaller(table.read(path), resize), "PNG"), ".png"
    try:
        content = Path(path).read_bytes() if table.file_bytes is None else table.file_bytes(path)
    except OSError as error:
        raise DataError(f"The image {path} can't be read: {error.strerror}; mend or remove it.") from error
    ending, form = ending_of(path.rpartition("/")[2]), _format(content)
    if resize is not None:
        try:
            picture = read_image(path, lambda _: content)
        except BadImageError:
            if not keep_bad:
                raise
        else:
            smaller = _smaller(picture, resize)
            if smaller is not picture:
                form = "JPEG" if form in ("JPEG", "WEBP", "MPO") else "PNG"
                return _encoded(smaller, form), ENDINGS[form]
    return content, ending if ending in picture_endings() else ENDINGS.get(form or "JPEG", ".tif")


def _format(content: bytes) -> str | None:
    try:
        with Image.open(BytesIO(content)) as opened:
            return opened.format
    except Exception:  # Pillow's readers share no base; a bad image is copied as it is
        return None


def _smaller(picture: Image.Image, resize: int | None) -> Image.Image:
    if resize is None or min(picture.size) <= resize:
        return picture
    factor = resize / min(picture.size)
    width, height = (max(1, round(side * factor)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def _encoded(picture: Image.Image, form: str) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, form, **({"quality": QUALITY, "subsampling": 0} if form == "JPEG" else {}))
    return buffer.getvalue()


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    shard.addfile(member, BytesIO(content))
