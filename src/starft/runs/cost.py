"""What a training took: seconds and peak memory, kept in its checkpoints."""

import sys
import time
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

if sys.platform != "win32":
    import resource


def peak_memory_bytes() -> int:
    """Return the most memory that this process has had so far, in bytes (resident set size); 0 where nobody counts."""
    if sys.platform == "win32":
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB


class TrainingCost(Callback):
    """Keeps the seconds and the peak memory of a training in its checkpoints.

    Of a run that was stopped and continued, the seconds are summed up to the checkpoint it went on from, and the peak
    is the highest. Validation counts; starting Python and building the model don't. The peak is that of the process,
    so it means something only where the process did nothing else before. On a GPU, its own peak is kept too.
    """

    def __init__(self) -> None:
        self._earlier: dict[str, Any] = {}
        self._start: float | None = None

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the clock."""
        self._start = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Return ``seconds``, ``peak_memory_bytes`` and ``peak_gpu_memory_bytes`` (0 without a GPU) up to now."""
        seconds = time.monotonic() - self._start if self._start is not None else 0.0
        gpu = torch.cuda.max_memory_allocated()
        return {
            "seconds": round(self._earlier.get("seconds", 0.0) + seconds, 2),
            "peak_memory_bytes": max(self._earlier.get("peak_memory_bytes", 0), peak_memory_bytes()),
            "peak_gpu_memory_bytes": max(self._earlier.get("peak_gpu_memory_bytes", 0), gpu),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what a checkpoint says."""
        self._earlier = dict(state_dict)

    @property
    def told(self) -> dict[str, Any] | None:
        """What the checkpoint that was loaded says, or None where there was none."""
        return self._earlier or None
