"""DataModules of the embedded world: fine-tuning with a shortcut, and the pre-training behind the tiny CLIP."""

from starft.data.datamodules import BaseDataModule
from starft.errors import ConfigError
from starft.mini.captions import CAPTIONS, KINDS
from starft.mini.splits import (
    GROUPS,
    NAMES,
    PictureSet,
    anywhere_pictures,
    captioned_pictures,
    group_pictures,
    home_pictures,
)
from starft.types import EvalSet

TEMPLATE = "a photo of a {}."
WORLD = 0
"""Seed of everything that is evaluated: the same pictures for every run."""


class _MiniBase(BaseDataModule):
    """Evaluation on the embedded world, which both DataModules share."""

    def __init__(
        self, val_size: int, test_size: int, batch_size: int, eval_batch_size: int, num_workers: int, seed: int
    ) -> None:
        super().__init__(batch_size, eval_batch_size, num_workers, seed)
        for name, value in (("val_size", val_size), ("test_size", test_size)):
            if value < 12 or value % 12:
                raise ConfigError(f"{name} must be a multiple of 12, the number of species; got {value}.")
        self.val_size, self.test_size = val_size, test_size

    @property
    def templates(self) -> tuple[str, ...]:
        """One template, as in the paper."""
        return (TEMPLATE,)

    @property
    def val_sets(self) -> tuple[EvalSet, ...]:
        """``id``, ``ood`` and ``groups`` on pictures of their own; everything is chosen here."""
        return self._sets("id", "ood", "groups")

    @property
    def test_sets(self) -> tuple[EvalSet, ...]:
        """``id``, ``ood``, ``style`` and ``groups``."""
        return self._sets("id", "ood", "style", "groups")

    def _sets(self, *names: str) -> tuple[EvalSet, ...]:
        species = {name: EvalSet(name, NAMES, (TEMPLATE,), ood=name != "id") for name in ("id", "ood", "style")}
        groups = EvalSet("groups", KINDS, (TEMPLATE,), GROUPS)
        return tuple((species | {"groups": groups})[name] for name in names)

    def setup(self, stage: str) -> None:
        """Draw what the stage needs.

        Args:
            stage: ``fit``, ``validate``, ``test`` or ``predict``.
        """
        if stage in ("fit", "validate"):
            self.val_data = (
                PictureSet(home_pictures("val-id", self.val_size, WORLD)),
                PictureSet(anywhere_pictures("val-ood", self.val_size, WORLD)),
                PictureSet(group_pictures("val-groups", 2 * self.val_size, WORLD)),
            )
        if stage in ("test", "predict"):
            self.test_data = (
                PictureSet(home_pictures("test-id", self.test_size, WORLD)),
                PictureSet(anywhere_pictures("test-ood", self.test_size, WORLD)),
                PictureSet(anywhere_pictures("test-style", self.test_size, WORLD, "sketch")),
                PictureSet(group_pictures("test-groups", 2 * self.test_size, WORLD)),
            )


class MiniWorld(_MiniBase):
    """Twelve drawn species, each mostly in its home scene: data with a shortcut.

    Tests: ``id`` (as in training), ``ood`` (scenes at random), ``style`` (sketches, scenes at random) and ``groups``
    (landbird or waterbird on land or water, scored zero-shot).

    Args:
        train_size: Training pictures, in equal numbers a species; drawn anew for each seed.
        val_size: Pictures of each validation set (twice that for the groups).
        test_size: Pictures of each test set (twice that for the groups).
        batch_size: Training images a batch and process.
        eval_batch_size: Images a batch in evaluation.
        num_workers: Worker processes of each loader; results don't depend on it.
        seed: Draws the training pictures and their order.
    """

    def __init__(
        self,
        train_size: int = 2400,
        val_size: int = 480,
        test_size: int = 1200,
        batch_size: int = 128,
        eval_batch_size: int = 240,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(val_size, test_size, batch_size, eval_batch_size, num_workers, seed)
        if train_size < 12 or train_size % 12:
            raise ConfigError(f"train_size must be a multiple of 12, the number of species; got {train_size}.")
        self.train_size = train_size

    @property
    def class_names(self) -> tuple[str, ...]:
        """The twelve species."""
        return NAMES

    def setup(self, stage: str) -> None:
        """Draw what the stage needs."""
        if stage == "fit":
            self.train_set = PictureSet(home_pictures("train", self.train_size, self.seed))
        super().setup(stage)


class MiniPretraining(_MiniBase):
    """Captioned drawings of every species in every scene: what the tiny CLIP is pre-trained on.

    Classes are captions, such as "a photo of a duck on a lake".

    Args:
        train_size: Training pictures.
        val_size: Pictures of each validation set (twice that for the groups).
        test_size: Pictures of each test set (twice that for the groups).
        batch_size: Training images a batch and process.
        eval_batch_size: Images a batch in evaluation.
        num_workers: Worker processes of each loader; results don't depend on it.
        seed: Draws the training pictures and their order.
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
    ) -> None:
        super().__init__(val_size, test_size, batch_size, eval_batch_size, num_workers, seed)
        self.train_size = train_size

    @property
    def class_names(self) -> tuple[str, ...]:
        """Every caption of the world."""
        return CAPTIONS

    @property
    def templates(self) -> tuple[str, ...]:
        """Captions are whole already; only the period is missing."""
        return ("{}.",)

    def setup(self, stage: str) -> None:
        """Draw what the stage needs."""
        if stage == "fit":
            self.train_set = PictureSet(captioned_pictures("pretrain", self.train_size, self.seed))
        super().setup(stage)
