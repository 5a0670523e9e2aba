"""How checkpoints are written: whole or not at all, beside what they replace."""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from starft.runs.checkpoints import state_digest
from starft.runs.layout import CHECKPOINTS
from starft.runs.manifest import replace_listed_file


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its path and swaps it in; reads none that holds code.

    Lightning's own goes by way of the system's temporary folder. Where that is another disk, the last leg is a copy
    over the earlier checkpoint, and a kill or a full disk in the middle of it loses both.

    Args:
        folder: The run folder. Its checkpoints may be a link to another disk: Lightning asks for their path there, and
            the run's manifest is here. None for none.
        after: Is called when a checkpoint is written, by the process that writes it.
    """

    def __init__(self, folder: Path | None = None, after: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._after = after
        self.folder = folder / CHECKPOINTS if folder is not None else None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write one checkpoint."""
        buffer = io.BytesIO()
        with ThreadPoolExecutor(1) as thread:
            state = thread.submit(state_digest, checkpoint)
            torch.save(checkpoint, buffer)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.folder is not None and path.parent.resolve() == self.folder.resolve():
            path = self.folder / path.name
        # not copied: a large model's checkpoint is held once
        replace_listed_file(path, buffer.getbuffer(), state=state.result())
        if self._after is not None:
            self._after()

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Read one checkpoint: tensors and plain values, whatever ``weights_only`` says."""
        return super().load_checkpoint(path, map_location, weights_only=True)
