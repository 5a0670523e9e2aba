"""DataModules of the embedded world: fine-tuning with a shortcut, and the pre-training behind the tiny CLIP."""

from dataclasses import replace
from typing import Any, Literal

from torch.utils.data import DataLoader, Dataset

from starft.data.contents import Sampling
from starft.data.datamodules import BaseDataModule
from starft.errors import ConfigError, check_between
from starft.mini.captions import CAPTIONS, DRESSED_CAPTIONS, KINDS
from starft.mini.splits import (
    GROUPS,
    HOME_SHARE,
    NAMES,
    SPECIES_TASK,
    TEXTURES_TASK,
    VARIETIES_TASK,
    Labelled,
    PictureSet,
    Task,
    anywhere_pictures,
    as_kinds,
    captioned_pictures,
    group_pictures,
    home_pictures,
    kind_pictures,
    without_groups,
)
from starft.mini.world import IMAGE_SIZE, Style
from starft.types import EvalSet, PreprocessingModel

TEMPLATE = "a photo of a {}."
WORLD = 0
"""Seed of everything that is evaluated: the same pictures for every run."""


MOST_PICTURES = 1_200_000
"""Of a set; all are listed before the first is drawn."""


class _MiniBase(BaseDataModule):
    """Evaluation on the embedded world, which both DataModules share."""

    tells_apart: Task = SPECIES_TASK

    def __init__(
        self,
        val_size: int,
        test_size: int,
        batch_size: int,
        eval_batch_size: int,
        num_workers: int,
        seed: int,
        sampling: Sampling = "shuffle",
    ) -> None:
        super().__init__(sampling, batch_size, eval_batch_size, num_workers, seed)
        for name, value in (("val_size", val_size), ("test_size", test_size)):
            self._check_even(name, value)
        self.val_size, self.test_size = val_size, test_size

    def _check_even(self, name: str, size: int) -> None:
        classes, what = len(self.tells_apart.names), "species"
        if classes > len(NAMES):
            what = "varieties"
        if size < classes or size % classes:
            raise ConfigError(f"{name} must be a multiple of {classes}, the number of {what}; got {size}.")
        check_between(name, size, classes, MOST_PICTURES)

    @property
    def templates(self) -> tuple[str, ...]:
        """One template, as in the paper."""
        return (TEMPLATE,)

    @property
    def val_sets(self) -> tuple[EvalSet, ...]:
        """``id``, ``ood`` and ``groups`` on pictures of their own; everything is chosen here."""
        id_set, ood, groups = self._sets("id", "ood", "groups")
        names = self.tells_apart.home_groups if self._has_home_groups else ()
        return replace(id_set, group_names=names), replace(ood, group_names=names), groups

    @property
    def _has_home_groups(self) -> bool:
        """Whether groups of classes at home and away hold enough validation pictures to tell something."""
        return len(self.tells_apart.names) == len(NAMES)

    @property
    def test_sets(self) -> tuple[EvalSet, ...]:
        """``id``, ``ood``, ``style`` and ``groups``."""
        return self._sets("id", "ood", "style", "groups")

    def _sets(self, *names: str) -> tuple[EvalSet, ...]:
        classes = self.tells_apart.names
        species = {name: EvalSet(name, classes, (TEMPLATE,), ood=name != "id") for name in ("id", "ood", "style")}
        groups = EvalSet("groups", KINDS, (TEMPLATE,), self.tells_apart.groups)
        return tuple((species | {"groups": groups})[name] for name in names)

    def setup(self, stage: str) -> None:
        """Draw what the stage needs.

        Args:
            stage: ``fit``, ``validate``, ``test`` or ``predict``.
        """
        if stage in ("fit", "validate"):
            self.val_data = tuple(
                PictureSet(self._rows(val_set.name, "val", self.val_size)) for val_set in self.val_sets
            )
        if stage in ("test", "predict"):
            self.test_data = tuple(
                PictureSet(self._rows(test_set.name, "test", self.test_size)) for test_set in self.test_sets
            )

    def _eval_loader(self, dataset: Dataset[Any]) -> DataLoader[Any]:
        _ = getattr(dataset, "pixels", None)  # drawn here, once, and not in each worker
        return super()._eval_loader(dataset)

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the training loader: shuffled by (seed, epoch), whole batches only."""
        _ = getattr(self.train_set, "pixels", None)  # likewise
        return super().train_dataloader()

    def _check_size(self) -> None:
        """Refuse a model for pictures of another size; those of the world are drawn at one and never resized."""
        module = self.trainer.lightning_module if self.trainer is not None else None
        asked = module.preprocessing if isinstance(module, PreprocessingModel) else self.preprocessing
        if asked is not None and asked.size != (IMAGE_SIZE, IMAGE_SIZE):
            height, width = asked.size
            raise ConfigError(
                f"The embedded world's pictures have {IMAGE_SIZE} x {IMAGE_SIZE} px and the model takes {height} x "
                f"{width}; give --model.model_name starft-mini --model.pretrained mini, or data of your own."
            )

    def _rows(self, name: str, split: str, size: int) -> tuple[Labelled, ...]:
        if name == "groups":
            return group_pictures(f"{split}-groups", 2 * size, WORLD, self.tells_apart)
        if name == "id":
            rows = home_pictures(f"{split}-id", size, WORLD, self.tells_apart)
        else:
            style: Style = "sketch" if name == "style" else "photo"
            rows = anywhere_pictures(f"{split}-{name}", size, WORLD, style, self.tells_apart)
        return rows if split == "val" and self._has_home_groups else without_groups(rows)


class MiniWorld(_MiniBase):
    """Twelve drawn species, each mostly in its home scene; or other classes, or another shortcut.

    Tests: ``id`` (as in training), ``ood`` (scenes at random), ``style`` (sketches, scenes at random) and ``groups``
    (landbird or waterbird on land or water; scored zero-shot where species are trained). Groups of the training
    pictures: species at home or away, or kind of bird on land or on water.

    Args:
        task: What is told apart: twelve ``species``; two ``kinds``, landbird and waterbird, each mostly where it
            lives, as in Waterbirds; or sixty ``varieties``, species in five colours, each mostly in a scene.
        train_size: Training pictures, in equal numbers a class without imbalance; drawn anew for each seed.
        val_size: Pictures of each validation set (twice that for the groups).
        test_size: Pictures of each test set (twice that for the groups).
        sampling: Which images an epoch holds: ``shuffle`` takes each once; ``class_balanced`` and ``group_balanced``
            draw as many, of all classes or groups equally often; ``class_subsampled`` and ``group_subsampled`` keep as
            many images of each as the smallest has.
        batch_size: Training images a batch and process.
        eval_batch_size: Images a batch in evaluation.
        num_workers: Worker processes of each loader, no more than there are usable cores; results don't depend on it.
        seed: Draws the training pictures and their order.
        shortcut: What mostly goes with a species in training: its home ``scene``, or the ``texture`` that it wears.
        home_share: How many of the training pictures, and of those like them, show it on purpose; the rest is anything.
        imbalance: Of the training pictures, how many times as many the first class has as the last: a long tail, each
            class with the same part of the one before it, and one at least. Other sets have equal numbers.
    """

    def __init__(
        self,
        task: Literal["species", "kinds", "varieties"] = "species",
        train_size: int = 2400,
        val_size: int = 480,
        test_size: int = 1200,
        sampling: Sampling = "shuffle",
        batch_size: int = 128,
        eval_batch_size: int = 240,
        num_workers: int = 0,
        seed: int = 0,
        shortcut: Literal["scene", "texture"] = "scene",
        home_share: float = HOME_SHARE,
        imbalance: float = 1.0,
    ) -> None:
        if shortcut == "texture" and task != "species":
            raise ConfigError(f"The shortcut texture needs task species; got {task!r}.")
        if not 0 <= home_share <= 1:
            raise ConfigError(f"home_share must be a share, from 0 to 1; got {home_share}.")
        species = TEXTURES_TASK if shortcut == "texture" else SPECIES_TASK
        self.tells_apart = replace(VARIETIES_TASK if task == "varieties" else species, home_share=home_share)
        super().__init__(val_size, test_size, batch_size, eval_batch_size, num_workers, seed, sampling)
        self._check_even("train_size", train_size)
        self.task, self.shortcut, self.train_size, self.imbalance = task, shortcut, train_size, imbalance
        self._check_imbalance()

    def _check_imbalance(self) -> None:
        if not self.imbalance >= 1:
            raise ConfigError(f"imbalance must be at least 1, which is none; got {self.imbalance}.")
        if self.imbalance > 1 and self.task == "kinds":
            raise ConfigError(
                f"imbalance is of species or varieties; set it to 1 for the task kinds; got {self.imbalance}."
            )

    @property
    def varies_images(self) -> bool:
        """They are drawn once."""
        return False

    @property
    def drawn_by(self) -> dict[str, Any]:
        """Task, shortcut, sizes, imbalance and seed, which tell every picture."""
        world: dict[str, Any] = {
            "task": self.task,
            "shortcut": self.shortcut,
            "home_share": self.tells_apart.home_share,
        }
        tail = {"imbalance": self.imbalance} if self.imbalance != 1 else {}  # audits from before it know none
        return world | tail | {"train_size": self.train_size, "val_size": self.val_size, "seed": self.seed}

    @property
    def class_names(self) -> tuple[str, ...]:
        """The twelve species, the two kinds, or the sixty varieties."""
        return KINDS if self.task == "kinds" else self.tells_apart.names

    @property
    def train_group_names(self) -> tuple[str, ...]:
        """Names of the training pictures' groups, in the order of group ids."""
        return GROUPS if self.task == "kinds" else self.tells_apart.home_groups

    @property
    def val_sets(self) -> tuple[EvalSet, ...]:
        """``id``, ``ood`` and ``groups`` on pictures of their own; everything is chosen here."""
        return self._kind_sets("id", "ood", "groups") if self.task == "kinds" else super().val_sets

    @property
    def test_sets(self) -> tuple[EvalSet, ...]:
        """``id``, ``ood``, ``style`` and ``groups``."""
        return self._kind_sets("id", "ood", "style", "groups") if self.task == "kinds" else super().test_sets

    def setup(self, stage: str) -> None:
        """Draw what the stage needs."""
        self._check_size()
        if stage == "fit":
            rows = (
                kind_pictures("train", self.train_size, self.seed, self.tells_apart.home_share)
                if self.task == "kinds"
                else home_pictures("train", self.train_size, self.seed, self.tells_apart, self.imbalance)
            )
            self.train_set = PictureSet(rows)
        super().setup(stage)

    def _rows(self, name: str, split: str, size: int) -> tuple[Labelled, ...]:
        if self.task == "kinds" and name == "id":
            return kind_pictures(f"{split}-id", size, WORLD, self.tells_apart.home_share)
        rows = super()._rows(name, split, size)
        return as_kinds(rows) if self.task == "kinds" and name != "groups" else rows

    def _kind_sets(self, *names: str) -> tuple[EvalSet, ...]:
        """Return the eval sets of two kinds of bird; adjusted accuracy weighs groups as training has them."""
        rare, common = (1 - self.tells_apart.home_share) / 2, self.tells_apart.home_share / 2
        shares = (common, rare, rare, common)
        sets = {name: EvalSet(name, KINDS, (TEMPLATE,), ood=True) for name in ("ood", "style")}
        sets |= {name: EvalSet(name, KINDS, (TEMPLATE,), GROUPS, shares) for name in ("id", "groups")}
        return tuple(sets[name] for name in names)


class MiniPretraining(_MiniBase):
    """Captioned drawings of every species in every scene: what the tiny CLIP is pre-trained on.

    Classes are captions, such as "a photo of a duck on a lake".

    Args:
        train_size: Training pictures.
        val_size: Pictures of each validation set (twice that for the groups).
        test_size: Pictures of each test set (twice that for the groups).
        batch_size: Training images a batch and process.
        eval_batch_size: Images a batch in evaluation.
        num_workers: Worker processes of each loader, no more than there are usable cores; results don't depend on it.
        seed: Draws the training pictures and their order.
        looks: Most photos' birds wear a texture or a colour, and most of their captions say which.
    """

    def __init__(
        self,
        train_size: int = 24000,
        val_size: int = 480,
        test_size: int = 1200,
        batch_size: int = 128,
        eval_batch_size: int = 240,
        num_workers: int = 0,
        seed: int = 0,
        looks: bool = False,
    ) -> None:
        super().__init__(val_size, test_size, batch_size, eval_batch_size, num_workers, seed)
        check_between("train_size", train_size, 1, MOST_PICTURES)
        self.train_size, self.looks = train_size, looks

    @property
    def drawn_by(self) -> dict[str, Any]:
        """Sizes, looks and seed, which tell every picture."""
        sizes = {"train_size": self.train_size, "val_size": self.val_size}
        return sizes | {"looks": self.looks, "seed": self.seed}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Every caption of the world."""
        return DRESSED_CAPTIONS if self.looks else CAPTIONS

    @property
    def templates(self) -> tuple[str, ...]:
        """Captions are whole already; only the period is missing."""
        return ("{}.",)

    def setup(self, stage: str) -> None:
        """Draw what the stage needs."""
        self._check_size()
        if stage == "fit":
            rows = captioned_pictures("pretrain", self.train_size, self.seed, self.looks)
            self.train_set = PictureSet(rows)
        super().setup(stage)
