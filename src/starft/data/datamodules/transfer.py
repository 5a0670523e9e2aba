"""Small data sets that a tuned or pre-trained model is transferred to."""

from pathlib import Path
from typing import Any, Literal

from starft.data.datamodules.images import ImageDataModule
from starft.data.datasets.caltech101 import Caltech101Source
from starft.data.datasets.flowers102 import Flowers102Source
from starft.data.datasets.pcam import PatchCamelyonSource
from starft.data.datasets.published import PublishedSource
from starft.data.datasets.rendered_sst2 import RenderedSST2Source
from starft.data.datasets.stanford_cars import StanfordCarsSource
from starft.data.datasets.sun397 import SUN397Source

SOURCES: dict[str, type[PublishedSource]] = {
    "caltech101": Caltech101Source,
    "stanford_cars": StanfordCarsSource,
    "flowers102": Flowers102Source,
    "pcam": PatchCamelyonSource,
    "rendered_sst2": RenderedSST2Source,
    "sun397": SUN397Source,
}


class Transfer(ImageDataModule):
    """One of the transfer data sets; its name stands in metric names.

    Splits are those of CoOp's ``split_zhou_*.json`` where the folder holds one, else the data set's own. Where there is
    no validation split, a share of the training images is held out.

    Args:
        dataset: Which one.
        root: Its folder, or the one around it.
        class_names: Names to put in the place of its own, one a class in label order; null keeps its own.
        templates: Caption templates to put in the place of its own, each with ``{}`` once; null keeps its own.
        **kwargs: Arguments of `ImageDataModule`, such as ``batch_size``.
    """

    def __init__(
        self,
        dataset: Literal["caltech101", "stanford_cars", "flowers102", "pcam", "rendered_sst2", "sun397"],
        root: Path = Path("data"),
        class_names: list[str] | None = None,
        templates: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            SOURCES[dataset](root, class_names, templates), dataset, ood=False, equal_groups=None, **kwargs
        )
