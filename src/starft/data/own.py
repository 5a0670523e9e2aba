"""The user's own images in a table, in folders or in shards: what a run trains and tests on, without torch."""

from pathlib import Path
from typing import Any, Literal

from starft.data.contents import ImageContents
from starft.data.datasets.csv_file import CSVSource
from starft.data.datasets.image_folder import ImageFolderSource
from starft.data.datasets.packed import PackedSource


class CSVContents(ImageContents):
    """Your own images in a CSV, TSV, Parquet or JSON lines file: ``path,label[,split][,attribute][,group][,caption]``.

    A group is a pair of label and attribute, or what the group column says. Without a split column, test and validation
    images are drawn, in equal shares from every group (or class).

    Args:
        file: The table; its suffix tells its kind. It may be remote: ``s3://``, ``gs://``, ``https://`` or ``hf://``.
        root: Folder that the paths are relative to and must not leave, perhaps a remote one; null takes the folder of
            the file, or, where all paths are absolute or addresses, their common parent.
        path_column: Column of the image paths.
        label_column: Column of the labels: class names, or numbers; "" for none. Images that have captions and no
            labels are paired with their texts: contrastive fine-tuning without classes, validated by retrieval.
        split_column: Column of ``train``, ``val`` and ``test``; null takes ``split`` where it is there, "" none.
        attribute_column: Column of the spurious attribute; null takes ``attribute`` where it is there, "" none.
        group_column: Column of group names; null takes ``group`` where it is there, "" none.
        caption_column: Column of each image's own text, which the contrastive objective pairs it with; null takes
            ``caption`` where it is there, "" none.
        class_names: Names in label order; or what the label column says for each of them (``{0: cat, 1: dog}``); or a
            text file with a name a line. null takes the labels themselves, sorted.
        templates: Caption templates, each with ``{}`` once, or a text file with one a line.
        separator: Between the cells of a text file; null finds it.
        test_fraction: Share of the images that is drawn for the test where there is no split column.
        val_fraction: Share that is drawn for validation, or held out of ``train`` where the column has no ``val``.
        split_seed: Of these draws; not the run's seed, so that all runs are tested on the same images.
        equal_groups: Whether test and validation images are drawn in equal numbers of every group, as far as half of
            each group allows, instead of in equal shares; null does so where a group would get fewer than 25 images.
        splits: What the split column has for each split, one value or several: ``{train: 0, val: 1, test: 2}``; None
            takes the names above, and 0, 1 and 2 where it has just these.
        label_map: The class of each label, where many labels make few classes: ``{label: class}``, or a table (CSV) of
            two columns, label and class. ``class_names`` then says how the classes are called.
        **kwargs: Arguments of `ImageContents`, such as ``batch_size``.
    """

    def __init__(
        self,
        file: Path,
        root: Path | None = None,
        path_column: str = "path",
        label_column: str = "label",
        split_column: str | None = None,
        attribute_column: str | None = None,
        group_column: str | None = None,
        caption_column: str | None = None,
        class_names: dict[str, str] | list[str] | str | None = None,
        templates: list[str] | str = "a photo of a {}.",
        separator: str | None = None,
        test_fraction: float = 0.2,
        val_fraction: float = 0.1,
        split_seed: int = 0,
        equal_groups: bool | None = None,
        splits: dict[str, str | int | float | bool | list[str | int | float | bool]] | None = None,
        label_map: dict[str, str] | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            CSVSource(
                file,
                root,
                path_column,
                label_column,
                split_column,
                attribute_column,
                group_column,
                caption_column,
                class_names=class_names,
                templates=templates,
                separator=separator,
                test_fraction=test_fraction,
                val_fraction=val_fraction,
                split_seed=split_seed,
                equal_groups=equal_groups,
                splits=splits,
                label_map=label_map,
            ),
            val_fraction=val_fraction,
            split_seed=split_seed,
            equal_groups=equal_groups,
            **kwargs,
        )


class ImageFolderContents(ImageContents):
    """Your own images in folders: ``{split}/{class}/``, ``{split}/{attribute}/{class}/``, or without split folders.

    Without split folders, test and validation images are drawn, in equal shares from every group (or class).

    Args:
        root: Folder that holds them.
        attribute_level: Whether a level of attribute folders lies above the class folders; groups are then pairs of
            class and attribute.
        class_names: Names of the class folders in sorted order; or the name of each folder (``{n01: cat, n02: dog}``);
            or a text file with a name a line. null takes the folders' names, ``_`` read as a space.
        templates: Caption templates, each with ``{}`` once, or a text file with one a line.
        test_fraction: Share of the images that is drawn for the test where there are no split folders.
        val_fraction: Share that is drawn for validation, or held out of ``train`` where there is no ``val`` folder.
        split_seed: Of these draws; not the run's seed, so that all runs are tested on the same images.
        equal_groups: Whether test and validation images are drawn in equal numbers of every group, as far as half of
            each group allows, instead of in equal shares; null does so where a group would get fewer than 25 images.
        label_map: The class of each class folder, where many make few classes: ``{folder: class}``, or a table (CSV) of
            two columns, folder and class. ``class_names`` then says how the classes are called.
        **kwargs: Arguments of `ImageContents`, such as ``batch_size``.
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
                class_names=class_names,
                templates=templates,
                test_fraction=test_fraction,
                val_fraction=val_fraction,
                split_seed=split_seed,
                equal_groups=equal_groups,
                label_map=label_map,
            ),
            val_fraction=val_fraction,
            split_seed=split_seed,
            equal_groups=equal_groups,
            **kwargs,
        )


class PackedContents(ImageContents):
    """Your own images in shards: ``.tar`` in WebDataset's layout, ``.parquet`` or ``.arrow`` in that of ``datasets``.

    What `starft data pack` writes is read with its classes, groups and splits. Without splits, test and validation
    images are drawn, in equal shares from every group (or class).

    Args:
        root: Folder that holds the shards; or its address, ``s3://``, ``gs://``, ``https://`` or
            ``hf://datasets/OWNER/NAME``, from which they are fetched once; or ``hf://OWNER/NAME[@REVISION][:CONFIG]``,
            a data set of the Hugging Face Hub, which the library ``datasets`` downloads.
        shards: Which files below the folder, such as ``data/*.tar`` or ``train-{0000..0012}.tar``, one pattern or
            several; null takes all, of a web server those that ``packed.json`` names.
        image_column: Column, or ending of a tar file's members, of the images; null finds it.
        label_column: Column of the labels, a field of the ``.json``, or an ending such as ``cls``; null takes ``cls``,
            ``label`` or the only column of classes.
        split_column: Column of ``train``, ``val`` and ``test``; null takes what the shards are called, or else
            ``split`` where it is there, "" none.
        attribute_column: Column of the spurious attribute; null takes ``attribute`` where it is there, "" none.
        group_column: Column of group names; null takes ``group`` where it is there, "" none.
        caption_column: Column of captions; null takes ``caption`` or ``txt`` where it is there, "" none.
        class_names: Names in label order; or what the label column says for each of them (``{0: cat, 1: dog}``); or a
            text file with a name a line. null takes those that the shards tell, or a ``classnames.txt`` beside them,
            or else the labels, sorted.
        templates: Caption templates, each with ``{}`` once, or a text file with one a line; null takes those of
            `starft data pack`, or "a photo of a {}.".
        splits: What shards are called, or the split column has, for each split: ``{train: train, test: validation}``.
        test_fraction: Share of the images that is drawn for the test where the shards tell no splits.
        val_fraction: Share that is drawn for validation, or held out of ``train`` where there is no ``val``.
        split_seed: Of these draws; not the run's seed, so that all runs are tested on the same images.
        equal_groups: Whether test and validation images are drawn in equal numbers of every group, as far as half of
            each group allows, instead of in equal shares; null does so where a group would get fewer than 25 images.
        label_map: The class of each label, where many labels make few classes: ``{label: class}``, or a table (CSV) of
            two columns, label and class. ``class_names`` then says how the classes are called.
        on_bad_image: ``stop`` ends the run at an image that can't be read, and refuses shards in which images or labels
            are missing; ``skip`` leaves these out, or takes another image in training, and tells the count.
        **kwargs: Arguments of `ImageContents`, such as ``batch_size``.
    """

    def __init__(
        self,
        root: str,
        shards: list[str] | str | None = None,
        image_column: str | None = None,
        label_column: str | None = None,
        split_column: str | None = None,
        attribute_column: str | None = None,
        group_column: str | None = None,
        caption_column: str | None = None,
        class_names: dict[str, str] | list[str] | str | None = None,
        templates: list[str] | str | None = None,
        splits: dict[str, str | int | float | bool | list[str | int | float | bool]] | None = None,
        test_fraction: float = 0.2,
        val_fraction: float = 0.1,
        split_seed: int = 0,
        equal_groups: bool | None = None,
        label_map: dict[str, str] | str | None = None,
        on_bad_image: Literal["stop", "skip"] = "stop",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            PackedSource(
                root,
                shards,
                image_column,
                label_column,
                split_column,
                attribute_column,
                group_column,
                caption_column,
                class_names=class_names,
                templates=templates,
                splits=splits,
                on_bad_image=on_bad_image,
                test_fraction=test_fraction,
                val_fraction=val_fraction,
                split_seed=split_seed,
                equal_groups=equal_groups,
                label_map=label_map,
            ),
            val_fraction=val_fraction,
            split_seed=split_seed,
            equal_groups=equal_groups,
            on_bad_image=on_bad_image,
            **kwargs,
        )
