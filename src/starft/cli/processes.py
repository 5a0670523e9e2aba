"""Which of a run's processes this one is, before its trainer is built; the environment alone doesn't know.

A process that trains on one device is a run of its own, whatever ``RANK`` or ``SLURM_PROCID`` say: a person's shell, or
a launcher of other programs, has set them.
"""

import os
from collections.abc import Mapping
from typing import Any

import lightning as L
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.utilities import rank_zero_only

from starft.cli.library_messages import without_info
from starft.errors import ConfigError

RANKS = ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "RANK", "SLURM_PROCID")
"""What launchers set for each process."""
DEVICES = ("accelerator", "devices", "num_nodes")


def is_first_process(options: Mapping[str, Any]) -> bool:
    """Return whether this is the process that owns the run folder and tells what happens: ask a trainer.

    Args:
        options: Of the trainer, as its section of the config has them.

    Raises:
        ConfigError: Lightning can't make anything of the devices, or of what SLURM says; or the environment says that
            the only process is a later one.
    """
    strategy = options.get("strategy") or "auto"
    if not isinstance(strategy, str):  # a class; those for one device are told by their names
        strategy = "auto" if "Single" in str(strategy.get("class_path")) else "ddp"
    given = {key: options[key] for key in DEVICES if options.get(key) is not None}
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    told: Any = rank_zero_only  # as the environment has it
    try:
        with without_info():
            trainer = L.Trainer(**given, strategy=strategy, enable_model_summary=False, **quiet)
    except Exception as error:  # of any class: a TypeError for devices that aren't a number, an ImportError for a TPU
        if "SLURM" in str(error) or "srun" in str(error):
            raise ConfigError(slurm_message()) from error
        if isinstance(error, TypeError) and "CPUAccelerator" in str(error):
            got = str(options.get("devices"))[:40]
            raise ConfigError(f"trainer.devices must be a whole number of at least 1 on CPUs; got {got!r}.") from error
        return bool(told.rank == 0)  # told by the run's own trainer, in its own words
    if trainer.world_size == 1:
        if not trainer.is_global_zero:  # it would wait for the others for half an hour
            names = {name: os.environ[name] for name in RANKS if os.environ.get(name, "0") != "0"}
            said = " and ".join(f"{name} is {value}" for name, value in names.items())
            raise ConfigError(
                f"{said or 'The environment says that this is a later process'}, but the run has one process; unset "
                "that, or set trainer.devices and trainer.num_nodes to what was started."
            )
        told.rank = 0  # Lightning took it from the environment, and would neither log nor tell
    by_hand = isinstance(getattr(trainer.strategy, "cluster_environment", None), LightningEnvironment)
    if trainer.num_nodes > 1 and by_hand and "MASTER_ADDR" not in os.environ:
        raise ConfigError(
            f"trainer.num_nodes is {trainer.num_nodes}, and no launcher has started this process on one of several "
            "machines (MASTER_ADDR isn't set), so that it would wait for the others; start it on each with "
            f"`torchrun --nnodes {trainer.num_nodes} --rdzv-endpoint HOST:PORT ... -m starft` or with srun, or leave "
            "trainer.num_nodes out for one machine."
        )
    return bool(trainer.is_global_zero)


def slurm_message() -> str:
    """Return what to do about SLURM's variables that don't fit the run, a sentence."""
    results = {name: os.environ[name] for name in ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE") if name in os.environ}
    said = " and ".join(f"{name} is {value}" for name, value in results.items()) or "SLURM has several tasks"
    return (
        f"{said}, which doesn't fit trainer.devices and trainer.num_nodes of this run; unset SLURM_NTASKS for a run on "
        "one device, or start it with srun --ntasks-per-node as many as trainer.devices."
    )
