"""What all DataModules share: loaders, their order, and the description of what they hold."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from starft.data.loading import ResumableLoader, ShuffledSampler, deaf_to_stops
from starft.errors import ConfigError
from starft.types import EvalSet, ImagePreprocessing


class BaseDataModule(L.LightningDataModule, ABC):
    """Loaders around map-style data sets that yield `starft.types.Batch` items.

    A subclass makes ``train_set``, ``val_data`` and ``test_data`` in ``setup`` and describes them in the properties.

    Args:
        batch_size: Training images a batch and process.
        eval_batch_size: Images a batch in evaluation.
        num_workers: Worker processes of each loader; results don't depend on it.
        seed: Start of the shuffles.
    """

    def __init__(self, batch_size: int, eval_batch_size: int, num_workers: int, seed: int) -> None:
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("eval_batch_size", eval_batch_size, 1),
            ("num_workers", num_workers, 0),
            ("seed", seed, 0),
        ):
            if value < least:
                raise ConfigError(f"{name} must be at least {least}; got {value}.")
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.num_workers, self.seed = num_workers, seed
        self.preprocessing: ImagePreprocessing | None = None
        """How the model wants its images; null asks the trainer's model."""
        self._train_loader: ResumableLoader | None = None
        self._resume_from: dict[str, int] | None = None
        self.train_set: Dataset[Any] | None = None
        self.val_data: Sequence[Dataset[Any]] = ()
        self.test_data: Sequence[Dataset[Any]] = ()

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """Names of the training classes, in label order."""

    @property
    @abstractmethod
    def templates(self) -> tuple[str, ...]:
        """Caption templates of the training classes."""

    @property
    @abstractmethod
    def val_sets(self) -> tuple[EvalSet, ...]:
        """What ``val_dataloader`` yields, in its order."""

    @property
    @abstractmethod
    def test_sets(self) -> tuple[EvalSet, ...]:
        """What ``test_dataloader`` yields, in its order."""

    def take_classes(self, class_names: tuple[str, ...], templates: tuple[str, ...]) -> None:
        """Hear what a checkpoint was trained on, for predictions where the training data are gone.

        Args:
            class_names: One name a class, in label order.
            templates: Caption templates of these classes.
        """

    @property
    def predict_sets(self) -> tuple[EvalSet, ...]:
        """What ``predict_dataloader`` yields, in its order."""
        return self.test_sets

    def predict_path(self, which: int, index: int) -> str:
        """Return the path of an image that is predicted, or an empty text where it has none.

        Args:
            which: Position of its set in ``predict_sets``.
            index: Position of the image in the set.
        """
        return ""

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the training loader: shuffled by (seed, epoch), whole batches only."""
        assert self.train_set is not None, "setup comes first"
        trainer = self.trainer
        world, rank = (trainer.world_size, trainer.global_rank) if trainer is not None else (1, 0)
        size = len(self.train_set)  # type: ignore[arg-type]  # map-style data sets have a length
        if size < self.batch_size * world:
            raise ConfigError(
                f"batch_size {self.batch_size} on {world} device(s) is more than the {size} training images; "
                f"set data.init_args.batch_size to at most {size // world}."
            )
        self._train_loader = self._make_train_loader(self.train_set, world, rank)
        if self._resume_from is not None:
            self._train_loader.load_state_dict(self._resume_from)
            self._resume_from = None
        return self._train_loader

    def plain_train_dataloader(self) -> DataLoader[Any]:
        """Return every training image once, in their order, prepared as in evaluation."""
        assert self.train_set is not None, "setup comes first"
        return self._eval_loader(self.train_set)

    def _make_train_loader(self, train_set: Dataset[Any], world: int, rank: int) -> ResumableLoader:
        sampler = ShuffledSampler(train_set, world, rank, self.seed)
        return ResumableLoader(train_set, sampler, self.batch_size, self.num_workers)

    def state_dict(self) -> dict[str, int]:
        """Return where in the epoch the training loader is, for a checkpoint."""
        return self._train_loader.state_dict() if self._train_loader is not None else {}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Take up the training loader where a checkpoint was written.

        Lightning restores a loader's own state only if nobody has asked for the length of the run before, and the
        learning-rate schedule has; a DataModule's state comes early enough.
        """
        self._resume_from = state_dict or None

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """Return one loader for each of ``val_sets``."""
        return [self._eval_loader(dataset) for dataset in self.val_data]

    def test_dataloader(self) -> list[DataLoader[Any]]:
        """Return one loader for each of ``test_sets``."""
        return [self._eval_loader(dataset) for dataset in self.test_data]

    def predict_dataloader(self) -> list[DataLoader[Any]]:
        """Return the test loaders."""
        return self.test_dataloader()

    def _eval_loader(self, dataset: Dataset[Any]) -> DataLoader[Any]:
        return DataLoader(
            dataset,
            batch_size=self.eval_batch_size,
            num_workers=self.num_workers,
            worker_init_fn=deaf_to_stops,
            pin_memory=torch.cuda.is_available(),
        )
