"""DataModules, one file a data set."""

from starft.data.contents import EvalOn
from starft.data.datamodules.base import BaseDataModule
from starft.data.datamodules.celeba import CelebA
from starft.data.datamodules.csv_file import CSV
from starft.data.datamodules.fmow import FMoW
from starft.data.datamodules.image_folder import ImageFolder
from starft.data.datamodules.imagenet import ImageNet
from starft.data.datamodules.images import ImageDataModule
from starft.data.datamodules.iwildcam import IWildCam
from starft.data.datamodules.packed import Packed
from starft.data.datamodules.transfer import Transfer
from starft.data.datamodules.waterbirds import Waterbirds

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
