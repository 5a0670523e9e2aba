"""The user's own images from folders."""

from pathlib import Path
from typing import Literal

from starft.data.datamodules.images import EvalOn, ImageDataModule
from starft.data.datasets.image_folder import ImageFolderSource
from starft.data.sampling import Sampling
from starft.data.transforms import Augmentation


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
        name: What its own validation and test set are called in metric names, ``val/{name}/acc``;
            ``checkpoint.monitor`` has it too.
        ood: Whether its own test set counts in ``ood_acc``; its validation set doesn't.
        evals: More sets to evaluate on.
        predict: A folder of new images, or a table of their paths, for ``starft predict``; null predicts the test set.
        shots: Train on so many images a class, drawn by ``seed``; null takes all.
        augmentation: How training images are varied.
        on_bad_image: ``stop`` ends the run at an image that can't be read; ``skip`` leaves it out, or takes another in
            training, and tells the count at the end.
        allow_partial: Take eval sets that hold another number of images than their papers say.
        sampling: Which images an epoch holds: ``shuffle`` takes each once; ``class_balanced`` and ``group_balanced``
            draw as many, of all classes or groups equally often; ``class_subsampled`` and ``group_subsampled`` keep as
            many images of each as the smallest has.
        batch_size: Training images a batch and process.
        eval_batch_size: Images a batch in evaluation.
        num_workers: Worker processes of each loader, no more than there are usable cores; results don't depend on it.
        seed: Start of the shuffles, the augmentation and the few shots.
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
        name: str = "id",
        ood: bool = False,
        evals: list[EvalOn] | None = None,
        predict: str | None = None,
        shots: int | None = None,
        augmentation: Augmentation = Augmentation(),  # noqa: B008  # frozen
        on_bad_image: Literal["stop", "skip"] = "stop",
        allow_partial: bool = False,
        sampling: Sampling = "shuffle",
        batch_size: int = 128,
        eval_batch_size: int = 256,
        num_workers: int = 4,
        seed: int = 0,
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
            name=name,
            ood=ood,
            evals=evals,
            predict=predict,
            val_fraction=val_fraction,
            split_seed=split_seed,
            equal_groups=equal_groups,
            shots=shots,
            augmentation=augmentation,
            on_bad_image=on_bad_image,
            allow_partial=allow_partial,
            sampling=sampling,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
            seed=seed,
        )
