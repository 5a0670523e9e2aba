"""What libraries say during a run that nobody can act on, or that is said already: left out. Real warnings stay."""

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from jsonargparse import DefaultHelpFormatter

WARNINGS = (
    # The twin is in eval mode for good, and labels are noted in the module's hook: both on purpose.
    r"Found \d+ module\(s\) in eval mode",
    "You have overridden `on_before_batch_transfer`",
    # A run that is continued finds its own checkpoints; a folder with another's was refused before.
    "Checkpoint directory .* exists and is not empty",
    # The summary's estimate of megabytes is all that bf16 changes.
    "Precision .* is not supported by the model summary",
    # Lightning's own use of what torch deprecates.
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
    # A checkpoint may be continued into a new folder, or tested without the callbacks of its training.
    "The dirpath has changed from",
    "Be aware that when using `ckpt_path`, callbacks used to create",
    # A run that ends before its first validation has a note of ours; a metric that isn't there is an error.
    r"`ModelCheckpoint\(monitor=.*\)` could not find the monitored key",
    # Drawn and small data need no worker processes, and who has more sets num_workers.
    "The '.*dataloader' does not have many workers",
    # Steps are counted over epochs, so that small data are logged too, every few epochs.
    "The number of training batches .* is smaller than the logging interval",
    # Metrics are summed over all processes by themselves, and rows that come twice are counted once.
    "It is recommended to use `self.log",
    "Using `DistributedSampler` with the dataloaders",
    # MLflow's own use of what SQLAlchemy 2.1 deprecates.
    "The ``noload`` loader strategy is deprecated",
    # jsonargparse 4.49's new name of it isn't in older versions.
    r"(?s)\s*skip_none parameter was deprecated",
    # Lightning suspects a mistake where words are handed over in a process that has words of its own.
    "LightningCLI's args parameter is intended",
)
"""How warnings begin, as patterns."""

LINES = re.compile(
    ".*Tip:"  # Lightning advertises other products once a run
    "|`weights_only` was not set"  # its default for reading checkpoints isn't what reads ours
    "|Restoring states from the checkpoint path"  # the next line says that it was done, or ours why not
    "|Loading `train_dataloader` to estimate"
    "|TPU available: False"
)
"""How lines of Lightning's logs begin."""

LOGS = ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.trainer.connectors.checkpoint_connector")


ROLE = re.compile(r":[a-z:]+:`(?:[^`<]*<)?[~.]?(?:[\w.]*\.)?([^`>]+)>?`")
"""Sphinx's marks in Lightning's docstrings, such as a paramref to ``~lightning.pytorch.Trainer.max_steps``."""


class PlainHelp(DefaultHelpFormatter):
    """Help without Sphinx's marks."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return super()._split_lines(ROLE.sub(r"\1", text), width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return super()._fill_text(ROLE.sub(r"\1", text), width, indent)


@contextmanager
def without_noise() -> Iterator[None]:
    """Leave out the noise of what runs inside."""

    def wanted(record: logging.LogRecord) -> bool:
        return LINES.match(record.getMessage()) is None

    logs = [logging.getLogger(name) for name in LOGS]
    with warnings.catch_warnings():
        for message in WARNINGS:
            warnings.filterwarnings("ignore", message=message)
        # Lightning 2.6.6 calls what jsonargparse 4.53 deprecates; nothing of ours, and nothing a user can mend.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="lightning.*")
        for log in logs:
            log.addFilter(wanted)
        try:
            yield
        finally:
            for log in logs:
                log.removeFilter(wanted)


@contextmanager
def without_info() -> Iterator[None]:
    """Leave out what libraries say beside errors while something runs inside that only looks."""
    log = logging.getLogger(LOGS[0])
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
