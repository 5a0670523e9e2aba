"""Published sets with splits of their own, which a run trains on and is judged on by group."""

from pathlib import Path
from typing import Any, ClassVar, Literal

from starft.data.contents import EvalOn
from starft.data.datamodules.images import ImageDataModule
from starft.data.datasets.celeba import CelebASource
from starft.data.datasets.fmow import FMoWSource
from starft.data.datasets.iwildcam import IWildCamSource
from starft.data.datasets.published import PublishedSource
from starft.data.datasets.waterbirds import WaterbirdsSource


class GroupSet(ImageDataModule):
    """A published set as it is split; what is left of its splits is one more set to evaluate on.

    Args:
        root: Folder of the set, or the one around it.
        class_names: Names to put in the place of its own, one a class in label order; null keeps its own.
        templates: Caption templates to put in the place of its own, each with ``{}`` once; null keeps its own.
        evals: More sets to evaluate on.
        **kwargs: Arguments of `ImageDataModule`, such as ``batch_size``.
    """

    made_of: ClassVar[type[PublishedSource]]
    called: ClassVar[str]
    """In metric names."""
    also: ClassVar[dict[str, Literal["validate", "test"]]] = {}
    """Other splits of its that are evaluated on, and when, as ``{called}_id``."""

    def __init__(
        self,
        root: Path = Path("data"),
        class_names: list[str] | None = None,
        templates: list[str] | None = None,
        evals: list[EvalOn] | None = None,
        **kwargs: Any,
    ) -> None:
        source = self.made_of(root, class_names, templates)
        own = [EvalOn(source, f"{self.called}_id", split, stage=stage) for split, stage in self.also.items()]
        super().__init__(
            source,
            self.called,
            [*own, *(evals or [])],
            val_fraction=0,
            split_seed=0,
            ood=False,
            equal_groups=None,
            **kwargs,
        )


class Waterbirds(GroupSet):
    """Waterbirds, with its published splits and four groups, bird by background.

    Its own sets are called ``waterbirds`` in metric names; look at ``worst_group_acc`` and ``adjusted_acc``.

    Args:
        root: Folder that holds metadata.csv, or the one around it.
    """

    made_of, called = WaterbirdsSource, "waterbirds"


class CelebA(GroupSet):
    """CelebA: is the hair blond? With its published splits and four groups, hair by sex.

    Its own sets are called ``celeba`` in metric names; look at ``worst_group_acc`` and ``adjusted_acc``.

    Args:
        root: Folder that holds img_align_celeba and the lists, or the one around it.
    """

    made_of, called = CelebASource, "celeba"


class IWildCam(GroupSet):
    """iWildCam as WILDS splits it; look at ``macro_f1``.

    In metric names ``iwildcam`` is of other camera traps (out of distribution), ``iwildcam_id`` of those of training.

    Args:
        root: Folder of WILDS (``iwildcam_v2.0``), or the one around it.
    """

    made_of, called, also = IWildCamSource, "iwildcam", {"id_val": "validate", "id_test": "test"}


class FMoW(GroupSet):
    """FMoW as WILDS splits it; look at ``worst_region_acc``.

    In metric names ``fmow`` is of later years (out of distribution), ``fmow_id`` of the years of training.

    Args:
        root: Folder of WILDS (``fmow_v1.1``), or the one around it.
    """

    made_of, called, also = FMoWSource, "fmow", {"id_val": "validate", "id_test": "test"}
