"""Which process of a run this one is, before the processes know each other."""

import os

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
"""What torchrun, Lightning and SLURM tell each process; all are 0 or absent in the first one."""


def is_first_process() -> bool:
    """Return whether this is the process that owns the run folder and tells what happens."""
    return all(os.environ.get(name, "0") == "0" for name in RANKS)
