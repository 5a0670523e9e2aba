"""Which process of a run this one is, before the processes know each other."""

import os

RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
"""What torchrun, Lightning and SLURM tell each process; all are 0 or absent in the first one."""


def is_first_process() -> bool:
    """Return whether this is the process that owns the run folder and tells what happens."""
    return all(os.environ.get(name, "0") == "0" for name in RANKS)


SPINS = "10000"
"""How often a thread looks whether the others are done before it sleeps; GNU's OpenMP, torch's, says 300,000."""


def share_cores() -> None:
    """Let threads that wait give their core away soon; call it before torch is loaded.

    Where another program needs a core too, they take it from the very thread that they wait for. A short run of the
    tiny model on two cores took 13 to 21 s beside one busy process, and 10 s so; alone 5.4 s and 5.9 s. What a person
    has set stays.
    """
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS
