"""What a run ran on, and what its training took: versions, commit, hardware, seconds and peak memory."""

import platform
import subprocess
import sys
import time
from importlib.metadata import version
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from starft import __version__

if sys.platform != "win32":
    import resource


PACKAGES = ("torch", "lightning", "open_clip_torch", "torchmetrics")


def versions() -> dict[str, str]:
    """Return the versions of Python, starft and what it computes with."""
    return {"python": platform.python_version(), "starft": __version__, **{name: version(name) for name in PACKAGES}}


def git_commit() -> str | None:
    """Return the commit of the working directory's repository, with ``-dirty`` if files differ; None outside of one."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return None
    return done.stdout.strip() or None


def hardware() -> dict[str, Any]:
    """Return what the run had to run on."""
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {"machine": platform.machine(), "torch_threads": torch.get_num_threads(), "gpus": gpus}


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
