"""Images without labels, to predict: a folder, or a table of paths."""

from pathlib import Path

import numpy as np

from starft.data.datasets.table_file import TEXT_SUFFIXES, TableFile, is_table
from starft.data.listing import list_files
from starft.data.remote_images import file_bytes_below
from starft.data.source import ImageTable, Source
from starft.errors import DataError
from starft.files.addresses import shown


class NewImages(Source):
    """Images to predict, with the classes of a training source.

    Args:
        path: A folder, or a table (CSV, TSV, Parquet, JSON lines) whose paths stand in the column of the
            training table (``path_column``), else ``path``.
        trained: What the model was trained on.
    """

    title, remote = "New images", True
    labelled = False
    tree = "FOLDER/\n  any/folders/image.jpg"

    def __init__(self, path: Path, trained: Source) -> None:
        super().__init__(path if not is_table(path) else path.parent)
        self.path, self.trained = path, trained
        self.column: str = getattr(trained, "path_column", "path")
        self.of_checkpoint: tuple[tuple[str, ...], tuple[str, ...]] | None = None
        """Class names and templates to take where those of training can't be read."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of training, or else of the checkpoint."""
        try:
            return self.trained.class_names
        except DataError:
            if self.of_checkpoint is None:
                raise
            return self.of_checkpoint[0]

    @property
    def templates(self) -> tuple[str, ...]:
        """Those of training, or else of the checkpoint."""
        try:
            return self.trained.templates
        except DataError:
            if self.of_checkpoint is None:
                raise
            return self.of_checkpoint[1]

    @property
    def splits(self) -> tuple[str, ...]:
        """``test`` alone."""
        return ("test",)

    def table(self, split: str) -> ImageTable:
        """List them; all labels are 0 and mean nothing."""
        left_out: tuple[str, ...] = ()
        if is_table(self.path):
            file = TableFile(self.path)
            cells = file.read({"data.init_args.path_column": self.column})[self.column]
            self.root = file.common_root(cells) or self.root
            paths = file.paths(cells, self.root)
        elif self.path.is_dir():
            paths, left_out = list_files(self.path)
        else:
            raise DataError(
                f"There is no folder or table of new images at {shown(self.path)}; give a folder of this machine, or a "
                f"file that ends in {', '.join(TEXT_SUFFIXES)}, .parquet or .jsonl."
            )
        labels = np.zeros(len(paths), dtype=np.int64)
        return ImageTable(self.root, paths, labels, file_bytes=file_bytes_below(self.root), left_out=left_out)
