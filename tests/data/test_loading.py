"""Training loaders: order, partition, and going on in the middle of an epoch, batch by batch."""

import gc
from itertools import islice

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from starft.data.loading import ResumableLoader, ShuffledSampler, SignalProofLoader, ignore_stop_signals

SIZE, BATCH = 23, 4
BATCHES = 5  # 23 // 4, whole batches only


class Numbers(Dataset[int]):
    def __init__(self, size: int = SIZE) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        return index


def sampler(seed: int = 0, world_size: int = 1, rank: int = 0, size: int = SIZE) -> ShuffledSampler:
    return ShuffledSampler(Numbers(size), world_size, rank, seed)


def order(seed: int = 0, epoch: int = 0, **options: int) -> list[int]:
    made = sampler(seed, **options)
    made.set_epoch(epoch)
    return list(made)


def loader(num_workers: int = 0, seed: int = 0) -> ResumableLoader:
    data = Numbers()
    return ResumableLoader(data, ShuffledSampler(data, 1, 0, seed), BATCH, num_workers)


def run(made: ResumableLoader, epoch: int, stop: int | None = None) -> list[list[int]]:
    """Return the batches of one epoch, the way Lightning sets it, or the first ``stop`` of them."""
    made.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
    batches: list[Tensor] = list(islice(iter(made), stop))
    return [batch.tolist() for batch in batches]


# the sampler


@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_every_index_comes_once_an_epoch(epoch: int) -> None:
    assert sorted(order(epoch=epoch)) == list(range(SIZE))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    orders = {(seed, epoch): order(seed, epoch) for seed in (0, 1, 5) for epoch in (0, 1)}
    torch.manual_seed(99)
    used = sampler(1)
    list(used)  # an epoch more or less behind it doesn't matter
    used.set_epoch(1)
    assert list(used) == orders[1, 1]
    assert order(1, 0) == orders[1, 0]
    assert order(0, 0) != list(range(SIZE))
    assert orders[0, 0] != orders[0, 1]
    assert orders[0, 0] != orders[5, 0]


def test_the_order_does_not_touch_the_global_stream() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    order()
    assert torch.equal(torch.get_rng_state(), before)


def test_skip_leaves_out_the_head_of_one_epoch_only() -> None:
    made = sampler()
    made.skip = 9
    assert list(made) == order()[9:]
    assert list(made) == order()


@pytest.mark.parametrize("size", [SIZE, 24])
@pytest.mark.parametrize("epoch", [0, 3])
def test_two_processes_share_the_data(size: int, epoch: int) -> None:
    """Each index at most once, in halves of one length; of an odd number one is left out."""
    halves = [order(epoch=epoch, world_size=2, rank=rank, size=size) for rank in (0, 1)]
    assert [len(half) for half in halves] == [size // 2] * 2
    assert len({*halves[0], *halves[1]}) == 2 * (size // 2)
    whole = order(epoch=epoch, size=size)
    assert halves == [whole[: 2 * (size // 2)][rank::2] for rank in (0, 1)]


def test_with_two_processes_another_index_is_left_out_each_epoch() -> None:
    left_out = [
        set(range(SIZE)) - {index for rank in (0, 1) for index in order(epoch=epoch, world_size=2, rank=rank)}
        for epoch in range(6)
    ]
    assert all(len(one) == 1 for one in left_out)
    assert len(set().union(*left_out)) > 1


# the loader

WORKERS = [0, pytest.param(1, marks=pytest.mark.slow)]


@pytest.mark.parametrize("num_workers", WORKERS)
def test_batches_follow_the_sampler(num_workers: int) -> None:
    made = loader(num_workers)
    assert len(made) == BATCHES
    for epoch in (0, 1):
        expected = order(epoch=epoch)
        assert run(made, epoch) == [expected[at : at + BATCH] for at in range(0, BATCHES * BATCH, BATCH)]


@pytest.mark.parametrize("num_workers", WORKERS)
def test_a_resume_yields_exactly_what_was_left_and_then_whole_epochs(num_workers: int) -> None:
    whole = [run(loader(), epoch) for epoch in range(4)]
    for done in range(1, BATCHES) if num_workers == 0 else (2,):
        stopped = loader(num_workers)
        assert run(stopped, 0) == whole[0]
        assert run(stopped, 1, done) == whole[1][:done]
        state = stopped.state_dict()
        resumed = loader(num_workers)
        resumed.load_state_dict(state)
        assert run(resumed, 1) == whole[1][done:]
        assert [run(resumed, epoch) for epoch in (2, 3)] == whole[2:]


@pytest.mark.parametrize("num_workers", WORKERS)
def test_a_state_of_an_epochs_end_begins_a_new_epoch(num_workers: int) -> None:
    whole = [run(loader(), epoch) for epoch in range(2)]
    finished = loader(num_workers)
    assert run(finished, 0) == whole[0]
    resumed = loader(num_workers)
    resumed.load_state_dict(finished.state_dict())
    assert run(resumed, 1) == whole[1]


def test_workers_that_fetch_ahead_are_not_counted() -> None:
    """A state after two batches says two, however many the iterator holds ready; so it does between two resumes."""
    made = loader()
    assert made.state_dict() == {"batches": 0}
    run(made, 0, 2)
    assert made.state_dict() == {"batches": 2}


@pytest.mark.slow
def test_workers_that_fetch_ahead_are_not_counted_either_way() -> None:
    made = loader(num_workers=1)
    run(made, 0, 2)
    assert made.state_dict() == {"batches": 2}


def test_a_run_stopped_twice_in_one_epoch() -> None:
    whole = [run(loader(), epoch) for epoch in range(2)]
    first = loader()
    run(first, 0, 1)
    second = loader()
    second.load_state_dict(first.state_dict())
    assert run(second, 0, 2) == whole[0][1:3]
    third = loader()
    third.load_state_dict(second.state_dict())
    assert run(third, 0) == whole[0][3:]
    assert run(third, 1) == whole[1]


def test_a_state_saved_right_after_a_load_is_the_state_loaded() -> None:
    """A run that is stopped again before its first batch must not begin the epoch anew."""
    made = loader()
    made.load_state_dict({"batches": 3})
    assert made.state_dict() == {"batches": 3}
    again = loader()
    again.load_state_dict(made.state_dict())
    assert run(again, 0) == run(loader(), 0)[3:]


def test_an_epoch_broken_off_leaves_nothing_behind() -> None:
    made = loader()
    run(made, 0, 2)
    assert run(made, 1) == run(loader(), 1)


class Frozen(Dataset[int]):
    """How many objects the garbage collector of the process leaves alone."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        return gc.get_freeze_count()


@pytest.mark.slow
def test_what_a_worker_inherits_stays_shared() -> None:
    """The collector would write to each object, and so copy all of them: 120 MB for each worker."""
    before = gc.get_freeze_count()
    inherited = [[] for _ in range(1000)]
    (counts,) = SignalProofLoader(Frozen(), num_workers=1, worker_init_fn=ignore_stop_signals)
    assert counts.item() >= before + len(inherited)
    assert gc.get_freeze_count() == before, "the main process is as it was"
