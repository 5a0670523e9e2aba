"""CelebA, to train on hair and be judged by hair and sex."""

from pathlib import Path
from typing import Literal

from starft.data.datamodules.images import EvalOn, ImageDataModule
from starft.data.datasets.celeba import CelebASource
from starft.data.sampling import Sampling
from starft.data.transforms import Augmentation


class CelebA(ImageDataModule):
    """CelebA: is the hair blond? With its published splits and four groups, hair by sex.

    Its own sets are called ``celeba`` in metric names; look at ``worst_group_acc`` and ``adjusted_acc``.

    Args:
        root: Folder that holds img_align_celeba and the lists, or the one around it.
        class_names: Names to put in the place of its own, one a class in label order; null keeps its own.
        templates: Caption templates to put in the place of its own, each with ``{}`` once; null keeps its own.
        evals: More sets to evaluate on.
        predict: A folder of new images, or a table of their paths, for ``starft predict``; null predicts the test sets.
        shots: Train on so many images a class, drawn by ``seed``; null takes all.
        augmentation: How training images are varied.
        on_bad_image: ``stop`` ends the run at an image that can't be read; ``skip`` leaves it out, or takes another in
            training, and tells the count at the end.
        allow_partial: Take copies that hold another number of images than the papers say.
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
        root: Path = Path("data"),
        class_names: list[str] | None = None,
        templates: list[str] | None = None,
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
            CelebASource(root, class_names, templates),
            "celeba",
            evals,
            predict,
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
