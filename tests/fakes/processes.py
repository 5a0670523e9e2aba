"""Several processes that know each other, as a launcher would start them, in a moment: they are forked."""

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from starft.__main__ import main
from starft.signals import STOPS

PRELOAD = ["fakes.verbs", "fakes.preloaded"]
DEADLINE = 300
"""Seconds; a collective that one process doesn't join would wait for ever."""


def together(world: int, work: Callable[..., Any], folder: Path, *given: Any) -> list[Any]:
    """Return what ``work(*given)`` returned in each of some processes with a gloo group, by rank."""
    return _forked(world, _in_group, folder, work, *given)


def launched(world: int, work: Callable[..., Any], folder: Path, *given: Any, by: str = "torchrun") -> list[Any]:
    """Return what ``work(*given)`` returned in each of some processes, by rank.

    They have the environment that torchrun gives them on one machine; or torchrun or srun, each on its own machine.
    """
    return _forked(world, _in_environment, folder, by, free_port(), work, *given)


def command(words: Sequence[str], complaints: Path) -> BaseProcess:
    """Start a command in a process and session of its own; what it complains of goes into a file."""
    process = forking().Process(target=_command, args=(words, complaints, torch.get_num_threads()))
    process.start()
    return process


def _command(words: Sequence[str], complaints: Path, threads: int) -> None:
    os.setsid()
    hear_signals()
    multiprocessing.set_start_method("fork", force=True)  # of data workers, as a command has it up to Python 3.13
    torch.set_num_threads(threads)
    os.dup2(os.open(complaints, os.O_WRONLY | os.O_CREAT), 2)
    sys.exit(main(words))


def hear_signals() -> None:
    """Unblock what stops a command: the process that this one is forked from may have begun where both wait."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)


def forking() -> ForkServerContext:
    """Return what starts processes that have the imports behind them."""
    try:
        context = multiprocessing.get_context("forkserver")
    except ValueError:
        pytest.skip("no processes can be forked here")
    context.set_forkserver_preload(PRELOAD)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # what is preloaded is looked for there alone
        forkserver.ensure_running()
    return context


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _forked(world: int, start: Callable[..., None], folder: Path, *given: Any) -> list[Any]:
    folder.mkdir(parents=True, exist_ok=True)
    context = forking()
    processes = [
        context.Process(target=start, args=(rank, world, str(folder), *given), daemon=True) for rank in range(world)
    ]
    try:
        for process in processes:
            process.start()
    except OSError as error:
        pytest.skip(f"no processes can be started here: {error}")
    for process in processes:
        process.join(DEADLINE)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    assert codes == [0] * world, f"exit statuses {codes}; see the captured output"
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(world)]


def _in_group(rank: int, world: int, folder: str, work: Callable[..., Any], *given: Any) -> None:
    hear_signals()
    torch.set_num_threads(1)
    store, wait = f"file://{folder}/store", timedelta(seconds=DEADLINE)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world, timeout=wait)
    torch.save(work(*given), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def _in_environment(
    rank: int, world: int, folder: str, by: str, port: int, work: Callable[..., Any], *given: Any
) -> None:
    hear_signals()
    torch.set_num_threads(1)
    told = _srun(rank, world) if by == "srun" else _torchrun(rank, world, machines=1 if by == "torchrun" else world)
    told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    os.environ |= {name: str(value) for name, value in told.items()}
    torch.save(work(*given), f"{folder}/{rank}.pt")


def _torchrun(rank: int, world: int, machines: int) -> dict[str, Any]:
    here = world // machines
    told = {"RANK": rank, "LOCAL_RANK": rank % here, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": here}
    return {**told, "GROUP_RANK": rank // here, "GROUP_WORLD_SIZE": machines, "TORCHELASTIC_RUN_ID": "test"}


def _srun(rank: int, world: int) -> dict[str, Any]:
    told = {"PROCID": rank, "LOCALID": 0, "NODEID": rank, "NTASKS": world, "NTASKS_PER_NODE": 1, "NNODES": world}
    told |= {"JOB_ID": 1, "JOB_NAME": "train", "NODELIST": "127.0.0.1"}
    return {f"SLURM_{name}": value for name, value in told.items()}
