"""DataModules, one file a data set."""

from starft.data.datamodules.base import BaseDataModule
from starft.data.datamodules.csv_file import CSV
from starft.data.datamodules.image_folder import ImageFolder
from starft.data.datamodules.images import EvalOn, ImageDataModule

__all__ = ["CSV", "BaseDataModule", "EvalOn", "ImageDataModule", "ImageFolder"]
