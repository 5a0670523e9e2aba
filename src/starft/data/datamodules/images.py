"""A DataModule around any source of images on disk: one to train on, any number to evaluate on."""

import sys
from collections.abc import Sequence
from enum import Enum
from functools import partial
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from starft.data.check import complain
from starft.data.contents import ImageContents
from starft.data.datamodules.base import BaseDataModule
from starft.data.fast_decoding import transform_for
from starft.data.imageset import Guarded, GuardedLoader, ImageSet, gathered
from starft.data.loading import ResumableLoader, TurnSampler, ignore_stop_signals
from starft.data.sampling import Draw
from starft.data.source import Source
from starft.data.transforms import normalized
from starft.errors import ConfigError
from starft.safe_text import say
from starft.types import Batch, ImagePreprocessing, PreprocessingModel


class ImageDataModule(ImageContents, BaseDataModule):
    """Train on one set of images on disk, validate on its ``val`` split, test on its ``test`` split and on other sets.

    Where the training source has no ``val`` split, a share of ``train`` is held out for it. Everything is checked
    before the model trains, as by ``starft data check``.

    Args:
        train: The data set to train on; its classes are the training classes.
        *args: Arguments of `ImageContents`, in their order.
        **kwargs: Arguments of `ImageContents`, such as ``evals``, and of `LoaderOptions`, such as ``batch_size``.
    """

    def __init__(self, train: Source, *args: Any, **kwargs: Any) -> None:
        super().__init__(train, *args, **kwargs)
        self.test_data: Sequence[ImageSet] = ()
        self._guards: list[Guarded] = []

    def predict_path(self, which: int, index: int) -> str:
        """Return the path of an image that is predicted."""
        return self.test_data[which].path(index)

    @property
    def varies_images(self) -> bool:
        """Whether they are augmented."""
        return self.augmentation is not None

    @property
    def train_captions(self) -> Sequence[str] | None:
        """Those of the training table, after the setup of a training."""
        return self.train_set.table.captions if isinstance(self.train_set, ImageSet) else None

    def setup(self, stage: str) -> None:
        """List and check what the stage needs.

        Args:
            stage: ``fit``, ``validate``, ``test`` or ``predict``.

        Raises:
            DataError: The data have problems; the sentence lists them.
            ConfigError: There is nothing to test, or the model doesn't tell how it wants its images.
        """
        if stage != "fit" and not self.evaluated(stage):
            verb = stage.value if isinstance(stage, Enum) else stage  # Lightning's stages are both
            have = self.source.without("val" if verb == "validate" else "test")
            if self.source.has_splits:
                splits = ", ".join(self.source.splits)
                have = f"{self.source.title} at {self.source.root} has the splits {splits}; give one more"
            raise ConfigError(f"There is nothing to {verb}: {have}, or data.init_args.evals.")
        stages = ("fit", "test") if stage == "fit" else (stage,)  # what a test would refuse is refused before training
        complain(self.check(*stages), notes=self.trainer is None or self.trainer.is_global_zero)
        preprocessing = self._preprocessing()
        plain = transform_for(self.eval_decode, preprocessing)
        if stage == "fit":
            varied = transform_for(self.decode, preprocessing, self.augmentation)
            self.train_set = ImageSet(self.training_table(), plain, varied, self.seed)
        sets = [ImageSet(self.table(item.source, item.split), plain) for item in self.evaluated(stage)]
        if stage in ("fit", "validate"):
            self.val_data = sets
        else:
            self.test_data = sets

    def _preprocessing(self) -> ImagePreprocessing:
        if self.preprocessing is not None:
            return self.preprocessing
        module: L.LightningModule | None = self.trainer.lightning_module if self.trainer is not None else None
        if isinstance(module, PreprocessingModel):
            return module.preprocessing
        who = type(module).__name__ if module is not None else "no trainer"
        raise ConfigError(
            f"How the model wants its images isn't known ({who}); "
            "give the module a property preprocessing, or set it on the DataModule."
        )

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalise images that came as 8-bit levels, in the trainer's precision; Lightning calls it on the device.

        Args:
            batch: From one of the loaders, or a row of ``test_data``.
            dataloader_idx: Of which loader; it doesn't matter.
        """
        images = normalized(batch["image"], self._preprocessing())
        if self.trainer is not None and images is not batch["image"]:
            images = self.trainer.precision_plugin.convert_input(images)
        batch["image"] = images
        return batch

    def _make_train_loader(self, train_set: Dataset[Any], draw: Draw, world: int, rank: int) -> ResumableLoader:
        assert isinstance(train_set, ImageSet)
        guard = self._guard(train_set)
        sampler = TurnSampler(train_set, world, rank, self.seed, draw)
        receive = partial(guard.receive, size=self.batch_size)
        return ResumableLoader(guard, sampler, self.batch_size, self.num_workers, gathered, receive)

    def _eval_loader(self, dataset: Dataset[Any], keep: bool = False) -> DataLoader[Any]:
        assert isinstance(dataset, ImageSet)
        return GuardedLoader(
            self._guard(dataset),
            batch_size=self.eval_batch_size,
            num_workers=self.num_workers,
            collate_fn=gathered,
            persistent_workers=keep and self.num_workers > 0,
            worker_init_fn=ignore_stop_signals,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """Return one loader for each of ``val_sets``; their workers live on from epoch to epoch."""
        return [self._eval_loader(dataset, keep=True) for dataset in self.val_data]

    def _guard(self, images: ImageSet) -> Guarded:
        self._guards.append(Guarded(images, self.on_bad_image))
        return self._guards[-1]

    def teardown(self, stage: str) -> None:
        """Tell how many images were skipped."""
        bad = {path: why for guard in self._guards for path, why in guard.bad.items()}
        self._guards = []
        if bad:
            shown = "; ".join(f"{path} ({why})" for path, why in sorted(bad.items())[:5])
            more = "; ..." if len(bad) > 5 else ""
            were = "1 image was" if len(bad) == 1 else f"{len(bad)} images were"
            say(f"{were} skipped, as on_bad_image is skip: {shown}{more}", file=sys.stderr)

    def on_exception(self, exception: BaseException) -> None:
        """Tell it at a run that was stopped, too."""
        self.teardown("")
