"""Waterbirds, to train on and be judged by group."""

from pathlib import Path
from typing import Any

from starft.data.datamodules.images import ImageDataModule
from starft.data.datasets.waterbirds import WaterbirdsSource


class Waterbirds(ImageDataModule):
    """Waterbirds, with its published splits and four groups, bird by background.

    Its own sets are called ``waterbirds`` in metric names; look at ``worst_group_acc`` and ``adjusted_acc``.

    Args:
        root: Folder that holds metadata.csv, or the one around it.
        class_names: Names to put in the place of its own, one a class in label order; null keeps its own.
        templates: Caption templates to put in the place of its own, each with ``{}`` once; null keeps its own.
        **kwargs: Arguments of `ImageDataModule`, such as ``batch_size``.
    """

    def __init__(
        self,
        root: Path = Path("data"),
        class_names: list[str] | None = None,
        templates: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            WaterbirdsSource(root, class_names, templates),
            "waterbirds",
            val_fraction=0,
            split_seed=0,
            ood=False,
            equal_groups=None,
            **kwargs,
        )
