"""Lightning's own callbacks: those that can't work here, and what to take instead."""

from collections.abc import Iterable

from lightning.pytorch import callbacks as theirs
from lightning.pytorch.callbacks import Callback

from starft.errors import ConfigError

FREEZE = "freeze with model.freeze_image_tower, freeze_text_tower, freeze_image_blocks and freeze_text_blocks"
AVERAGE = "take starft.callbacks.WeightEMA, or average checkpoints with `starft soup`"

REFUSED: dict[str, tuple[str, str]] = {
    "BackboneFinetuning": ("thaws a part called backbone, which CLIP doesn't have", FREEZE),
    "BatchSizeFinder": (
        "chooses another batch size than the config says, and losses hang on it",
        "set data.init_args.batch_size, and model.micro_batch_size to what fits in memory",
    ),
    "LearningRateFinder": (
        "chooses another learning rate than the config says",
        "set model.lr, and compare some with `starft compare`",
    ),
    "ModelPruning": ("gives weights other names, which no checkpoint of starft has", "leave it out"),
    "OnExceptionCheckpoint": (
        "goes on from what an earlier run has left, without being asked to",
        "leave it out: a run that is stopped saves itself, and checkpoint.every_n_train_steps saves more often",
    ),
    "SpikeDetection": (
        "can't be read back from a checkpoint, so neither a test nor a run that goes on can start",
        "leave it out: a training stops by itself where its loss isn't finite",
    ),
    "StochasticWeightAveraging": ("copies the model before its head is made, with the frozen twin", AVERAGE),
    "WeightAveraging": ("copies the model before its head is made, with the frozen twin", AVERAGE),
}
"""Class -> why it can't work, and what to do instead; its subclasses can't either."""

BASES = ("BaseFinetuning", "BasePredictionWriter", "ProgressBar")
"""Classes that do nothing until somebody derives from them."""


def check_callbacks(callbacks: Iterable[Callback]) -> None:
    """Refuse, before training, callbacks of Lightning that would break it, or change it behind the config.

    Args:
        callbacks: The trainer's.

    Raises:
        ConfigError: There is one.
    """
    for callback in callbacks:
        name = type(callback).__name__
        if name in BASES and type(callback) is getattr(theirs, name):
            raise ConfigError(f"{name} in trainer.callbacks is a base class that does nothing by itself; leave it out.")
        for refused, (why, instead) in REFUSED.items():
            if isinstance(callback, getattr(theirs, refused, ())):
                raise ConfigError(f"{name} in trainer.callbacks {why}; {instead}.")
