"""CelebA, to train on hair and be judged by hair and sex."""

from pathlib import Path
from typing import Any

from starft.data.datamodules.images import ImageDataModule
from starft.data.datasets.celeba import CelebASource


class CelebA(ImageDataModule):
    """CelebA: is the hair blond? With its published splits and four groups, hair by sex.

    Its own sets are called ``celeba`` in metric names; look at ``worst_group_acc`` and ``adjusted_acc``.

    Args:
        root: Folder that holds img_align_celeba and the lists, or the one around it.
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
            CelebASource(root, class_names, templates),
            "celeba",
            val_fraction=0,
            split_seed=0,
            ood=False,
            equal_groups=None,
            **kwargs,
        )
