"""Training loaders whose order depends on (seed, epoch) alone and that can be taken up in the middle of an epoch."""

import gc
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from starft.data.sampling import Draw, everything
from starft.signals import stop_signals_blocked


class ShuffledSampler(DistributedSampler[Any]):
    """Torch's distributed sampler, drawn by (seed, epoch), that can leave out the head of one epoch.

    Args:
        dataset: What is sampled.
        world_size: Number of processes.
        rank: Which process this is.
        seed: Start of the draws.
        draw: What is drawn from; None takes each image once an epoch.
    """

    def __init__(self, dataset: Dataset[Any], world_size: int, rank: int, seed: int, draw: Draw | None = None) -> None:
        super().__init__(dataset, world_size, rank, shuffle=True, seed=seed, drop_last=True)
        self.draw = draw if draw is not None else everything(len(dataset))  # type: ignore[arg-type]  # map-style
        self.num_samples = self.draw.length // world_size
        self.total_size = self.num_samples * world_size
        self.skip = 0

    def __iter__(self) -> Iterator[Any]:
        """Yield the indices of one epoch, less the first ``skip``; the next epoch is whole again."""
        skip, self.skip = self.skip, 0
        return iter(self._of_rank(self.draw.order(self.seed, self.epoch))[skip:])

    def _of_rank(self, order: list[Any]) -> list[Any]:
        return order[: self.total_size][self.rank :: self.num_replicas]


class Turn(NamedTuple):
    """One image's turn in training: which epoch, which image.

    Args:
        epoch: Counted from 0.
        position: Of the image in the data set.
        copy: How often the image has come before in this epoch.
    """

    epoch: int
    position: int
    copy: int = 0


class TurnSampler(ShuffledSampler):
    """A `ShuffledSampler` that tells the epoch too: worker processes live on between epochs and can't know it."""

    def __iter__(self) -> Iterator[Any]:
        """Yield a `Turn` for each index, less the first ``skip``."""
        skip, self.skip = self.skip, 0
        seen: Counter[int] = Counter()
        turns = []
        for position in self.draw.order(self.seed, self.epoch):
            turns.append(Turn(self.epoch, position, seen[position]))
            seen[position] += 1
        return iter(self._of_rank(turns)[skip:])


def ignore_stop_signals(worker: int) -> None:
    """Make a worker process deaf to Ctrl-C and SIGTERM that weren't sent by its parent; a ``worker_init_fn``.

    Python's garbage collector leaves alone what the worker has from its parent: it would write to each object, and so
    copy a hundred MB into every worker.

    A terminal, ``timeout`` and a cluster's scheduler send them to all processes of a run. The main process needs its
    workers to finish the step, and ends them itself; torch's workers also end where their parent is gone.

    Args:
        worker: Its number.
    """
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # elsewhere nobody tells who sent it
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    elif hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _end_with_parent(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


class SignalProofLoader(DataLoader[Any]):
    """A DataLoader whose workers are deaf to stops from their first moment on, given `ignore_stop_signals` too."""

    def __iter__(self) -> Any:
        """Start the workers, or take up those that live on."""
        with stop_signals_blocked():
            return super().__iter__()


class ResumableLoader(SignalProofLoader):
    """A DataLoader over a `ShuffledSampler` that goes on where a checkpoint was written.

    Lightning calls ``state_dict`` and ``load_state_dict``. Batches are counted as they are handed out, whatever the
    workers have fetched ahead.

    Args:
        dataset: Map-style data set.
        sampler: Gives the order.
        batch_size: Images a batch and process.
        num_workers: Worker processes; 0 loads in the main one.
        collate_fn: Makes a batch of items; None takes torch's.
        receive: What each batch passes through in the main process; None for nothing.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        sampler: ShuffledSampler,
        batch_size: int,
        num_workers: int,
        collate_fn: Callable[..., Any] | None = None,
        receive: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=num_workers,
            drop_last=True,
            persistent_workers=num_workers > 0,
            collate_fn=collate_fn,
            worker_init_fn=ignore_stop_signals,
            pin_memory=torch.cuda.is_available(),
        )
        self._receive = receive
        self._shuffled = sampler
        self._size = batch_size
        self._handed_out = 0
        self._resume_at = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # a generator serves, torch wants its own class
        """Yield the batches of one epoch, or what is left of it right after a resume."""
        start, self._resume_at = self._resume_at, 0
        self._shuffled.skip = start * self._size
        self._handed_out = start
        for batch in super().__iter__():
            self._handed_out += 1
            yield batch if self._receive is None else self._receive(batch)

    def draw_from(self, draw: Draw) -> None:
        """Draw epochs in another way from the next one on.

        Args:
            draw: Of the same length.
        """
        self._shuffled.draw = draw

    def state_dict(self) -> dict[str, int]:
        """Return how many batches of the epoch have been handed out."""
        return {"batches": self._handed_out}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on behind the batches that had been handed out; behind the last one comes a new epoch."""
        self._handed_out = self._resume_at = state["batches"] % max(1, len(self))
