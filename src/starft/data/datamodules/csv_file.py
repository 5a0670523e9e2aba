"""The user's own images from a table."""

from pathlib import Path
from typing import Literal

from starft.data.datamodules.images import EvalOn, ImageDataModule
from starft.data.datasets.csv_file import CSVSource
from starft.data.sampling import Sampling
from starft.data.transforms import Augmentation


class CSV(ImageDataModule):
    """Your own images, listed in a CSV, TSV, Parquet or JSON lines file: ``path,label[,split][,attribute][,group]``.

    A group is a pair of label and attribute, or what the group column says. Without a split column, test and validation
    images are drawn, in equal shares from every group (or class).

    Args:
        file: The table; its suffix tells its kind.
        root: Folder that the paths are relative to and must not leave; null takes the folder of the file, or, where
            all paths are absolute, their common parent.
        path_column: Column of the image paths.
        label_column: Column of the labels: class names, or numbers.
        split_column: Column of ``train``, ``val`` and ``test``; null takes ``split`` where it is there, "" none.
        attribute_column: Column of the spurious attribute; null takes ``attribute`` where it is there, "" none.
        group_column: Column of group names; null takes ``group`` where it is there, "" none.
        class_names: Names in label order; or what the label column says for each of them (``{0: cat, 1: dog}``); or a
            text file with a name a line. Null takes the labels themselves, sorted.
        templates: Caption templates, each with ``{}`` once, or a text file with one a line.
        separator: Between the cells of a text file; null finds it.
        test_fraction: Share of the images that is drawn for the test where there is no split column.
        val_fraction: Share that is drawn for validation, or held out of ``train`` where the column has no ``val``.
        split_seed: Of these draws; not the run's seed, so that all runs are tested on the same images.
        equal_groups: Whether test and validation images are drawn in equal numbers of every group, as far as half of
            each group allows, instead of in equal shares; null does so where a group would get fewer than 25 images.
        splits: What the split column has for each split, one value or several: ``{train: 0, val: 1, test: 2}``; null
            takes the names above, and 0, 1 and 2 where it has just these.
        label_map: The class of each label, where many labels make few classes: ``{label: class}``, or a table (CSV) of
            two columns, label and class. ``class_names`` then says how the classes are called.
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
        file: Path,
        root: Path | None = None,
        path_column: str = "path",
        label_column: str = "label",
        split_column: str | None = None,
        attribute_column: str | None = None,
        group_column: str | None = None,
        class_names: dict[str, str] | list[str] | str | None = None,
        templates: list[str] | str = "a photo of a {}.",
        separator: str | None = None,
        test_fraction: float = 0.2,
        val_fraction: float = 0.1,
        split_seed: int = 0,
        equal_groups: bool | None = None,
        splits: dict[str, str | int | float | bool | list[str | int | float | bool]] | None = None,
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
            CSVSource(
                file,
                root,
                path_column,
                label_column,
                split_column,
                attribute_column,
                group_column,
                class_names,
                templates,
                separator,
                test_fraction,
                val_fraction,
                split_seed,
                equal_groups,
                splits,
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
