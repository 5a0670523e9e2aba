"""What all DataModules share: loaders, their order, and the description of what they hold."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol, cast

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from starft.data.contents import LoaderOptions
from starft.data.loading import ResumableLoader, ShuffledSampler, SignalProofLoader, ignore_stop_signals
from starft.data.problem_texts import told_of
from starft.data.sampling import Draw, draw_for, everything, upsampled
from starft.data.source import ImageTable
from starft.errors import ConfigError
from starft.types import EvalSet, ImagePreprocessing


class Labelled(Protocol):
    """What sampling asks of a training set: labels that are known before an image is decoded."""

    @property
    def labels(self) -> Sequence[int]:
        """Class of each image."""
        ...

    @property
    def groups(self) -> Sequence[int] | None:
        """Group of each image; None where they have none."""
        ...


class BaseDataModule(LoaderOptions, L.LightningDataModule, ABC):
    """Loaders around map-style data sets that yield `starft.types.Batch` items.

    A subclass makes ``train_set``, ``val_data`` and ``test_data`` in ``setup`` and describes them in the properties.

    Args:
        *args: Arguments of `LoaderOptions`, in their order.
        **kwargs: Arguments of `LoaderOptions`, such as ``batch_size``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.preprocessing: ImagePreprocessing | None = None
        """How the model wants its images; null asks the trainer's model."""
        self._train_loader: ResumableLoader | None = None
        self._resume_from: dict[str, int] | None = None
        self._draw: Draw | None = None
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

    @property
    def train_group_names(self) -> tuple[str, ...]:
        """Names of the training images' groups, in the order of group ids; empty where they have none."""
        return ()

    @property
    def train_group_counts(self) -> dict[str, int]:
        """Training images of each group, by name, in the order of group ids; empty where they have no groups."""
        return _group_counts(self.train_set, self.train_group_names)

    @property
    def train_class_counts(self) -> tuple[int, ...]:
        """Training images of each class, in label order; empty where their labels aren't known beforehand."""
        labels: Sequence[int] | None = getattr(self.train_set, "labels", None)
        counts = Counter(labels)
        return tuple(counts[label] for label in range(len(self.class_names))) if labels is not None else ()

    @property
    def val_group_counts(self) -> tuple[dict[str, int], ...]:
        """The same of each of ``val_sets``."""
        return tuple(
            _group_counts(images, item.group_names) for images, item in zip(self.val_data, self.val_sets, strict=True)
        )

    @property
    def train_captions(self) -> Sequence[str] | None:
        """Caption of each training image, by its ``index``; None where captions are made of class names."""
        return None

    def tables(self, stage: str) -> dict[str, ImageTable]:
        """Return the images on disk that a stage reads, by what messages call them; none where they are drawn.

        Args:
            stage: ``fit``, which includes the test sets where they are known, ``validate``, ``test`` or ``predict``.
        """
        return {}

    @property
    def varies_images(self) -> bool:
        """Whether a training image isn't the same in each epoch."""
        return True

    @property
    def drawn_by(self) -> dict[str, Any]:
        """What the training images are drawn by, where they aren't on disk: plain values by name."""
        return {}

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
        draw = self._draw
        if draw is None and self.sampling == "shuffle":  # asks for no labels
            draw = everything(len(self.train_set))  # type: ignore[arg-type]  # map-style data sets have a length
        elif draw is None:
            draw = draw_for(self.sampling, self._labelled.labels, self._labelled.groups, self.seed)
        if draw.length < self.batch_size * world:
            left = f" that are left by {self.sampling}" if self.sampling.endswith("subsampled") else ""
            raise ConfigError(
                f"batch_size {self.batch_size} on {told_of(world, 'device', 'devices')} is more than the "
                f"{draw.length} training images{left}; set data.init_args.batch_size to at most {draw.length // world}."
            )
        self._train_loader = self._make_train_loader(self.train_set, draw, world, rank)
        if self._resume_from is not None:
            self._train_loader.load_state_dict(self._resume_from)
            self._resume_from = None
        return self._train_loader

    def plain_train_dataloader(self) -> DataLoader[Any]:
        """Return every training image once, in their order, prepared as in evaluation."""
        assert self.train_set is not None, "setup comes first"
        return self._eval_loader(self.train_set)

    @property
    def _labelled(self) -> Labelled:
        assert self.train_set is not None, "setup comes first"
        return cast(Labelled, self.train_set)

    def _make_train_loader(self, train_set: Dataset[Any], draw: Draw, world: int, rank: int) -> ResumableLoader:
        sampler = ShuffledSampler(train_set, world, rank, self.seed, draw)
        return ResumableLoader(train_set, sampler, self.batch_size, self.num_workers)

    def upsample(self, chosen: Sequence[int], factor: int) -> None:
        """From the next epoch on, let some training images count several times; an epoch keeps its length.

        Args:
            chosen: Their positions.
            factor: How often each counts, at least 1.

        Raises:
            ConfigError: The run samples in another way than by a plain shuffle.
        """
        self._draw_from(upsampled(len(self._labelled.labels), chosen, factor))

    def weigh(self, weights: Sequence[float]) -> None:
        """From the next epoch on, draw training images with replacement; an epoch keeps its length.

        Args:
            weights: Chance of each image, up to a factor.

        Raises:
            ConfigError: The run samples in another way than by a plain shuffle.
        """
        size = len(self._labelled.labels)
        self._draw_from(Draw(torch.arange(size), size, torch.tensor(weights, dtype=torch.float64)))

    def _draw_from(self, draw: Draw) -> None:
        if self.sampling != "shuffle":
            raise ConfigError(
                f"Training images can't be upsampled on top of sampling {self.sampling}; "
                "set data.init_args.sampling to shuffle."
            )
        self._draw = draw
        if self._train_loader is not None:
            self._train_loader.draw_from(draw)

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
        """Return the test loaders.

        Raises:
            ConfigError: A set has fewer images than there are processes; Lightning would stop at that.
        """
        world = self.trainer.world_size if self.trainer is not None else 1
        for eval_set, images in zip(self.predict_sets, self.test_data, strict=True):
            count = len(images)  # type: ignore[arg-type]  # map-style data sets have a length
            if count < world:
                raise ConfigError(
                    f"The set {eval_set.name} has {told_of(count, 'image', 'images')} to predict, fewer than the "
                    f"{world} devices; set trainer.devices to 1."
                )
        return self.test_dataloader()

    def _eval_loader(self, dataset: Dataset[Any]) -> DataLoader[Any]:
        return SignalProofLoader(
            dataset,
            batch_size=self.eval_batch_size,
            num_workers=self.num_workers,
            worker_init_fn=ignore_stop_signals,
            pin_memory=torch.cuda.is_available(),
        )


def _group_counts(images: Dataset[Any] | None, names: Sequence[str]) -> dict[str, int]:
    groups: Sequence[int] | None = getattr(images, "groups", None)
    counts = Counter(groups)
    return {name: counts[group] for group, name in enumerate(names)} if groups is not None else {}
