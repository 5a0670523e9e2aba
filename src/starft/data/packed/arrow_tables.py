"""Images in Parquet and Arrow tables, in the layout of Hugging Face ``datasets``: a struct of bytes and path a row.

Where an image's bytes lie in an Arrow file is known once and for all, as in a tar shard. Parquet stores rows in
compressed groups, of which one image would cost all, so the images of a Parquet file, or of a compressed Arrow
file, are copied once into the cache folder; ``datasets`` itself writes such files anew, too.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from starft.data.packed.samples import NOWHERE, Columns, Sample
from starft.data.problem_texts import some
from starft.errors import DataError
from starft.files.atomic import load_json
from starft.wording import did_you_mean, shortened

PARQUET, ARROW = (".parquet", ".pq"), (".arrow", ".feather")
ROWS = 256
"""Of a Parquet file that are read at a time."""


class ImageRows:
    """One table of images.

    Args:
        path: A Parquet or an Arrow file, told by its ending.
        columns: Columns that say something of an image.
        image: Column of the images; None takes the one that the table says to hold them, or else the first that can.

    Raises:
        DataError: It can't be read, lacks a column, or pyarrow isn't installed.
    """

    def __init__(self, path: Path, columns: Columns, image: str | None = None) -> None:
        self.path = path
        try:
            import pyarrow as pa  # noqa: PLC0415  # an extra
            import pyarrow.parquet as pq  # noqa: PLC0415
        except ImportError as error:
            raise DataError(
                f"Reading {path} needs pyarrow; install it with `pip install 'starft[parquet]'`."
            ) from error
        self._pa, self._pq, self._is_parquet = pa, pq, path.suffix.lower() in PARQUET
        with self._told():
            schema = pq.read_schema(path) if self._is_parquet else self._reader(self._mapped()).schema
        self._types = dict(zip(schema.names, schema.types, strict=True))
        self._features = _features(schema.metadata or {})
        self._image = self._image_column(image)
        self._columns = {kind: name for kind in columns if (name := self._column(kind, columns)) is not None}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the labels where the table tells them; empty elsewhere."""
        names = self._features.get(self._columns["label"], {}).get("names")
        return tuple(map(str, names)) if isinstance(names, list) else ()

    @property
    def is_plain(self) -> bool:
        """Whether the images' bytes stand in the file as they are."""
        if self._is_parquet:
            return False
        buffer = self._mapped()
        data = [images.buffers()[2] for _, images in self._batches(buffer)]
        return all(part is None or 0 <= part.address - buffer.address < buffer.size for part in data)

    def samples(self, copy: BinaryIO | None) -> Iterator[Sample]:
        """Yield a sample for each row; its key is the row, counted from 0.

        Args:
            copy: A file that the images' bytes are written to and lie in then; None where they lie in the table.
        """
        buffer: Any = None if self._is_parquet else self._mapped()
        row = 0
        for batch, images in self._batches(buffer):
            _, offsets, data = images.buffers()
            kind = np.int64 if images.type == self._pa.large_binary() else np.int32
            bounds = np.frombuffer(offsets, kind)[images.offset : images.offset + len(images) + 1]
            ends: NDArray[np.int64] = bounds.astype(np.int64)
            if copy is not None:
                start = copy.tell()
                copy.write(memoryview(data or b"")[ends[0] : ends[-1]])
                ends += start - ends[0]
            elif data is not None:
                ends += data.address - buffer.address
            missing = images.is_null().to_pylist()
            cells = {kind: self._cells(kind, batch.column(name)) for kind, name in self._columns.items()}
            for at, gone in enumerate(missing):
                where, length = (NOWHERE, 0) if gone else (int(ends[at]), int(ends[at + 1] - ends[at]))
                yield Sample(str(row), where, length, {name: values[at] for name, values in cells.items()})
                row += 1

    def _batches(self, buffer: Any) -> Iterator[tuple[Any, Any]]:
        """Yield the columns that are read, part by part, and the bytes of the images."""
        with self._told():
            if self._is_parquet:
                with self._pq.ParquetFile(self.path) as file:
                    columns = [self._image, *dict.fromkeys(self._columns.values())]
                    yield from ((batch, self._bytes(batch)) for batch in file.iter_batches(ROWS, columns=columns))
                return
            reader = self._reader(buffer)
            parts = getattr(reader, "num_record_batches", None)  # a stream doesn't know
            batches = reader if parts is None else map(reader.get_batch, range(parts))
            yield from ((batch, self._bytes(batch)) for batch in batches)

    def _cells(self, kind: str, column: Any) -> list[Any]:
        """Return cells with the names of classes for their numbers; labels keep these, as `class_names` has theirs."""
        values: list[Any] = column.to_pylist()
        names = self._features.get(self._columns[kind], {}).get("names")
        if kind == "label" or not isinstance(names, list):
            return values
        return [names[value] if isinstance(value, int) and 0 <= value < len(names) else value for value in values]

    def _bytes(self, batch: Any) -> Any:
        images = batch.column(self._image)
        if not self._pa.types.is_struct(images.type):
            return images
        content = images.field("bytes")
        if images.null_count:
            content = self._pa.compute.if_else(images.is_valid(), content, None)
        return content

    def _mapped(self) -> Any:
        with self._pa.memory_map(str(self.path)) as file:
            return file.read_buffer()

    def _reader(self, buffer: Any) -> Any:
        """Return a reader of either of Arrow's two kinds of files."""
        try:
            return self._pa.ipc.open_stream(buffer)
        except self._pa.ArrowInvalid:
            return self._pa.ipc.open_file(buffer)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Make one sentence of what pyarrow raises."""
        try:
            yield
        except (self._pa.ArrowException, OSError) as error:
            why = shortened(" ".join(str(error).split()).rstrip("."))
            raise DataError(f"The table {self.path} can't be read: {why}; get it again.") from error

    def _image_column(self, given: str | None) -> str:
        told = [name for name, feature in self._features.items() if feature.get("_type") == "Image"]
        fit = [name for name, kind in self._types.items() if self._holds_bytes(kind)]
        chosen = given or next((name for name in (*told, *fit) if name in fit), None)
        if chosen in fit and chosen is not None:
            return chosen
        what = f"column {given!r} of images" if given else "column of images"
        hint = f"its columns are {some([f'{name} ({kind})' for name, kind in self._types.items()], 20)}"
        raise DataError(
            f"{self.path} has no {what}, which hold bytes, or a struct of bytes and path; {hint}. "
            "Name it with data.init_args.image_column."
        )

    def _holds_bytes(self, kind: Any) -> bool:
        if self._pa.types.is_struct(kind):
            at = kind.get_field_index("bytes")
            return at >= 0 and self._holds_bytes(kind.field(at).type)
        return bool(kind in (self._pa.binary(), self._pa.large_binary()))

    def _column(self, kind: str, columns: Columns) -> str | None:
        """Return the column of a kind, or None; the label may be the only one of classes."""
        names = columns[kind]
        there = next((name for name in names if name in self._types), None)
        classes = [name for name, feature in self._features.items() if feature.get("_type") == "ClassLabel"]
        if there is None and kind == "label" and len(names) > 1 and len(classes) == 1:
            return classes[0]
        if there is None and (kind == "label" or kind not in names):
            header = [name for name in self._types if name != self._image]
            raise DataError(
                f"{self.path} has no column {names[-1]!r}; its columns are {some([*self._types], 20)}."
                f"{did_you_mean(names[-1], header, 1, quote=True)} Name it with data.init_args.{kind}_column."
            )
        return there


def _features(metadata: Mapping[bytes, bytes]) -> dict[str, dict[str, Any]]:
    """Return what ``datasets`` says of each column; nothing where it didn't write the table."""
    try:
        features = load_json(metadata[b"huggingface"])["info"]["features"]
        return {str(name): feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError):
        return {}
