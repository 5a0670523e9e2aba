"""Data: sources of images on disk, loaders and DataModules. Configs name them ``starft.data.NAME``."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starft.data.augmentation import Augmentation
    from starft.data.contents import EvalOn
    from starft.data.datamodules import (
        CSV,
        BaseDataModule,
        CelebA,
        FMoW,
        ImageDataModule,
        ImageFolder,
        ImageNet,
        IWildCam,
        Packed,
        Transfer,
        Waterbirds,
    )
    from starft.data.datasets.caltech101 import Caltech101Source
    from starft.data.datasets.celeba import CelebASource
    from starft.data.datasets.counteranimal import CounterAnimalSource
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
    from starft.data.datasets.packed import PackedSource
    from starft.data.datasets.pcam import PatchCamelyonSource
    from starft.data.datasets.rendered_sst2 import RenderedSST2Source
    from starft.data.datasets.stanford_cars import StanfordCarsSource
    from starft.data.datasets.sun397 import SUN397Source
    from starft.data.datasets.vid_robust import ImageNetVidRobustSource
    from starft.data.datasets.waterbirds import WaterbirdsSource
    from starft.data.source import ImageTable, Published, Source

__all__ = [
    "CSV",
    "Augmentation",
    "BaseDataModule",
    "CSVSource",
    "Caltech101Source",
    "CelebA",
    "CelebASource",
    "CounterAnimalSource",
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
    "Packed",
    "PackedSource",
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

_HOMES = {
    "augmentation": "Augmentation",
    "contents": "EvalOn",
    "datamodules": (
        "CSV BaseDataModule CelebA FMoW ImageDataModule ImageFolder ImageNet IWildCam Packed Transfer Waterbirds"
    ),
    "datasets.caltech101": "Caltech101Source",
    "datasets.celeba": "CelebASource",
    "datasets.counteranimal": "CounterAnimalSource",
    "datasets.csv_file": "CSVSource",
    "datasets.flowers102": "Flowers102Source",
    "datasets.fmow": "FMoWSource",
    "datasets.image_folder": "ImageFolderSource",
    "datasets.imagenet": "ImageNetSource",
    "datasets.imagenet_variants": "ImageNetASource ImageNetRSource ImageNetSketchSource ImageNetV2Source",
    "datasets.iwildcam": "IWildCamSource",
    "datasets.objectnet": "ObjectNetSource",
    "datasets.packed": "PackedSource",
    "datasets.pcam": "PatchCamelyonSource",
    "datasets.rendered_sst2": "RenderedSST2Source",
    "datasets.stanford_cars": "StanfordCarsSource",
    "datasets.sun397": "SUN397Source",
    "datasets.vid_robust": "ImageNetVidRobustSource",
    "datasets.waterbirds": "WaterbirdsSource",
    "source": "ImageTable Published Source",
}
"""Module of this package -> what of ``__all__`` stands in it."""


def __getattr__(name: str) -> Any:
    """Import what stands in ``__all__`` when it is asked for: sources need no torch, DataModules do."""
    for home, names in _HOMES.items():
        if name in names.split():
            return getattr(import_module(f"starft.data.{home}"), name)
    raise AttributeError(f"module 'starft.data' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return what there is, imported or not: for shells that complete names, and for the documentation."""
    return sorted({*globals(), *__all__})
