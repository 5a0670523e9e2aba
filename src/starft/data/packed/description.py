"""``packed.json``: what `starft data pack` writes beside its shards, of the set as a whole."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from starft.errors import DataError
from starft.files.addresses import address_of, shown
from starft.files.atomic import load_json, replace_file
from starft.files.remote import local_copy
from starft.files.stores import NotThere, Refused

NAME = "packed.json"
VERSION = 1


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
        about = Description(**{key: _tuples(value) for key, value in load_json(path.read_bytes()).items()})
        if about.schema_version != VERSION:
            raise ValueError(f"its schema_version is {about.schema_version}, and this starft knows {VERSION}")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{name} can't be read: {error}; pack the data again, into another folder.") from error
    if not (about.complete or unfinished):
        raise DataError(f"{shown(folder)} is packed in part only; run the same `starft data pack` again to finish it.")
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
