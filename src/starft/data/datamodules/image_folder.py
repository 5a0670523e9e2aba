"""The user's own images from folders."""

from pathlib import Path
from typing import Any

from starft.data.datamodules.images import ImageDataModule
from starft.data.datasets.image_folder import ImageFolderSource


class ImageFolder(ImageDataModule):
    """Your own images in folders: ``{split}/{class}/``, ``{split}/{attribute}/{class}/``, or without split folders.

    Without split folders, test and validation images are drawn, in equal shares from every group (or class).

    Args:
        root: Folder that holds them.
        attribute_level: Whether a level of attribute folders lies above the class folders; groups are then pairs of
            class and attribute.
        class_names: Names of the class folders in sorted order; or the name of each folder (``{n01: cat, n02: dog}``);
            or a text file with a name a line. Null takes the folders' names, ``_`` read as a space.
        templates: Caption templates, each with ``{}`` once, or a text file with one a line.
        test_fraction: Share of the images that is drawn for the test where there are no split folders.
        val_fraction: Share that is drawn for validation, or held out of ``train`` where there is no ``val`` folder.
        split_seed: Of these draws; not the run's seed, so that all runs are tested on the same images.
        equal_groups: Whether test and validation images are drawn in equal numbers of every group, as far as half of
            each group allows, instead of in equal shares; null does so where a group would get fewer than 25 images.
        label_map: The class of each class folder, where many make few classes: ``{folder: class}``, or a table (CSV) of
            two columns, folder and class. ``class_names`` then says how the classes are called.
        **kwargs: Arguments of `ImageDataModule`, such as ``batch_size``.
    """

    def __init__(
        self,
        root: Path,
        attribute_level: bool = False,
        class_names: dict[str, str] | list[str] | str | None = None,
        templates: list[str] | str = "a photo of a {}.",
        test_fraction: float = 0.2,
        val_fraction: float = 0.1,
        split_seed: int = 0,
        equal_groups: bool | None = None,
        label_map: dict[str, str] | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            ImageFolderSource(
                root,
                attribute_level,
                class_names,
                templates,
                test_fraction,
                val_fraction,
                split_seed,
                equal_groups,
                label_map,
            ),
            val_fraction=val_fraction,
            split_seed=split_seed,
            equal_groups=equal_groups,
            **kwargs,
        )
