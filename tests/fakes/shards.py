"""Shards as strangers write them: tar files by Python's own tarfile, tables by pyarrow."""

import json
import tarfile
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from fakes.own_images import CLASSES, PLACES

Part = tuple[str, bytes]


def picture(seed: int, form: str = "jpeg") -> bytes:
    """A small picture of one grey, another for each seed, as a file."""
    buffer = BytesIO()
    Image.fromarray(np.full((20, 24, 3), 5 * seed % 255, dtype=np.uint8)).save(buffer, form)
    return buffer.getvalue()


def write_tar(path: Path, parts: Sequence[Part], form: int = tarfile.USTAR_FORMAT) -> Path:
    """Write members in their order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as file:
        for name, content in parts:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, BytesIO(content))
    return path


def samples(count: int, start: int = 0, **said: Any) -> list[Part]:
    """Shoes that take turns in class and place, each a picture with a ``.json``."""
    parts: list[Part] = []
    for number in range(start, start + count):
        about = {"label": CLASSES[number % 2], "attribute": PLACES[number // 2 % 2], **said}
        parts += [(f"shoes/{number:03}.jpg", picture(number)), (f"shoes/{number:03}.json", json.dumps(about).encode())]
    return parts


def write_shards(folder: Path, **counts: int) -> Path:
    """Write ``SPLIT-000000.tar`` with so many shoes each."""
    start = 0
    for split, count in counts.items():
        write_tar(folder / f"{split}-000000.tar", samples(count, start))
        start += count
    return folder


def image_table(
    labels: Sequence[int],
    names: Sequence[str] = CLASSES,
    others: Mapping[str, Sequence[str]] | None = None,
    **columns: Sequence[Any],
) -> pa.Table:
    """A table as ``datasets`` writes it: a struct of bytes and path a row, class names in the metadata.

    ``others`` has the names of more columns of classes.
    """
    images = [{"bytes": picture(number, "png"), "path": None} for number in range(len(labels))]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array(images, kind), "label": pa.array(labels, pa.int64()), **columns})
    features: dict[str, Any] = {"image": {"_type": "Image"}}
    for column, known in {"label": names, **(others or {})}.items():
        features[column] = {"_type": "ClassLabel", "names": [*known]}
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def write_table_file(path: Path, table: pa.Table, **options: Any) -> Path:
    """Write a table as Parquet or as one of Arrow's two kinds of files, by the ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=3)
        return path
    new = pa.ipc.new_file if path.suffix == ".feather" else pa.ipc.new_stream
    with new(path, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=3)
    return path


def clip_benchmark(folder: Path, names: Sequence[str] = CLASSES) -> Path:
    """Write a test set as CLIP_benchmark's copies on the Hub: numbers as labels, names and templates beside them."""
    for shard in range(2):
        parts: list[Part] = []
        for number in (0, 1):
            key = f"s{2 * shard + number:07}"
            parts += [(f"{key}.webp", picture(number, "webp")), (f"{key}.cls", b"%d" % number)]
        write_tar(folder / "test" / f"{shard}.tar", parts)
    (folder / "test" / "nshards.txt").write_text("2")
    (folder / "classnames.txt").write_text("\n".join(names), encoding="utf-8")
    (folder / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\nart of the {c}.\n")
    return folder


def wilds_copy(folder: Path, names: Sequence[str] = CLASSES) -> Path:
    """Write a test set of WILDS as its copies on the Hub: beside each image the row of its metadata, region first."""
    parts: list[Part] = []
    for number, row in enumerate(((3, 14, 1, 0), (1, 14, 0, 0), (3, 15, 0, 0), (5, 14, 1, 0))):
        array = BytesIO()
        np.save(array, np.array(row, dtype=np.int64))
        key = f"s{number:07}"
        parts += [
            (f"{key}.cls", b"%d" % row[2]),
            (f"{key}.npy", array.getvalue()),
            (f"{key}.png", picture(number, "png")),
        ]
    write_tar(folder / "test" / "0.tar", parts)
    (folder / "test" / "nshards.txt").write_text("1")
    (folder / "classnames.txt").write_text("\n".join(names), encoding="utf-8")
    (folder / "zeroshot_classification_templates.txt").write_text("a photo of {c}.\n{c} in the wild.\n")
    return folder


def hub_waterbirds(folder: Path) -> Path:
    """Write Waterbirds as a copy on the Hub, four images a split: columns of classes, and one of species."""
    for split in ("train", "validation", "test"):
        others = {"place": ("land", "water"), "bird": ("Black_footed_Albatross", "Wren")}
        table = image_table([0, 1, 1, 0], ("landbird", "waterbird"), others, place=[0, 1, 0, 1], bird=[1, 0, 0, 1])
        write_table_file(folder / "data" / f"{split}-00000-of-00001.parquet", table)
    return folder


def hub_celeba(folder: Path) -> Path:
    """Write CelebA as a copy on the Hub, four images a split: no classes, a boolean for each of the face's traits."""
    for split in ("train", "valid", "test"):
        traits = {"celeb_id": [7] * 4, "Blond_Hair": [True, False] * 2, "Male": [True, True, False, False]}
        table = image_table([0] * 4, **traits).drop_columns(["label"])
        write_table_file(folder / "img_align+identity+attr" / f"{split}-00000-of-00001.parquet", table)
    return folder
