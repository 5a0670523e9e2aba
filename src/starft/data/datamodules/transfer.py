"""Small data sets that a tuned or pre-trained model is transferred to."""

from pathlib import Path
from typing import Literal

from starft.data.datamodules.images import EvalOn, ImageDataModule
from starft.data.datasets.caltech101 import Caltech101Source
from starft.data.datasets.flowers102 import Flowers102Source
from starft.data.datasets.pcam import PatchCamelyonSource
from starft.data.datasets.published import PublishedSource
from starft.data.datasets.rendered_sst2 import RenderedSST2Source
from starft.data.datasets.stanford_cars import StanfordCarsSource
from starft.data.datasets.sun397 import SUN397Source
from starft.data.sampling import Sampling
from starft.data.transforms import Augmentation

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
        evals: More sets to evaluate on.
        predict: A folder of new images, or a table of their paths, for ``starft predict``; null predicts the test sets.
        val_fraction: Share of ``train`` held out where there is no ``val`` split; 0 goes without validation.
        split_seed: Draws what is held out; not the run's seed, so that runs of all seeds validate on the same images.
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
        dataset: Literal["caltech101", "stanford_cars", "flowers102", "pcam", "rendered_sst2", "sun397"],
        root: Path = Path("data"),
        class_names: list[str] | None = None,
        templates: list[str] | None = None,
        evals: list[EvalOn] | None = None,
        predict: str | None = None,
        val_fraction: float = 0.1,
        split_seed: int = 0,
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
            SOURCES[dataset](root, class_names, templates),
            dataset,
            evals,
            predict,
            val_fraction,
            split_seed,
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
