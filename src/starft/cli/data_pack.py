"""``starft data pack``: a config's data as shards."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

from rich.progress import Progress

from starft.data.check import complain
from starft.data.contents import ImageContents
from starft.data.packed.shard_writer import pack
from starft.data.source import ImageTable, Source
from starft.errors import ConfigError
from starft.files.addresses import address_of, shown
from starft.files.sizes import bytes_of
from starft.reporting.console import Console
from starft.safe_text import say
from starft.wording import count_of

SPLITS = ("train", "val", "test")
"""What shards are named for."""


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
        if address_of(options.to) is not None:
            raise ConfigError(
                f"--to {shown(options.to)} is remote, and shards are written to this machine; give a folder, and copy "
                "it when it is whole."
            )
        self.folder, self.shard_size, self.resize = (
            Path(options.to),
            bytes_of(options.shard_size, "--shard-size"),
            options.resize,
        )
        if self.resize is not None and self.resize < 1:
            raise ConfigError(f"--resize must be at least 1; got {self.resize}.")
        if self.folder.exists() and not self.folder.is_dir():
            raise ConfigError(f"--to {self.folder} is a file; give a folder.")

    def write(self, data: ImageContents) -> None:
        """Check and write the data of a config.

        Raises:
            DataError: They have problems, or a folder holds something else.
        """
        complain([item for item in data.check("fit", "test") if not item.extra])
        sets = _sets_of(data)
        folders = {name: self.folder / name if len(sets) > 1 else self.folder for name in sets}
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
            images = sum(len(table) for part in sets.values() for table in part.tables.values())
            task = progress.add_task("packing", total=images)
            for name, (source, tables, of) in sets.items():
                about = pack(
                    source,
                    tables,
                    folders[name],
                    self.shard_size,
                    self.resize,
                    data.on_bad_image == "skip",
                    lambda count: progress.advance(task, count),
                    of,
                )
                images = sum(shard["images"] for shard in about.shards)
                lie = f"{images:,} images lie in {count_of(len(about.shards), 'shard')} of {folders[name]}; "
                root, (split, *_) = f"root: {folders[name]}", tables
                if name == data.own_name:
                    say(f"{lie}train on them with class_path: starft.data.Packed and {root}, as in packed/starft.")
                else:
                    say(f"{lie}in evals they are source: starft.data.PackedSource with {root}, split: {split}.")


class _Part(NamedTuple):
    """What makes one packed data set.

    Args:
        source: Of the images.
        tables: By split.
        of: The source's name of a split that it calls otherwise.
    """

    source: Source
    tables: dict[str, ImageTable]
    of: dict[str, str]


def _sets_of(data: ImageContents) -> dict[str, _Part]:
    """Return the training data, and each eval set that they don't hold, by its name."""
    own = data.own_tables()
    sets = {data.own_name: _Part(data.source, own, {})}
    for item in data.evals:
        if item.source is not data.source or item.split not in own:
            name = f"{item.name}-{item.stage}" if item.name in sets else item.name
            split = item.split if item.split in SPLITS else "test"
            sets[name] = _Part(item.source, {split: data.table(item.source, item.split)}, {split: item.split})
    return sets
