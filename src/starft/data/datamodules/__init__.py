"""DataModules, a file for each kind of data set."""

from starft.data.contents import EvalOn
from starft.data.datamodules.base import BaseDataModule
from starft.data.datamodules.csv_file import CSV
from starft.data.datamodules.group_sets import CelebA, FMoW, IWildCam, Waterbirds
from starft.data.datamodules.image_folder import ImageFolder
from starft.data.datamodules.imagenet import ImageNet
from starft.data.datamodules.images import ImageDataModule
from starft.data.datamodules.packed import Packed
from starft.data.datamodules.transfer import Transfer

__all__ = [
    "CSV",
    "BaseDataModule",
    "CelebA",
    "EvalOn",
    "FMoW",
    "IWildCam",
    "ImageDataModule",
    "ImageFolder",
    "ImageNet",
    "Packed",
    "Transfer",
    "Waterbirds",
]
