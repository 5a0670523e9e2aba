"""Which shards there are, and the split that each is of."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from starft.data.packed.description import read_description
from starft.data.packed.scan import SUFFIXES
from starft.data.problem_texts import some
from starft.data.split_names import Given, splits_of
from starft.errors import ConfigError, DataError
from starft.files.addresses import address_of, shown
from starft.files.remote import listed_below, local_copy
from starft.files.stores import NotThere, Refused

HUB = "hf://"


class Shards(NamedTuple):
    """Shards in the order in which they are read.

    Args:
        root: Folder that they are below.
        files: Their POSIX paths.
        splits: What names the split of each; None where nothing does.
    """

    root: Path
    files: tuple[str, ...]
    splits: tuple[str, ...] | None


def find_shards(root: str, patterns: Sequence[str], given: Given | None = None) -> Shards:
    """Return the shards below a folder, or those of a data set of the Hub.

    A shard is of the split that its file or a folder above it is called by, such as ``train`` in
    ``data/train-00000-of-00004.parquet``.

    Args:
        root: A folder, perhaps a remote one, or ``hf://OWNER/NAME``.
        patterns: Of the paths below the folder; none takes all with an ending of shards, of a web server those that
            ``packed.json`` names.
        given: What a person says of splits; shards of others are left out then.

    Raises:
        DataError: There is none, or only some tell their split.
    """
    if root.lower().endswith(SUFFIXES) and not Path(root).is_dir():
        folder, _, name = shown(root).rpartition("/")
        raise DataError(
            f"{shown(root)} is one shard, and data.init_args.root takes the folder of shards; give {folder or '.'} as "
            f"root, and data.init_args.shards {name}."
            + (f" A folder of that name is {shown(root)}/." if address_of(root) is not None else "")
        )
    if is_hub_name(root):
        by_split = _of_hub(root)
        top = Path(os.path.commonpath([os.path.dirname(file) for files in by_split.values() for file in files]))  # noqa: PTH120
        pairs = [
            (Path(file).relative_to(top).as_posix(), [split]) for split, files in by_split.items() for file in files
        ]
    else:
        names = [name for pattern in patterns for name in _without_range(pattern)]
        top, files = Path(root), (_of_folder if address_of(root) is None else _of_server)(root, names)
        pairs = [(path, _words(path)) for path in files]
    if not pairs:
        like = f" like {some([*patterns])}" if patterns else ""
        raise DataError(f"{shown(root)} holds no shards{like}; they end in {', '.join(SUFFIXES)}.")
    meant = splits_of([word for _, words in pairs for word in words], given)
    named = [(path, next((word for word in words if word in meant), None)) for path, words in pairs]
    without = [path for path, word in named if word is None]
    if len(without) == len(named):
        return Shards(top, tuple(without), None)
    if without and given is None:
        known = next(path for path, word in named if word is not None)
        raise DataError(
            f"Of the {len(named)} shards of {shown(root)} some tell their split by name, such as {known}, and "
            f"{len(without)} don't: {some(without)}; rename them, or give data.init_args.shards."
        )
    chosen = [(path, word) for path, word in named if word is not None]
    return Shards(top, tuple(path for path, _ in chosen), tuple(word for _, word in chosen))


def is_hub_name(root: str) -> bool:
    """Return whether a root names a data set of the Hub for the library ``datasets``: ``hf://OWNER/NAME``.

    Args:
        root: As a person gave it; ``hf://datasets/OWNER/NAME`` is a folder of files.
    """
    return root.startswith(HUB) and not root.startswith(f"{HUB}datasets/")


def lines_beside(root: str, name: str) -> tuple[str, ...]:
    """Return the lines of a text file beside shards; nothing where it isn't there.

    Args:
        root: A folder, perhaps a remote one.
        name: Of the file.

    Raises:
        DataError: It can't be read.
    """
    address = address_of(root)
    try:
        path = Path(root) / name if address is None else local_copy(f"{address.rstrip('/')}/{name}")
        text = path.read_text(encoding="utf-8-sig")
    except (NotThere, Refused, FileNotFoundError):
        return ()
    except (OSError, ValueError) as error:
        raise DataError(f"{shown(root)}/{name} can't be read: {error}; mend or remove it.") from error
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _of_folder(root: str, patterns: Sequence[str]) -> list[str]:
    """Return the shards below a folder of this machine."""
    if "://" in root:
        raise ConfigError(
            f"The address {shown(root)} can't be read; data.init_args.root takes a folder, {HUB}OWNER/NAME, or the "
            "address of a folder that begins with s3://, gs://, https:// or hf://datasets/."
        )
    folder = Path(root)
    if not folder.is_dir():
        raise DataError(
            f"There is no folder {folder} of shards; check its path, or give yours with --data.init_args.root."
        )
    files = {file for pattern in patterns or ("**/*",) for file in folder.glob(pattern) if file.is_file()}
    paths = [file.relative_to(folder).as_posix() for file in sorted(files)]
    return [path for path in paths if _is_shard(path, patterns)]


def _of_server(root: str, patterns: Sequence[str]) -> list[str]:
    """Return the shards below a remote folder: those that are named, else those that the server lists."""
    address = str(address_of(root)).rstrip("/")
    named = bool(patterns) and not any(character in name for name in patterns for character in "*?[")
    if named:  # where a store may not be listed, too
        return [*patterns]
    if address.startswith("http"):
        about = None if patterns else read_description(Path(address))
        if about is None:
            raise DataError(
                f"{shown(address)} is on a web server, which lists no files; name its shards with "
                "data.init_args.shards, such as train-{000000..000009}.tar."
            )
        return [str(shard["file"]) for shard in about.shards]
    there = {path for pattern in patterns or (None,) for path in listed_below(address, pattern)}
    return sorted(path for path in there if _is_shard(path, patterns))


def _without_range(pattern: str) -> list[str]:
    """Return the names that a range in braces stands for, as people write them of shards: ``train-{000..012}.tar``."""
    match = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if match is None:
        return [pattern]
    numbers = range(int(match[1]), int(match[2]) + 1)
    return [f"{pattern[: match.start()]}{number:0{len(match[1])}}{pattern[match.end() :]}" for number in numbers]


def _is_shard(path: str, patterns: Sequence[str]) -> bool:
    name = path.rpartition("/")[2]
    return not name.startswith(".") and (bool(patterns) or name.lower().endswith(SUFFIXES))


def _words(path: str) -> list[str]:
    """Return the words of a path's names, those of the file first."""
    return [word for name in path.split("/")[::-1] for word in re.split(r"[^A-Za-z]+", name) if word]


def _of_hub(address: str) -> Mapping[str, Sequence[str]]:
    """Return the Arrow files of each split, which ``datasets`` downloads and writes into its own cache."""
    try:
        import datasets  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise DataError(
            f"{address} needs the library datasets; install it with `pip install 'starft[hub]'`."
        ) from error
    name, _, config = address.removeprefix(HUB).removeprefix("datasets/").partition(":")
    name, _, revision = name.partition("@")
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(name, config or None, revision=revision or None)
    except Exception as error:  # of datasets, of the hub's client, of the connection: they share no base
        why = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise DataError(f"{address} can't be loaded: {why[:300]}; check its name, or your connection.") from error
    return {str(split): [str(entry["filename"]) for entry in part.cache_files] for split, part in loaded.items()}
