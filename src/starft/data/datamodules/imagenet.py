"""ImageNet, to train on, and all that a model tuned on it is tested on."""

from pathlib import Path
from typing import Any

from starft.data.contents import EvalOn
from starft.data.datamodules.images import ImageDataModule
from starft.data.datasets.celeba import CelebASource
from starft.data.datasets.counteranimal import CounterAnimalSource
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
        counteranimal: Folder of CounterAnimal; look at its groups, common and counter backgrounds.
        templates: Caption templates of the ImageNet sets in the place of OpenAI's 80, each with ``{}`` once; null keeps
            the 80.
        evals: More sets to evaluate on.
        val_fraction: Share of ``train`` held out for validation; 0 goes without.
        **kwargs: Arguments of `ImageDataModule`, such as ``batch_size``.
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
        counteranimal: Path | None = None,
        templates: list[str] | None = None,
        evals: list[EvalOn] | None = None,
        val_fraction: float = 0.01,
        **kwargs: Any,
    ) -> None:
        shifted: dict[str, tuple[type[ImageNetClasses], Path | None]] = {
            "v2": (ImageNetV2Source, v2),
            "r": (ImageNetRSource, r),
            "a": (ImageNetASource, a),
            "sketch": (ImageNetSketchSource, sketch),
            "objectnet": (ObjectNetSource, objectnet),
            "vid_robust": (ImageNetVidRobustSource, vid_robust),
            "counteranimal": (CounterAnimalSource, counteranimal),
        }
        sets = [
            EvalOn(source(folder, templates=templates), name, ood=name not in ("vid_robust", "counteranimal"))
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
            val_fraction=val_fraction,
            ood=False,
            equal_groups=None,
            **kwargs,
        )
