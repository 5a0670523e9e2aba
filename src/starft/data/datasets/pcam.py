"""PatchCamelyon: is there tumour tissue in a patch of a lymph node?

Paper: Veeling et al., MICCAI 2018, arXiv 1806.03962. The images lie in HDF5 files, 96 px, so this needs h5py.
"""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from starft.data.datasets.published import PublishedSource
from starft.data.images import BadImageError
from starft.data.source import ImageTable
from starft.errors import DataError


def read_patch(path: str) -> Image.Image:
    """Read an image out of an HDF5 file.

    Args:
        path: ``FILE.h5#N``, image N of ``x`` in the file.

    Raises:
        BadImageError: It can't be read.
    """
    file, _, number = path.rpartition("#")
    try:
        return Image.fromarray(_opened(file, os.getpid())["x"][int(number)]).convert("RGB")
    except (OSError, KeyError, ValueError, IndexError, TypeError) as error:
        raise BadImageError(path, " ".join(str(error).split()).rstrip(".") or type(error).__name__) from error


@lru_cache(maxsize=4)
def _opened(file: str, process: int) -> Any:
    """Return an open file; each process opens its own, as HDF5 can't share one."""
    return _h5py().File(file)


def _h5py() -> Any:
    try:
        import h5py  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise DataError("PatchCamelyon's HDF5 files need h5py; pip install 'starft[datasets]'.") from error
    return h5py


class PatchCamelyonSource(PublishedSource):
    """PatchCamelyon: 96 px patches, half of them with tumour tissue in the middle."""

    title: ClassVar[str] = "PatchCamelyon"
    tree: ClassVar[str] = """pcam/
  camelyonpatch_level_2_split_train_x.h5
  camelyonpatch_level_2_split_train_y.h5
  camelyonpatch_level_2_split_valid_x.h5
  camelyonpatch_level_2_split_valid_y.h5
  camelyonpatch_level_2_split_test_x.h5
  camelyonpatch_level_2_split_test_y.h5"""
    folders = ("pcam",)
    counts: ClassVar = {"train": 262_144, "val": 32_768, "test": 32_768}
    own_templates = ("this is a photo of {}.",)
    own_class_names = ("healthy lymph node tissue", "lymph node tumor tissue")

    def table(self, split: str) -> ImageTable:
        """List the images of one file; labels are read from the other."""
        start = f"camelyonpatch_level_2_split_{'valid' if split == 'val' else split}"
        images, labels = self.need(f"{start}_x.h5"), self.need(f"{start}_y.h5")
        result = self._dataset(labels, "y")[...].reshape(-1).astype(np.int64)
        value = len(self._dataset(images, "x"))
        if value != len(result):
            raise DataError(
                f"{self.title}: {images} holds {value} images, {labels} {len(result)} labels; get both again."
            )
        paths = tuple(f"{images.name}#{number}" for number in range(value))
        return ImageTable(self.root, paths, result, read=read_patch, packed=True)

    def _dataset(self, path: Path, key: str) -> Any:
        try:
            return _opened(str(path), os.getpid())[key]
        except (OSError, KeyError) as error:
            raise DataError(
                f"{self.title}: {path} can't be read as HDF5 with a data set {key!r}; get it again."
            ) from error
