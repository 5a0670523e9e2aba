"""Images of noise behind a DataModule, for what is measured through Lightning: decoding has a benchmark of its own."""

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from starft.types import Batch, EvalSet


class Noise(Dataset[Batch]):
    """One picture of noise, again and again.

    Args:
        size: Height and width.
        count: How many images there are.
    """

    def __init__(self, size: tuple[int, int], count: int) -> None:
        self.image, self.count = torch.randn(3, *size, generator=torch.Generator().manual_seed(0)), count

    def __len__(self) -> int:
        """Return the number of images."""
        return self.count

    def __getitem__(self, index: int) -> Batch:
        """Return an image; labels take turns."""
        return Batch(image=self.image, label=torch.tensor(index % 2), index=torch.tensor(index))


class NoiseData(L.LightningDataModule):
    """Training and test images of two classes.

    Args:
        size: Height and width of the images.
        batch_size: Images a batch.
        batches: How many batches.
    """

    class_names: tuple[str, ...] = ("landbird", "waterbird")
    templates: tuple[str, ...] = ("a photo of a {}.",)
    val_sets: tuple[EvalSet, ...] = ()

    def __init__(self, size: tuple[int, int], batch_size: int, batches: int) -> None:
        super().__init__()
        self.batch_size, self.noise = batch_size, Noise(size, batch_size * batches)
        self.test_sets = self.predict_sets = (EvalSet("noise", self.class_names, self.templates),)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return the batches."""
        return DataLoader(self.noise, batch_size=self.batch_size)

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return the batches."""
        return self.train_dataloader()
