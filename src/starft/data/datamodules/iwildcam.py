"""iWildCam, to train on and be tested at other camera traps."""

from pathlib import Path
from typing import Any

from starft.data.contents import EvalOn
from starft.data.datamodules.images import ImageDataModule
from starft.data.datasets.iwildcam import IWildCamSource


class IWildCam(ImageDataModule):
    """iWildCam as WILDS splits it; look at ``macro_f1``.

    In metric names ``iwildcam`` is of other camera traps (out of distribution), ``iwildcam_id`` of those of training.

    Args:
        root: Folder of WILDS (``iwildcam_v2.0``), or the one around it.
        class_names: Names to put in the place of its own, one a class in label order; null keeps its own.
        templates: Caption templates to put in the place of its own, each with ``{}`` once; null keeps its own.
        evals: More sets to evaluate on.
        **kwargs: Arguments of `ImageDataModule`, such as ``batch_size``.
    """

    def __init__(
        self,
        root: Path = Path("data"),
        class_names: list[str] | None = None,
        templates: list[str] | None = None,
        evals: list[EvalOn] | None = None,
        **kwargs: Any,
    ) -> None:
        source = IWildCamSource(root, class_names, templates)
        own = [EvalOn(source, "iwildcam_id", "id_val", stage="validate"), EvalOn(source, "iwildcam_id", "id_test")]
        super().__init__(
            source,
            "iwildcam",
            [*own, *(evals or [])],
            val_fraction=0,
            split_seed=0,
            ood=False,
            equal_groups=None,
            **kwargs,
        )
