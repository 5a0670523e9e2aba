"""What a run leaves out of what libraries say, and what it doesn't."""

import logging
import warnings

import pytest

from starft.cli.library_messages import LOGS, without_noise

NOISE = [
    "The number of training batches (5) is smaller than the logging interval Trainer(log_every_n_steps=10).",
    "The 'val_dataloader' does not have many workers which may be a bottleneck.",
    "Found 79 module(s) in eval mode at the start of training.",
]


def test_warnings_that_nobody_can_act_on() -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with without_noise():
            for said in (*NOISE, "The loss is NaN.", "Look: The 'val_dataloader' does not have many workers"):
                warnings.warn(said, stacklevel=1)
        warnings.warn(NOISE[0], stacklevel=1)
    told = [str(one.message) for one in heard]
    assert told == ["The loss is NaN.", "Look: The 'val_dataloader' does not have many workers", NOISE[0]]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("Restoring states from the checkpoint path at last.ckpt", False),
        ("Loaded model weights from the checkpoint at last.ckpt", True),
        ("Loading `train_dataloader` to estimate number of stepping batches.", False),
        ("TPU available: False, using: 0 TPU cores", False),
        ("TPU available: True, using: 8 TPU cores", True),
        ("GPU available: True (cuda), used: True", True),
        ("\N{ELECTRIC LIGHT BULB} Tip: For seamless cloud uploads", False),
    ],
)
def test_lines_of_a_log(said: str, kept: bool) -> None:
    log = logging.getLogger(LOGS[0])
    record = log.makeRecord(log.name, logging.INFO, __file__, 1, said, (), None)
    with without_noise():
        with without_noise():
            pass  # as where a command runs another
        assert bool(log.filter(record)) is kept
    assert log.filter(record), "outside of a run nothing is left out"
