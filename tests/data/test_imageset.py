"""Loading a table: rows, augmentation that repeats, and images that can't be read, with and without workers."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data.distributed import DistributedSampler

from fakes.own_images import write_jpeg
from starft.data.augmentation import Augmentation
from starft.data.fast_decoding import FastTransform
from starft.data.images import BadImageError
from starft.data.imageset import TRIES, Guarded, GuardedLoader, ImageSet, gathered
from starft.data.loading import ResumableLoader, Turn, TurnSampler
from starft.data.source import ImageTable
from starft.errors import DataError
from starft.types import Batch, ImagePreprocessing

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of one CPU

SIZE, BATCH = 12, 4
SMALL = ImagePreprocessing(size=(16, 16))
WORKERS = [0, pytest.param(2, marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images, of which 3 is empty and 8 to 11 are text."""
    made = tmp_path_factory.mktemp("images")
    for number in range(SIZE):
        write_jpeg(made / f"{number}.jpg", number)
    (made / "3.jpg").write_bytes(b"")
    for number in range(8, 12):
        (made / f"{number}.jpg").write_text("no image")
    return made


def images(folder: Path, positions: list[int], groups: bool = True, seed: int = 0) -> ImageSet:
    numbers = np.array(positions)
    table = ImageTable(folder, [f"{n}.jpg" for n in positions], numbers % 2, numbers % 3 if groups else None)
    return ImageSet(table, FastTransform(SMALL), FastTransform(SMALL, Augmentation(scale=(0.2, 0.9))), seed)


GOOD = [0, 1, 2, 4, 5, 6, 7]


def evaluation(folder: Path, positions: list[int], on_bad_image: str, workers: int) -> tuple[Guarded, list[Batch]]:
    guard = Guarded(images(folder, positions), on_bad_image)  # type: ignore[arg-type]
    loader = GuardedLoader(guard, batch_size=BATCH, num_workers=workers, collate_fn=gathered)
    return guard, list(loader)


def training(
    folder: Path, positions: list[int], on_bad_image: str, workers: int, seed: int = 0
) -> tuple[Guarded, ResumableLoader]:
    made = images(folder, positions, seed=seed)
    guard = Guarded(made, on_bad_image)  # type: ignore[arg-type]
    sampler = TurnSampler(made, 1, 0, seed)
    return guard, ResumableLoader(guard, sampler, BATCH, workers, gathered, lambda one: guard.receive(one, BATCH))


def epoch(loader: ResumableLoader, number: int) -> Iterator[Batch]:
    loader.sampler.set_epoch(number)  # type: ignore[attr-defined]
    return iter(loader)


def test_a_row(folder: Path) -> None:
    row = images(folder, [5, 1])[0]
    assert row["image"].shape == (3, 16, 16)
    assert (int(row["label"]), int(row["group"]), int(row["index"])) == (1, 2, 0)
    assert "group" not in images(folder, [5], groups=False)[0]


def test_a_position_gives_the_plain_image_and_a_turn_a_varied_one(folder: Path) -> None:
    made = images(folder, GOOD)
    assert torch.equal(made[1]["image"], made[1]["image"])
    first = made[Turn(0, 1)]["image"]
    assert not torch.equal(first, made[1]["image"])
    assert torch.equal(first, made[Turn(0, 1)]["image"])
    assert not torch.equal(first, made[Turn(1, 1)]["image"])
    assert not torch.equal(first, images(folder, GOOD, seed=1)[Turn(0, 1)]["image"])


@pytest.mark.slow
def test_training_is_the_same_for_any_number_of_workers_and_after_a_resume(folder: Path) -> None:
    positions = GOOD + GOOD

    def batches(workers: int) -> list[list[Batch]]:
        loader = training(folder, positions, "stop", workers)[1]
        return [list(epoch(loader, number)) for number in range(3)]

    expected = batches(0)
    assert [len(one) for one in expected] == [3, 3, 3]
    for workers in (1, 2):
        for one, other in zip(batches(workers), expected, strict=True):
            for a, b in zip(one, other, strict=True):
                assert torch.equal(a["image"], b["image"])
                assert torch.equal(a["index"], b["index"])
    first = training(folder, positions, "stop", 2)[1]
    list(epoch(first, 0))
    list(islice(epoch(first, 1), 1))
    second = training(folder, positions, "stop", 2)[1]
    second.load_state_dict(first.state_dict())
    rest = list(epoch(second, 1))
    assert len(rest) == 2
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(rest, expected[1][1:], strict=True))
    assert torch.equal(next(iter(epoch(second, 2)))["image"], expected[2][0]["image"])


@pytest.mark.parametrize("workers", WORKERS)
def test_stop_is_one_sentence_with_the_path(folder: Path, workers: int) -> None:
    with pytest.raises(BadImageError) as caught:
        evaluation(folder, [0, 1, 2, 3, 4], "stop", workers)
    assert str(caught.value) == (
        f"The image {folder}/3.jpg can't be read: it is empty (0 bytes); "
        "mend or remove it, or set data.init_args.on_bad_image to skip."
    )
    with pytest.raises(BadImageError, match=r"3\.jpg can't be read"):
        list(epoch(training(folder, [0, 1, 2, 3], "stop", workers)[1], 0))


@pytest.mark.parametrize("workers", WORKERS)
def test_skip_leaves_an_evaluation_image_out(folder: Path, workers: int) -> None:
    guard, batches = evaluation(folder, [0, 1, 2, 3, 4, 5], "skip", workers)
    assert [batch["index"].tolist() for batch in batches] == [[0, 1, 2], [4, 5]]
    assert [len(batch["image"]) for batch in batches] == [3, 2]
    assert guard.bad == {f"{folder}/3.jpg": "it is empty (0 bytes)"}


@pytest.mark.parametrize("workers", WORKERS)
def test_skip_leaves_out_a_batch_of_bad_images(folder: Path, workers: int) -> None:
    guard, batches = evaluation(folder, [0, 1, 2, 4, 8, 9, 10, 11, 5], "skip", workers)
    assert [batch["index"].tolist() for batch in batches] == [[0, 1, 2, 3], [8]]
    assert len(guard.bad) == 4


def test_each_process_has_as_many_batches_as_it_was_dealt(folder: Path) -> None:
    """They wait for each other: what stands for a bad batch is like any other, and belongs to no image."""
    found = []
    for rank in range(2):
        guard = Guarded(images(folder, [0, 8, 1, 9, 2, 10, 4, 11, 5, 6]), "skip")
        sampler = DistributedSampler(guard, 2, rank, shuffle=False)
        found.append(list(GuardedLoader(guard, batch_size=2, sampler=sampler, collate_fn=gathered)))
    assert [[batch["index"].tolist() for batch in batches] for batches in found] == [
        [[0, 2], [4, 6], [8]],
        [[-1], [-1], [9]],
    ]
    assert found[1][0].keys() == found[0][0].keys()
    assert found[1][0]["image"].shape == (1, *found[0][0]["image"].shape[1:])
    assert "group" not in Guarded(images(folder, [8], groups=False), "skip").blank()


@pytest.mark.parametrize("workers", WORKERS)
def test_skip_keeps_training_batches_whole(folder: Path, workers: int) -> None:
    """Of eight images two are bad; others take their places, the same ones for any number of workers."""
    positions = [0, 1, 2, 3, 4, 5, 6, 8]
    guard, loader = training(folder, positions, "skip", workers)
    found = [[batch["index"].tolist() for batch in epoch(loader, number)] for number in range(3)]
    assert all(len(indices) == BATCH and not {3, 7} & {*indices} for one in found for indices in one)
    assert [len(one) for one in found] == [2, 2, 2]
    assert set(guard.bad) == {f"{folder}/3.jpg", f"{folder}/8.jpg"}, "counted once, however often they came up"
    alone = training(folder, positions, "skip", 0)[1]
    assert found == [[batch["index"].tolist() for batch in epoch(alone, number)] for number in range(3)]


def test_nothing_but_bad_images(folder: Path) -> None:
    loader = training(folder, [8, 9, 10, 11], "skip", 0)[1]
    with pytest.raises(DataError, match=f"{TRIES} training images in a row can't be read, .*jpg first; mend the data"):
        next(epoch(loader, 0))
