"""What a process is told before its work: how its modules are loaded, how its threads wait, how it keeps memory."""

import ctypes
import gc
import os
import platform
import sys
from importlib import import_module
from types import ModuleType

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


def load_module(name: str) -> ModuleType:
    """Import a module and all that it needs without a look for garbage on the way, which importing makes none of.

    Lightning and open_clip took 9.9 processor seconds, and 7.8 so. What is loaded stays out of later looks too.

    Args:
        name: Of a module that may be loaded already.
    """
    if name in sys.modules or not gc.isenabled():
        return import_module(name)
    gc.disable()
    try:
        return import_module(name)
    finally:
        gc.enable()
        gc.freeze()


M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Parameters of glibc's mallopt(3)."""
PAD = 256 * 2**20


def keep_memory() -> None:
    """Let glibc keep what a step frees for the next one; call it where tensors live on the CPU.

    It gives large blocks back to the system at once, and the system clears each page before it gives it again. A step
    of ViT-B/32 with 256 images took 76 s, and 50 so, at 25 % more memory, which is held until the process ends; with 16
    images there is no certain difference (docs/benchmarks.md). What a person has set stays, and other C libraries are
    left alone.
    """
    told = any(name.startswith("MALLOC_") for name in os.environ) or "GLIBC_TUNABLES" in os.environ
    if told or platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, -1), (M_TOP_PAD, PAD)):
        libc.mallopt(parameter, value)
