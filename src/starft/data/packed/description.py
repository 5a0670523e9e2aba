"""``packed.json``: what `starft data pack` writes beside its shards, of the set as a whole."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from starft.errors import DataError
from starft.files.addresses import address_of, shown
from starft.files.atomic import load_json, replace_file
from starft.files.remote import local_copy
from starft.files.stores import NotThere, Refused
from starft.types import EvalSet

NAME = "packed.json"
VERSION = 1
SHARD = {"file", "split", "images", "bytes"}
"""What is said of a shard."""


@dataclass(frozen=True)
class Description:
    """A packed data set.

    Args:
        of: Digest of what is packed, and how: another one means another pack.
        class_names: In label order; labels of samples are positions in it.
        templates: Caption templates.
        group_names: In the order of group ids; groups of samples are these ids.
        attribute_names: Where groups are pairs of class and attribute.
        scoring: For each split, what of its `EvalSet` is unlike a plain one's.
        shards: Those that are whole: ``file``, ``split``, ``images`` and ``bytes`` of each.
        complete: Whether these are all.
        schema_version: Of this file.
    """

    of: str
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    group_names: tuple[str, ...] = ()
    attribute_names: tuple[str, ...] = ()
    scoring: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    shards: tuple[Mapping[str, Any], ...] = ()
    complete: bool = False
    schema_version: int = VERSION


def read_description(folder: Path, unfinished: bool = False) -> Description | None:
    """Return what describes the shards of a folder, or None where nothing does.

    Args:
        folder: That holds the shards, perhaps a remote one.
        unfinished: Whether half a pack will do.

    Raises:
        DataError: It can't be read, or the shards aren't all there yet.
    """
    path = folder / NAME
    name, address = shown(path), address_of(path)
    try:
        path = path if address is None else local_copy(address)
    except (NotThere, Refused):  # where shards are refused too, that is told of them
        return None
    if not path.is_file():
        return None
    try:
        about = _description(load_json(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise DataError(f"{name} can't be read: {error}; pack the data again, into another folder.") from error
    if not (about.complete or unfinished):
        raise DataError(f"{shown(folder)} is packed in part only; run the same `starft data pack` again to finish it.")
    return about


def _description(content: Any) -> Description:
    """Return what a file holds.

    Raises:
        ValueError: It describes no packed data.
    """
    if not isinstance(content, dict):
        raise ValueError("it holds no object")
    version, known = content.get("schema_version"), {item.name for item in fields(Description)}
    if version != VERSION:
        raise ValueError(f"its schema_version is {version}, and this starft knows {VERSION}")
    if content.keys() != known:
        raise ValueError(f"it must have {', '.join(sorted(known))}, and has {', '.join(map(str, content))}")
    about = Description(**{key: _tuples(value) for key, value in content.items()})
    lists = about.class_names, about.templates, about.group_names, about.attribute_names
    if not all(isinstance(texts, tuple) and all(isinstance(text, str) for text in texts) for texts in lists):
        raise ValueError("its names and templates must be lists of texts")
    scored = {item.name for item in fields(EvalSet)}
    said = [*about.scoring.values()] if isinstance(about.scoring, dict) else [None]
    if not all(isinstance(item, dict) and item.keys() <= scored for item in said):
        raise ValueError("its scoring must say of splits what an EvalSet has")
    shards = about.shards if isinstance(about.shards, tuple) else [None]
    if not all(isinstance(shard, dict) and shard.keys() == SHARD for shard in shards):
        raise ValueError(f"its shards must have {', '.join(sorted(SHARD))} each")
    return about


def write_description(folder: Path, about: Description) -> None:
    """Write what describes the shards of a folder, in one step.

    Args:
        folder: That holds the shards.
        about: What to write.
    """
    replace_file(folder / NAME, json.dumps(asdict(about), indent=1, ensure_ascii=False).encode())


def _tuples(value: Any) -> Any:
    """Return JSON with tuples for its lists, as an `EvalSet` has them."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
