"""Lightning's trainer on the CPU, without what it logs, prints, validates and writes unless a test asks for it."""

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint


def trainer(folder: Path | None = None, epochs: int | None = None, *callbacks: L.Callback, **options: Any) -> L.Trainer:
    own = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "limit_val_batches": 0,
    }
    return L.Trainer(max_epochs=epochs, default_root_dir=folder, callbacks=list(callbacks), **own | options)


class Recorder(L.Callback):
    """Notes what each training step logs."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.steps.append({name: float(value) for name, value in trainer.logged_metrics.items()})
