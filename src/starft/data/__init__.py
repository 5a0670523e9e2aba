"""Data: sources of images on disk, loaders and DataModules. Configs name them ``starft.data.NAME``."""

from starft.data.datamodules import CSV, BaseDataModule, EvalOn, ImageDataModule, ImageFolder
from starft.data.datasets.csv_file import CSVSource
from starft.data.datasets.image_folder import ImageFolderSource
from starft.data.table import ImageTable, Published, Source
from starft.data.transforms import Augmentation

__all__ = [
    "CSV",
    "Augmentation",
    "BaseDataModule",
    "CSVSource",
    "EvalOn",
    "ImageDataModule",
    "ImageFolder",
    "ImageFolderSource",
    "ImageTable",
    "Published",
    "Source",
]
