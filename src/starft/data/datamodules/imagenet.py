"""ImageNet, to train on, and all that a model tuned on it is tested on."""

from pathlib import Path
from typing import Literal

from starft.data.datamodules.images import EvalOn, ImageDataModule
from starft.data.datasets.celeba import CelebASource
from starft.data.datasets.imagenet import ImageNetClasses, ImageNetSource
from starft.data.datasets.imagenet_variants import (
    ImageNetASource,
    ImageNetRSource,
    ImageNetSketchSource,
    ImageNetV2Source,
)
from starft.data.datasets.objectnet import ObjectNetSource
from starft.data.datasets.vid_robust import ImageNetVidRobustSource
from starft.data.datasets.waterbirds import WaterbirdsSource
from starft.data.sampling import Sampling
from starft.data.transforms import Augmentation


class ImageNet(ImageDataModule):
    """ImageNet, its shifted test sets, and group sets that are scored zero-shot.

    ``imagenet`` in metric names is a share held out of ``train`` in validation, the 50,000 validation images in the
    test. ``v2``, ``r``, ``a``, ``sketch`` and ``objectnet`` are the sets whose mean is ``ood_acc``. Each folder may be
    given as the one around it too; a set whose folder is null is left out.

    Args:
        root: Folder of ImageNet, which holds ``train`` and ``val``.
        v2: Folder of ImageNet-V2 (matched frequency).
        r: Folder of ImageNet-R.
        a: Folder of ImageNet-A.
        sketch: Folder of ImageNet-Sketch.
        objectnet: Folder of ObjectNet, which holds ``images`` and ``mappings``.
        vid_robust: Folder of ImageNet-Vid-Robust; look at ``pm0`` and ``pm10``.
        waterbirds: Folder of Waterbirds, scored by the words "landbird" and "waterbird".
        celeba: Folder of CelebA, scored by the words "dark hair" and "blond hair".
        templates: Caption templates of the ImageNet sets in the place of OpenAI's 80, each with ``{}`` once; null keeps
            the 80.
        evals: More sets to evaluate on.
        predict: A folder of new images, or a table of their paths, for ``starft predict``; null predicts the test sets.
        val_fraction: Share of ``train`` held out for validation; 0 goes without.
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
        root: Path = Path("data/imagenet"),
        v2: Path | None = None,
        r: Path | None = None,
        a: Path | None = None,
        sketch: Path | None = None,
        objectnet: Path | None = None,
        vid_robust: Path | None = None,
        waterbirds: Path | None = None,
        celeba: Path | None = None,
        templates: list[str] | None = None,
        evals: list[EvalOn] | None = None,
        predict: str | None = None,
        val_fraction: float = 0.01,
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
        shifted: dict[str, tuple[type[ImageNetClasses], Path | None]] = {
            "v2": (ImageNetV2Source, v2),
            "r": (ImageNetRSource, r),
            "a": (ImageNetASource, a),
            "sketch": (ImageNetSketchSource, sketch),
            "objectnet": (ObjectNetSource, objectnet),
            "vid_robust": (ImageNetVidRobustSource, vid_robust),
        }
        sets = [
            EvalOn(source(folder, templates=templates), name, ood=name != "vid_robust")
            for name, (source, folder) in shifted.items()
            if folder is not None
        ]
        if waterbirds is not None:
            sets.append(EvalOn(WaterbirdsSource(waterbirds), "waterbirds"))
        if celeba is not None:
            sets.append(EvalOn(CelebASource(celeba), "celeba"))
        super().__init__(
            ImageNetSource(root, templates=templates),
            "imagenet",
            [*sets, *(evals or [])],
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
