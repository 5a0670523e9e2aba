"""One run, one folder: checked before the run, never overwritten, with its last and its best checkpoint."""

import math
import re
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from starft.errors import ConfigError, RunFolderError
from starft.files import digests
from starft.files.atomic import TEMPORARY, files_in, remove_temporary_files, replace_file
from starft.files.digests import MANIFEST, read_manifest
from starft.runs.lock import LOCK, RunLock
from starft.runs.unfinished import UNFINISHED
from starft.safe_text import say
from starft.wording import count_of, did_you_mean

CONFIG = "config.yaml"
POOL = "pool.json"
CHECKPOINTS = digests.CHECKPOINTS
LAST, BEST = "last.ckpt", "best.ckpt"
LOGS = "logs"
LOG_FILES = re.compile(r"hparams\.yaml|metrics(-\d+)?\.csv")
ROWS = "manifest.npz"
"""Beside the manifest: paths, labels, groups, sizes and times of the images."""


BEGUN = (f"{Path(CONFIG).stem}*.yaml", f"{Path(POOL).stem}*.json", MANIFEST, ROWS, UNFINISHED, LOCK)
"""What a run writes before its first checkpoint, beside its logs."""


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Make a run folder if need be, and let no other process work in it during a block.

    Args:
        folder: Where the run will write.

    Raises:
        RunFolderError: It isn't a folder, can't be written to, its manifest is damaged, or another process is at it.
    """
    _refuse_file(folder)
    check_writable(folder)
    read_manifest(folder)
    lock = RunLock(folder)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _refuse_file(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"The run folder {folder} is a file; give another --trainer.default_root_dir.")


def claim(folder: Path, resumed_from: Path | None, config: str = "") -> None:
    """Make the folder of a training run, or refuse it; the caller has its lock.

    A run that was killed before its first checkpoint just runs again; its log is kept under another name.

    Args:
        folder: Where the run will write.
        resumed_from: The checkpoint that is continued, or null for a new run.
        config: The resolved config.

    Raises:
        RunFolderError: The folder holds another run, isn't a folder, or can't be written to.
    """
    own = resumed_from is not None and resumed_from.resolve().parent == (folder / CHECKPOINTS).resolve()
    _refuse_file(folder)
    empty = not files_in(folder, [LOCK])
    again = not empty and not own and resumed_from is None and _never_saved(folder, config)
    if not own and not empty and not again:
        last = folder / CHECKPOINTS / LAST
        go_on = f", or continue it with --ckpt_path {last}" if last.is_file() else ""
        raise RunFolderError(
            f"The run folder {folder} isn't empty; give another --trainer.default_root_dir, "
            + (f"move it away{go_on}." if go_on else "or move it away.")
        )
    check_writable(folder)
    remove_temporary_files(folder, (CONFIG, POOL, MANIFEST, ROWS, UNFINISHED))
    remove_temporary_files(folder / CHECKPOINTS, (LAST, BEST))
    if again:
        _keep_logs_apart(folder)


def _never_saved(folder: Path, config: str) -> bool:
    """Return whether a folder holds nothing but what this very run wrote before it was killed without a checkpoint."""
    logs = {path for path in folder.glob(f"{LOGS}/**/*") if path.is_dir() or LOG_FILES.fullmatch(path.name)}
    parts = [path for path in folder.glob(f"{CHECKPOINTS}/*") if TEMPORARY.fullmatch(path.name)]
    own = {path for pattern in BEGUN for path in folder.glob(pattern)}
    own |= {folder / LOGS, folder / CHECKPOINTS, *logs, *parts}
    own |= {path for path in folder.iterdir() if TEMPORARY.fullmatch(path.name)}
    saved = folder / CONFIG
    same = not saved.exists() or (saved.is_file() and saved.read_bytes() == config.encode())
    return same and (saved.exists() or (folder / MANIFEST).exists()) and own >= {*folder.rglob("*")}


def _keep_logs_apart(folder: Path) -> None:
    """Rename the logs of a run that begins anew, so that nobody joins two beginnings to one curve."""
    for path in folder.glob(f"{LOGS}/*/metrics.csv"):
        number = 1
        while (aside := path.with_stem(f"{path.stem}-{number}")).exists():
            number += 1
        path.rename(aside)


class Traces:
    """What a run leaves that ends by a person's mistake before its first checkpoint, so that it can be taken back.

    Made before the run writes anything.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._above = [above for above in (folder, *folder.parents) if not above.exists()]
        self._before = {path for path in (*self._files(), *self._folders()) if path.exists()}

    def _files(self) -> list[Path]:
        return [path for pattern in (*BEGUN, f"{LOGS}/*/hparams.yaml") for path in self.folder.glob(pattern)]

    def _folders(self) -> list[Path]:
        return [*self.folder.glob(f"{LOGS}/*"), self.folder / LOGS, self.folder / CHECKPOINTS]

    def remove(self, logs: bool = False) -> None:
        """Remove the files and the empty folders that the run made, unless it has saved or, before a step, logged.

        Args:
            logs: Remove the log too: steps were made, and what was wrong came before the first checkpoint.
        """
        new = [path for path in self._folders() if path.is_dir() and path not in self._before]
        logged = [path / "metrics.csv" for path in new if (path / "metrics.csv").is_file()]
        saved = any((self.folder / CHECKPOINTS).glob("*.ckpt")) and (logs or self.folder / CHECKPOINTS in new)
        if saved or (logged and not logs):
            return
        for path in (*self._files(), *logged):
            if path not in self._before:
                path.unlink()
        for made in (*new, *self._above):
            if made.is_dir() and not any(made.iterdir()):
                made.rmdir()


def check_writable(folder: Path) -> None:
    """Make a folder if need be and write a byte into it.

    Args:
        folder: Where a run will write.

    Raises:
        RunFolderError: It can't be made or written to.
    """
    probe = folder / f".writable.{uuid.uuid4().hex}.tmp"  # a name that is known as temporary if a kill leaves it
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(probe, b"x")
        probe.unlink()
    except OSError as error:
        raise RunFolderError(f"The run folder {folder} can't be written to: {error.strerror}; give another.") from error


def refuse_output(path: Path) -> None:
    """Refuse to write results or predictions where some are.

    Args:
        path: The file that a verb would write.

    Raises:
        RunFolderError: It exists.
    """
    if path.exists():
        raise RunFolderError(f"{path} exists already; move it away or give another --trainer.default_root_dir.")


def save_config(folder: Path, text: str, name: str = CONFIG) -> Path:
    """Write the resolved config, or another file that says what was run, beside the checkpoints.

    Args:
        folder: The run folder.
        text: YAML, or what the file is to hold.
        name: Of the file.

    Returns:
        Where it went: ``config.yaml``, or ``config-2.yaml`` and on for a run continued with other settings; an earlier,
        different one is kept.
    """
    number, path = 1, folder / name
    while path.exists():
        if path.read_text(encoding="utf-8") == text:
            return path
        number += 1
        path = folder / f"{Path(name).stem}-{number}{Path(name).suffix}"
    replace_file(path, text.encode())
    return path


def check_monitor(monitor: str | None, validated: Sequence[str]) -> None:
    """Refuse a metric of a set that isn't validated.

    Args:
        monitor: Such as ``val/id/acc``, or null.
        validated: Names of the validation sets, the training data's own first.

    Raises:
        ConfigError: It isn't one of them.
    """
    named = re.fullmatch(r"val/([^/]+)/(\w+)", monitor or "")
    if named is None or named[1] in validated:
        return
    if not validated:
        raise ConfigError(f"checkpoint.monitor is {monitor!r}, but nothing is validated; give null.")
    are = "sets are" if len(validated) > 1 else "set is"
    raise ConfigError(
        f"checkpoint.monitor is {monitor!r}, but the validation {are} called {', '.join(validated)}; "
        f"give --checkpoint.monitor val/{validated[0]}/{named[2]}, or null."
    )


class BestCheckpoint(ModelCheckpoint):
    """Keeps the checkpoint that a validation metric likes best; a metric that isn't there is told before training."""

    not_finite = False
    """Whether the metric was not a number at some validation."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best so far, also where the run folder was moved or copied: Lightning forgets it then."""
        here = Path(str(self.dirpath)) / f"{self.filename}.ckpt"
        if state_dict["dirpath"] != self.dirpath and state_dict["best_model_path"] and here.is_file():
            held = dict.fromkeys(("best_model_path", "kth_best_model_path"), str(here))
            best = {"best_k_models": {str(here): state_dict["best_model_score"]}}
            state_dict = {**state_dict, **held, **best, "dirpath": self.dirpath}
        super().load_state_dict(state_dict)

    def forget(self) -> None:
        """Let the next validation be the best so far: what came before it is no longer this run's result."""
        self.best_model_score, self.best_k_models = None, {}
        self.best_model_path = self.kth_best_model_path = ""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Look for the eval set that the metric names, as soon as the data are known."""
        if stage == "fit":
            data = trainer.datamodule  # type: ignore[attr-defined]
            check_monitor(self.monitor, [one.name for one in data.val_sets])
        super().setup(trainer, pl_module, stage)

    def on_sanity_check_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Look for the metric among those of the trial validation."""
        if self.monitor is not None and self.monitor not in trainer.callback_metrics:
            known = sorted(trainer.callback_metrics)
            if not known:
                raise ConfigError(
                    f"checkpoint.monitor is {self.monitor!r}, but the data hold nothing to validate on; "
                    "give them a val split or a val_fraction, or set checkpoint.monitor to null."
                )
            raise ConfigError(
                f"checkpoint.monitor is {self.monitor!r}, but validation logs {', '.join(known)}; "
                f"give one of these, or null.{did_you_mean(self.monitor, known)}"
            )

    def check_monitor_top_k(self, trainer: L.Trainer, current: Tensor | None = None) -> bool:
        """Return whether a value is the best so far; one that isn't a finite number chooses nothing."""
        if current is None or math.isfinite(float(current)):
            return bool(super().check_monitor_top_k(trainer, current))
        self.not_finite = True
        if trainer.is_global_zero:
            say(
                f"Note: {self.monitor} is {float(current)} after step {trainer.global_step}: no checkpoint is chosen.",
                file=sys.stderr,
            )
        return False

    def why_none(self, trainer: L.Trainer) -> str:
        """Return a sentence on a run that ended without ``best.ckpt``: why, and what to set.

        Args:
            trainer: After the run.
        """
        if self.not_finite:
            return (
                f"There is no best.ckpt: {self.monitor} was never a number, as no validation image counts in it; "
                "set checkpoint.monitor to another metric, or validate on more images."
            )
        every, batches = trainer.check_val_every_n_epoch, trainer.fit_loop.epoch_loop.total_batch_idx + 1
        epochs = int(batches // trainer.num_training_batches)
        ended = "There is no best.ckpt: the run ended before its first validation"
        if trainer.limit_val_batches == 0:
            return (
                "There is no best.ckpt: nothing is validated where trainer.limit_val_batches is 0; "
                "leave it out, or set checkpoint.monitor to null."
            )
        if every is not None and every > epochs > 0:
            return (
                f"{ended}, as trainer.check_val_every_n_epoch is {every} and it had {count_of(epochs, 'whole epoch')}; "
                f"set it to at most {epochs}, or train longer."
            )
        first = "" if every in (None, 1) else "trainer.check_val_every_n_epoch to 1 and "
        return (
            f"{ended}, after {batches} {'batch' if batches == 1 else 'batches'}; "
            f"set {first}trainer.val_check_interval to at most {batches}, or train longer."
        )


class LastCheckpoint(ModelCheckpoint):
    """Keeps the latest checkpoint; of its own class, so that a config may have checkpoints of Lightning's beside it."""


def checkpoint_callbacks(
    folder: Path, monitor: str | None, mode: str, every_n_train_steps: int | None
) -> list[ModelCheckpoint]:
    """Return the callbacks that keep ``last.ckpt`` and, where something is monitored, ``best.ckpt``.

    Args:
        folder: The run folder.
        monitor: A validation metric, or null.
        mode: ``max`` or ``min``.
        every_n_train_steps: Write ``last.ckpt`` this often too, and not only after each epoch.
    """
    where: dict[str, Any] = {"dirpath": folder / CHECKPOINTS, "enable_version_counter": False}
    callbacks: list[ModelCheckpoint] = []
    if monitor is not None:  # first: last.ckpt must know which one is the best by now
        callbacks.append(BestCheckpoint(filename="best", monitor=monitor, mode=mode, **where))
    callbacks.append(LastCheckpoint(filename="last", every_n_epochs=1, save_on_train_epoch_end=True, **where))
    if every_n_train_steps is not None:
        callbacks.append(LastCheckpoint(filename="last", every_n_train_steps=every_n_train_steps, **where))
    return callbacks
