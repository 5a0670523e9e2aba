"""FMoW, to train on and be tested on later years."""

from pathlib import Path
from typing import Any

from starft.data.contents import EvalOn
from starft.data.datamodules.images import ImageDataModule
from starft.data.datasets.fmow import FMoWSource


class FMoW(ImageDataModule):
    """FMoW as WILDS splits it; look at ``worst_region_acc``.

    In metric names ``fmow`` is of later years (out of distribution), ``fmow_id`` of the years of training.

    Args:
        root: Folder of WILDS (``fmow_v1.1``), or the one around it.
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
        source = FMoWSource(root, class_names, templates)
        own = [EvalOn(source, "fmow_id", "id_val", stage="validate"), EvalOn(source, "fmow_id", "id_test")]
        super().__init__(
            source,
            "fmow",
            [*own, *(evals or [])],
            val_fraction=0,
            split_seed=0,
            ood=False,
            equal_groups=None,
            **kwargs,
        )
