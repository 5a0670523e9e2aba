"""The table of images with their inferred attributes, as every command takes it.

Of images that a table lists it is a copy of that table with more columns; of others it has the columns ``path``,
``label``, ``split`` and these. Drawn pictures are written as PNG files beside it. Groups are a class with and without
its shortcut, as pairs of label and attribute would be many and mostly tiny.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np
from PIL import Image

from starft.audit.attributes import InferredAttributes
from starft.audit.data_audit import DataAudit
from starft.audit.features import FeatureSet, LabelledImages
from starft.audit.inferred_groups import group_names
from starft.data.contents import ImageContents
from starft.data.datamodules import BaseDataModule
from starft.data.datasets.csv_file import PROBABILITY, CSVSource
from starft.data.datasets.more_columns import as_text, check_no_column, with_columns
from starft.data.datasets.packed import PackedSource
from starft.data.imageset import ImageSet
from starft.errors import ConfigError, RunFolderError
from starft.files.atomic import is_taken, replace_file
from starft.mini.datamodule import MiniPretraining, MiniWorld
from starft.mini.splits import PictureSet
from starft.runs.folder import check_writable

ATTRIBUTE, GROUP = "attribute", "group"


def check_table(path: Path, data: BaseDataModule) -> None:
    """Refuse a table that can't be written, before anything long starts.

    Args:
        path: Of the table.
        data: Of the config.

    Raises:
        ConfigError: It exists, or the images can't be listed in a table.
    """
    for taken in (path, pictures_folder(path)):
        if is_taken(taken):
            raise ConfigError(f"{taken} exists already; give another --to, or move it away.")
    source = table_of(data)
    suffix = source.file.suffix.lower() if source is not None else ".csv"
    if path.suffix.lower() != suffix:
        raise ConfigError(f"--to must name a {suffix} file; got {path}.")
    if source is not None:
        file, _ = source.table_file()
        check_no_column(file, (ATTRIBUTE, PROBABILITY, GROUP))
    elif isinstance(data, ImageContents):
        packed = [table for table in data.own_tables().values() if table.read or table.file_bytes or table.packed]
        if packed:
            raise ConfigError(
                f"The images below {packed[0].root} aren't files of their own, so no table can list them; leave out "
                "--to: the folder of --out keeps the attribute of each image. To train with it, unpack them into files "
                "and list these in a table for starft.data.CSV."
            )
    elif not isinstance(data, MiniWorld | MiniPretraining):
        raise ConfigError(f"{type(data).__name__} tells no files, so no table can list its images; leave out --to.")
    try:
        check_writable(path.parent)
    except RunFolderError as error:
        raise ConfigError(f"The folder of --to {path} can't be written to; give another.") from error


def table_of(data: BaseDataModule) -> CSVSource | None:
    """Return the source whose images one table file lists; None of others.

    Args:
        data: Of a config.
    """
    source = data.source if isinstance(data, ImageContents) else None
    return source if isinstance(source, CSVSource) and not isinstance(source, PackedSource) else None


def write_table(
    path: Path,
    data: BaseDataModule,
    images: Mapping[str, LabelledImages],
    sets: Mapping[str, FeatureSet],
    found: DataAudit,
) -> None:
    """Write the table in one step.

    Args:
        path: Of the table; it doesn't exist.
        data: Of the config.
        images: Of each set.
        sets: Their features.
        found: In them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    groups = group_names(found, {name: item.labels for name, item in sets.items()}, data.class_names)
    names = (ATTRIBUTE, PROBABILITY, *([GROUP] if groups is not None else []))
    cells = {name: _cells(found.inferred[name], groups[name] if groups is not None else None) for name in sets}
    if (source := table_of(data)) is not None:
        file, paths = source.table_file()
        known = {at: cell for name in sets for at, cell in zip(sets[name].paths, cells[name], strict=True)}
        columns = zip(*(known[at] for at in paths), strict=True)
        replace_file(path, with_columns(file, dict(zip(names, map(list, columns), strict=True))))
        return
    written = io.StringIO(newline="")
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(["path", "label", "split", *names])
    places = _drawn(path, images) if isinstance(images["train"], PictureSet) else _files(path, images)
    for name, features in sets.items():
        split = name.partition("/")[0]
        for at, (label, cell) in enumerate(zip(features.labels.tolist(), cells[name], strict=True)):
            writer.writerow([places[name][at], data.class_names[label], split, *map(as_text, cell)])
    replace_file(path, written.getvalue().encode())


def pictures_folder(path: Path) -> Path:
    """Return the folder that drawn pictures are written to.

    Args:
        path: Of the table.
    """
    return path.with_name(f"{path.stem}_images")


def _cells(inferred: InferredAttributes, groups: Sequence[str] | None) -> list[tuple[str | float, ...]]:
    values = [inferred.names[value] for value in inferred.values.tolist()]
    shares = [round(share, 4) for share in inferred.probabilities.tolist()]
    return list(zip(values, shares, *([groups] if groups is not None else []), strict=True))


def _files(path: Path, images: Mapping[str, LabelledImages]) -> dict[str, list[str]]:
    """Return where the images are: relative to the table's folder where all are below it, else absolute."""
    places: dict[str, list[Path]] = {}
    for name, item in images.items():
        assert isinstance(item, ImageSet), "the check has looked"
        places[name] = [(Path(item.table.root) / file).absolute() for file in item.table.paths]
    folder = path.parent.absolute()
    below = all(place.is_relative_to(folder) for some in places.values() for place in some)
    return {
        name: [(place.relative_to(folder) if below else place).as_posix() for place in some]
        for name, some in places.items()
    }


def _drawn(path: Path, images: Mapping[str, LabelledImages]) -> dict[str, list[str]]:
    """Write drawn pictures as PNG files; return where they are."""
    folder = pictures_folder(path)
    temporary = folder.with_name(f".{folder.name}.{uuid4().hex}.tmp")
    places: dict[str, list[str]] = {}
    for name, item in images.items():
        assert isinstance(item, PictureSet)
        split = name.partition("/")[0]
        (temporary / split).mkdir(parents=True)
        places[name] = [f"{folder.name}/{split}/{at}.png" for at in range(len(item))]
        for at, pixels in enumerate(item.pixels):
            picture = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
            Image.fromarray(picture).save(temporary / split / f"{at}.png")
    temporary.rename(folder)
    return places
