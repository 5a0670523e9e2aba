"""A training of milliseconds with everything around it that a run has: its checkpoints, marks, stops and guards."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from starft.data.loading import ResumableLoader, ShuffledSampler
from starft.runs.checkpoint_files import WholeCheckpointIO
from starft.runs.ending import MarkUnfinished
from starft.runs.kept_checkpoints import checkpoint_callbacks
from starft.runs.layout import CHECKPOINTS, LAST
from starft.training.guards import GuardedModule
from starft.training.stopping import StopSafely


class SmallModule(GuardedModule):
    """One linear layer; each validation leaves its step and value in ``validated``."""

    def __init__(self, lr: float = 0.1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.lr, self.seed, self.layer = lr, 0, nn.Linear(3, 1)
        self.validated: list[tuple[int, float]] = []
        self.trained: list[int] = []

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:  # type: ignore[override]
        images, indices = batch
        loss = self.layer(images).square().mean()
        self.trained += [int(index) for index in indices]
        self._losses.note(self.global_step + 1, {"train/square": loss.detach(), "train/loss": loss.detach()})
        return loss

    def on_validation_epoch_start(self) -> None:
        self.check_finite()

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int, dataloader_idx: int = 0) -> None:  # type: ignore[override]
        """Fall and rise with the step, so that the best isn't the last."""
        self.log("val/id/acc", -((self.global_step - 5.0) ** 2) + self.layer.weight.sum() * 1e-3)

    def on_validation_epoch_end(self) -> None:
        if not self.trainer.sanity_checking:
            self.validated.append((self.global_step, float(self.trainer.callback_metrics["val/id/acc"])))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=self.lr)


class SmallData(L.LightningDataModule):
    """Eight rows, two a batch: four steps an epoch."""

    val_sets = (SimpleNamespace(name="id"),)

    def __init__(self) -> None:
        super().__init__()
        rows = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
        self.rows = TensorDataset(rows, torch.arange(8))

    def train_dataloader(self) -> DataLoader[Any]:
        return ResumableLoader(self.rows, ShuffledSampler(self.rows, 1, 0, seed=3), batch_size=2, num_workers=0)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.rows, batch_size=8)


class Killed(BaseException):
    """As a kill from outside: nobody gets to tidy up."""


def last_of(folder: Path) -> Path:
    return folder / CHECKPOINTS / LAST


def train(
    folder: Path,
    *callbacks: L.Callback,
    module: SmallModule | None = None,
    every_n_train_steps: int | None = None,
    goes_on: bool = False,
    **options: Any,
) -> tuple[SmallModule, L.Trainer]:
    """Train three epochs, or what ``options`` of the trainer say; return the module and its trainer."""
    module = module or SmallModule()
    folder.mkdir(exist_ok=True)
    stop = StopSafely(folder)
    trainer = L.Trainer(
        **{"max_epochs": 3, "accelerator": "cpu", "num_sanity_val_steps": 0, **options},
        callbacks=[
            *callbacks,
            *checkpoint_callbacks(folder, "val/id/acc", "max", every_n_train_steps),
            stop,
            MarkUnfinished(folder),
        ],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        plugins=[WholeCheckpointIO()],
    )
    with stop.heard(trainer):
        trainer.fit(module, datamodule=SmallData(), ckpt_path=last_of(folder) if goes_on else None)
    return module, trainer
