"""Data: sources of images on disk, loaders and DataModules. Configs name them ``starft.data.NAME``."""

from starft.data.datamodules import (
    CSV,
    BaseDataModule,
    CelebA,
    EvalOn,
    FMoW,
    ImageDataModule,
    ImageFolder,
    ImageNet,
    IWildCam,
    Transfer,
    Waterbirds,
)
from starft.data.datasets.caltech101 import Caltech101Source
from starft.data.datasets.celeba import CelebASource
from starft.data.datasets.csv_file import CSVSource
from starft.data.datasets.flowers102 import Flowers102Source
from starft.data.datasets.fmow import FMoWSource
from starft.data.datasets.image_folder import ImageFolderSource
from starft.data.datasets.imagenet import ImageNetSource
from starft.data.datasets.imagenet_variants import (
    ImageNetASource,
    ImageNetRSource,
    ImageNetSketchSource,
    ImageNetV2Source,
)
from starft.data.datasets.iwildcam import IWildCamSource
from starft.data.datasets.objectnet import ObjectNetSource
from starft.data.datasets.pcam import PatchCamelyonSource
from starft.data.datasets.rendered_sst2 import RenderedSST2Source
from starft.data.datasets.stanford_cars import StanfordCarsSource
from starft.data.datasets.sun397 import SUN397Source
from starft.data.datasets.vid_robust import ImageNetVidRobustSource
from starft.data.datasets.waterbirds import WaterbirdsSource
from starft.data.table import ImageTable, Published, Source
from starft.data.transforms import Augmentation

__all__ = [
    "CSV",
    "Augmentation",
    "BaseDataModule",
    "CSVSource",
    "Caltech101Source",
    "CelebA",
    "CelebASource",
    "EvalOn",
    "FMoW",
    "FMoWSource",
    "Flowers102Source",
    "IWildCam",
    "IWildCamSource",
    "ImageDataModule",
    "ImageFolder",
    "ImageFolderSource",
    "ImageNet",
    "ImageNetASource",
    "ImageNetRSource",
    "ImageNetSketchSource",
    "ImageNetSource",
    "ImageNetV2Source",
    "ImageNetVidRobustSource",
    "ImageTable",
    "ObjectNetSource",
    "PatchCamelyonSource",
    "Published",
    "RenderedSST2Source",
    "SUN397Source",
    "Source",
    "StanfordCarsSource",
    "Transfer",
    "Waterbirds",
    "WaterbirdsSource",
]
