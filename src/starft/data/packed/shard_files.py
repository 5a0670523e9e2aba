"""Which shards there are, and the split that each is of."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from starft.data.packed.scan import SUFFIXES
from starft.data.problem_texts import some
from starft.data.split_names import Given, splits_of
from starft.errors import ConfigError, DataError

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
        root: A folder, or ``hf://OWNER/NAME``.
        patterns: Of the paths below the folder; none takes all with an ending of shards.
        given: What a person says of splits; shards of others are left out then.

    Raises:
        DataError: There is none, or only some tell their split.
    """
    if root.startswith(HUB):
        by_split = _of_hub(root)
        top = Path(os.path.commonpath([os.path.dirname(file) for files in by_split.values() for file in files]))  # noqa: PTH120
        pairs = [
            (Path(file).relative_to(top).as_posix(), [split]) for split, files in by_split.items() for file in files
        ]
    else:
        top = local_folder(root)
        files = sorted(
            {file for pattern in patterns or ("**/*",) for file in top.glob(pattern) if _is_shard(file, patterns)}
        )
        pairs = [(path := file.relative_to(top).as_posix(), _words(path)) for file in files]
    if not pairs:
        like = f" like {some([*patterns])}" if patterns else ""
        raise DataError(f"{root} holds no shards{like}; they end in {', '.join(SUFFIXES)}.")
    meant = splits_of([word for _, words in pairs for word in words], given)
    named = [(path, next((word for word in words if word in meant), None)) for path, words in pairs]
    without = [path for path, word in named if word is None]
    if len(without) == len(named):
        return Shards(top, tuple(without), None)
    if without and given is None:
        known = next(path for path, word in named if word is not None)
        raise DataError(
            f"Of the {len(named)} shards of {root} some tell their split by name, such as {known}, and "
            f"{len(without)} don't: {some(without)}; rename them, or give data.init_args.shards."
        )
    chosen = [(path, word) for path, word in named if word is not None]
    return Shards(top, tuple(path for path, _ in chosen), tuple(word for _, word in chosen))


def local_folder(address: str) -> Path:
    """Return the folder that holds the shards of an address; the one place where addresses become paths.

    Args:
        address: A folder.

    Raises:
        DataError: It isn't there.
        ConfigError: It is of a kind that can't be read.
    """
    if "://" in address:
        raise ConfigError(
            f"The address {address} can't be read; data.init_args.root takes a folder, or {HUB}OWNER/NAME."
        )
    folder = Path(address)
    if not folder.is_dir():
        raise DataError(
            f"There is no folder {folder} of shards; check its path, or give yours with --data.init_args.root."
        )
    return folder


def _is_shard(file: Path, patterns: Sequence[str]) -> bool:
    return file.is_file() and not file.name.startswith(".") and (bool(patterns) or file.suffix.lower() in SUFFIXES)


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
