"""More seeds never make a verdict say less, as long as they say the same; a lucky seed makes it say no more."""

from pathlib import Path

import numpy as np
import pytest

from fakes import run_folders as fake
from starft.cli.report import gather
from starft.reporting.differences import difference_of, most_lost
from starft.reporting.report_file import Content
from starft.runs.run_reader import Run, find_runs

REST = dict.fromkeys(fake.GROUPS[1:], (8, 10))


def runs_of(root: Path, name: str, right: tuple[int, ...], **config: str | None) -> list[Run]:
    """Return runs whose first group gets so many of 10 right, a run a seed."""
    for seed, good in enumerate(right):
        groups = {fake.GROUPS[0]: (good, 10), **REST}
        fake.write_run(root / name / f"seed-{seed}", {"id": fake.eval_set(groups)}, seed=seed, **config)
    return find_runs([root / name])


@pytest.mark.parametrize(
    ("before", "after", "falls"),
    [
        ((9,), (0,), True),
        ((9, 9), (0, 0), True),
        ((9, 9, 9), (0, 0, 0), True),
        ((9, 10), (0, 1), True),
        ((10, 9, 10), (1, 0, 2), True),
        ((9,), (0, 0), True),
        ((9, 9), (0, 9), False),
        ((9, 5), (4, 0), False),
        ((9, 9), (7, 7), False),
        ((0, 0), (9, 9), False),
    ],
)
def test_a_group_that_falls_is_told_whatever_the_number_of_seeds(
    before: tuple[int, ...], after: tuple[int, ...], falls: bool, tmp_path: Path
) -> None:
    first, second = runs_of(tmp_path, "after", after), runs_of(tmp_path, "before", before)
    lost = most_lost(first, second, "id")
    assert (lost is not None) is falls
    if lost is not None:
        name, gain = lost
        assert name == fake.GROUPS[0]
        assert gain.value == pytest.approx(np.mean(after) / 10 - np.mean(before) / 10)
        assert gain.interval[0] < gain.value < gain.interval[1] < 0


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_the_sentence_stands_in_the_verdict(seeds: int, tmp_path: Path) -> None:
    for seed in range(seeds):  # the worst group of each is another one
        before = {fake.GROUPS[0]: (10, 10), **REST, fake.GROUPS[3]: (0, 10)}
        fake.write_run(tmp_path / "zero" / f"seed-{seed}", {"id": fake.eval_set(before)}, seed=seed, ckpt_path=None)
        after = {fake.GROUPS[0]: (0, 10), **REST}
        fake.write_run(tmp_path / "ours" / f"seed-{seed}", {"id": fake.eval_set(after)}, seed=seed)
    told = gather(find_runs([tmp_path])).told.verdict[0].text
    assert "it certainly loses, by 100.0 points" in told


def content_of_samples(root: Path, seeds: int) -> Content:
    """Return two methods: of 400 samples the first gets 40 more right than the second, on top of the same 300."""
    for name, right in (("a", 340), ("b", 300)):
        for seed in range(seeds):
            held = {"id": fake.eval_set({"all": (right, 400)})}
            run = fake.write_run(root / name / f"seed-{seed}", held, seed=seed)
            fake.write_samples(run, "id", [at < right for at in range(400)], [0] * 400)
    return gather(find_runs([root]))


def test_several_runs_are_paired_sample_by_sample_as_one_is(tmp_path: Path) -> None:
    found = {}
    for seeds in (1, 3):
        content = content_of_samples(tmp_path / str(seeds), seeds)
        found[seeds] = difference_of(content.methods, content.table, "id/acc", *content.methods)
    assert found[1] is not None
    assert found[3] is not None
    assert found[3].value == pytest.approx(found[1].value) == pytest.approx(0.1)
    assert found[3].interval == pytest.approx(found[1].interval), "the seeds say the same"
