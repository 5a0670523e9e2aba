"""``starft data pack``: a config's data as shards."""

import re
import sys
from pathlib import Path
from typing import Any

from rich.progress import Progress

from starft.data.check import complain
from starft.data.contents import ImageContents
from starft.data.packed.shard_writer import pack
from starft.errors import ConfigError
from starft.reporting.console import Console
from starft.safe_text import say
from starft.wording import count_of

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


class Packing:
    """What a command asks for, looked at before data are.

    Args:
        options: Of the command: ``to``, ``shard_size``, ``resize``.

    Raises:
        ConfigError: One can't be used.
    """

    def __init__(self, options: Any) -> None:
        if options.to is None:
            raise ConfigError("`starft data pack` needs --to DIR, a folder for the shards.")
        self.folder, self.shard_size, self.resize = Path(options.to), size_of(options.shard_size), options.resize
        if self.resize is not None and self.resize < 1:
            raise ConfigError(f"--resize must be at least 1; got {self.resize}.")
        if self.folder.exists() and not self.folder.is_dir():
            raise ConfigError(f"--to {self.folder} is a file; give a folder.")

    def write(self, data: ImageContents) -> None:
        """Check and write the data of a config.

        Raises:
            DataError: They have problems, or the folder holds something else.
        """
        complain([item for item in data.check("fit", "test") if not item.extra])
        tables = data.own_tables()
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("packing", total=sum(map(len, tables.values())))
            about = pack(
                data.source,
                tables,
                self.folder,
                self.shard_size,
                self.resize,
                data.on_bad_image == "skip",
                lambda count: progress.advance(task, count),
            )
        images = sum(shard["images"] for shard in about.shards)
        say(
            f"{images:,} images lie in {count_of(len(about.shards), 'shard')} of {self.folder}; train on them with "
            f"class_path: starft.data.Packed and root: {self.folder}, as in packed/starft."
        )


def size_of(text: str) -> int:
    """Return a number of bytes as people write it.

    Args:
        text: Such as ``256MB``.

    Raises:
        ConfigError: It isn't one, or is too small for a shard.

    Example:
        >>> size_of("256MB"), size_of("1GiB"), size_of("100000")
        (256000000, 1073741824, 100000)
    """
    match = re.fullmatch(r"(\d+)\s*([KMG]I?B|)", text.strip().upper())
    size = int(match[1]) * UNITS[match[2]] if match else 0
    if size < 1:
        raise ConfigError(f"--shard-size must be a size such as 256MB or 1GB; got {text!r}.")
    return size
