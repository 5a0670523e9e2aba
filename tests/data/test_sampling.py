"""Balanced sampling and subsampling, by hand counts."""

import re
from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from starft.data.contents import Sampling
from starft.data.loading import ResumableLoader, ShuffledSampler, Turn, TurnSampler
from starft.data.sampling import Draw, draw_for, everything, upsampled
from starft.errors import ConfigError
from starft.mini import MiniWorld

GROUPS = [0] * 60 + [1] * 6 + [3] * 24
"""Group 2 has no image."""
LABELS = [0] * 66 + [1] * 24


class Numbers(Dataset[int]):
    def __init__(self, size: int = len(LABELS)) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        return index


def order(draw: Draw, epoch: int = 0, world: int = 1, rank: int = 0) -> list[int]:
    sampler = ShuffledSampler(Numbers(), world, rank, 3, draw)
    sampler.set_epoch(epoch)
    made = list(sampler)
    assert len(made) == len(sampler)
    return made


@pytest.mark.parametrize(
    ("sampling", "weights"),
    [("group_balanced", {0: 90 / 60, 1: 90 / 6, 3: 90 / 24}), ("class_balanced", {0: 90 / 66, 1: 90 / 66, 3: 90 / 24})],
)
def test_weights_are_n_over_the_size_of_class_or_group(sampling: Sampling, weights: dict[int, float]) -> None:
    draw = draw_for(sampling, LABELS, GROUPS, 0)
    assert draw.weights is not None
    assert draw.weights.tolist() == pytest.approx([weights[group] for group in GROUPS], rel=1e-12)
    assert draw.length == len(LABELS), "an epoch keeps the length of the data"


def test_each_group_comes_equally_often() -> None:
    """Of 200 epochs of 90 draws a third each: 6000, give or take 4.5 standard deviations of sqrt(18000 * 2) / 3."""
    draw = draw_for("group_balanced", LABELS, GROUPS, 0)
    images = Counter(index for epoch in range(200) for index in order(draw, epoch))
    by_group = Counter({group: sum(images[at] for at, own in enumerate(GROUPS) if own == group) for group in (0, 1, 3)})
    assert sum(by_group.values()) == 18000
    assert all(abs(count - 6000) < 285 for count in by_group.values()), by_group
    assert all(abs(images[at] - 1000) < 4.5 * 1000**0.5 for at in range(60, 66)), "alike within a group"


@pytest.mark.parametrize(("sampling", "of_each"), [("group_subsampled", 6), ("class_subsampled", 24)])
def test_subsampling_keeps_as_many_as_the_smallest_has(sampling: Sampling, of_each: int) -> None:
    kinds = GROUPS if sampling.startswith("group") else LABELS
    draw = draw_for(sampling, LABELS, GROUPS, 5)
    epochs = [order(draw, epoch) for epoch in (0, 1)]
    assert Counter(kinds[at] for at in epochs[0]) == dict.fromkeys(set(kinds), of_each)
    assert len(set(epochs[0])) == len(epochs[0])
    assert sorted(epochs[0]) == sorted(epochs[1]), "drawn once"
    assert epochs[0] != epochs[1]
    assert set(order(draw_for(sampling, LABELS, GROUPS, 6))) != set(epochs[0]), "another seed, other images"


def test_upsampled_images_count_several_times_and_the_epoch_keeps_its_length() -> None:
    """Positions 4 and 7 count 31 times: of 90 + 60 places 62 are theirs, and an epoch takes 90 of the 150."""
    draw = upsampled(90, [4, 7], 31)
    assert Counter(draw.positions.tolist()) == Counter({**dict.fromkeys(range(90), 1), 4: 31, 7: 31})
    images = Counter(index for epoch in range(200) for index in order(draw, epoch))
    assert sum(images.values()) == 18000
    assert abs(images[4] + images[7] - 18000 * 62 / 150) < 250
    assert order(upsampled(90, [], 31)) == order(everything(90))


DRAWS = [draw_for("group_balanced", LABELS, GROUPS, 0), draw_for("group_subsampled", LABELS, GROUPS, 0)]


@pytest.mark.parametrize("draw", DRAWS, ids=["balanced", "subsampled"])
def test_two_processes_share_the_order_of_seed_and_epoch(draw: Draw) -> None:
    whole = order(draw, 2)
    assert [order(draw, 2, 2, rank) for rank in (0, 1)] == [whole[0::2], whole[1::2]]
    torch.manual_seed(99)
    assert order(draw, 2) == whole != order(draw, 3)


@pytest.mark.parametrize("draw", DRAWS, ids=["balanced", "subsampled"])
def test_a_resume_goes_on_in_the_middle(draw: Draw) -> None:
    def loader() -> ResumableLoader:
        return ResumableLoader(Numbers(), ShuffledSampler(Numbers(), 1, 0, 3, draw), 5, 0)

    def batches(made: ResumableLoader, epoch: int) -> list[list[int]]:
        made.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        return [batch.tolist() for batch in made]

    whole = [batches(loader(), epoch) for epoch in (0, 1)]
    assert len(whole[0]) == len(loader()) == draw.length // 5
    resumed = loader()
    resumed.load_state_dict({"batches": 2})
    assert [batches(resumed, 0), batches(resumed, 1)] == [whole[0][2:], whole[1]]


def test_copies_of_an_image_are_counted_so_that_they_are_varied_differently() -> None:
    made = TurnSampler(Numbers(), 2, 1, 3, draw_for("group_balanced", LABELS, GROUPS, 0))
    made.set_epoch(4)
    turns = list(made)
    assert all(isinstance(turn, Turn) and turn.epoch == 4 for turn in turns)
    assert len(set(turns)) == len(turns) == 45
    assert max(turn.copy for turn in turns) > 1
    whole = order(made.draw, 4)
    assert [turn.position for turn in turns] == whole[1::2]
    assert [turn.copy for turn in turns] == [whole[:at].count(whole[at]) for at in range(1, 90, 2)]
    made.skip = 40
    assert list(made) == turns[40:]


# In a DataModule


def world(**given: Any) -> MiniWorld:
    data = MiniWorld(**{"task": "kinds", "train_size": 120, "val_size": 12, "batch_size": 10, **given})
    data.setup("fit")
    return data


def test_a_datamodule_samples_its_training_set() -> None:
    """Of 120 pictures 54 + 7 + 4 + 55 are in the groups, by their rows; 4 times 4 are left of a subsample."""
    data = world(sampling="group_subsampled", batch_size=4)
    assert data.train_set is not None
    groups = [int(data.train_set[at]["group"]) for at in range(120)]
    assert list(data.train_group_counts.values()) == [groups.count(group) for group in range(4)]
    smallest = min(Counter(groups).values())
    seen = torch.cat([batch["group"] for batch in data.train_dataloader()])
    assert torch.bincount(seen).tolist() == [smallest] * 4
    assert len(list(world(sampling="group_balanced").train_dataloader())) == 12


def test_groups_are_needed() -> None:
    sentence = (
        "sampling group_balanced needs groups, and the training images have none; give data with an attribute or a "
        "group, or set data.init_args.sampling to class_balanced or shuffle."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        draw_for("group_balanced", LABELS, None, 0)


def test_an_unknown_sampling_is_told() -> None:
    with pytest.raises(ConfigError, match=r"^sampling must be one of shuffle, class_balanced, .*; got 'balanced'\.$"):
        world(sampling="balanced").train_dataloader()


def test_a_batch_larger_than_the_subsample_is_told() -> None:
    data = world(sampling="group_subsampled", batch_size=100)
    left = 4 * min(data.train_group_counts.values())
    sentence = (
        f"batch_size 100 on 1 device is more than the {left} training images that are left by group_subsampled; "
        f"set data.init_args.batch_size to at most {left}."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        data.train_dataloader()


def test_upsampling_goes_with_a_plain_shuffle_only() -> None:
    data = world()
    data.train_dataloader()
    data.upsample([5], 1000)
    drawn = Counter(int(index) for batch in data.train_dataloader() for index in batch["index"])
    assert drawn[5] > 90
    with pytest.raises(
        ConfigError, match=r"^Training images can't be upsampled on top of sampling class_balanced; set"
    ):
        world(sampling="class_balanced").upsample([5], 2)
