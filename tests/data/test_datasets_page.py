"""docs/datasets.md says what the code does: its commands and configs, its trees, its counts."""

import re
import shlex
from inspect import isabstract
from pathlib import Path

import pytest
import yaml

import starft.data
from fakes.group_sets import celeba, waterbirds
from starft.__main__ import main
from starft.config.data import data_of
from starft.data.datasets.published import PublishedSource

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
PUBLISHED = [
    named
    for name in starft.data.__all__
    if isinstance(named := getattr(starft.data, name), type) and issubclass(named, PublishedSource)
]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_every_published_source_was_found() -> None:
    assert len(PUBLISHED) == 18
    assert not any(isabstract(source) for source in PUBLISHED)


@pytest.mark.parametrize("source", PUBLISHED)
def test_the_tree_is_the_one_that_messages_draw(source: type[PublishedSource]) -> None:
    assert f"```\n{source.tree}\n```" in PAGE


@pytest.mark.parametrize("source", PUBLISHED)
def test_the_counts_are_those_that_are_checked(source: type[PublishedSource], tmp_path: Path) -> None:
    made = source(tmp_path)
    if hasattr(made, "split_file"):  # the page gives CoOp's counts where there are any
        (tmp_path / made.split_file).touch()
    splits = [split for split in made.splits if not split.startswith("id_")]
    counts = [f"{told.images:,}" for split in splits if (told := made.published(split)) and told.images]
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")]
    assert any(all(count in row for count in counts) for row in rows if len(counts) > 0) or not counts


def test_the_configs_are_there() -> None:
    named = re.findall(r"`(\w+/[\w*]+\.yaml)`", PAGE)
    assert len(named) > 10
    for name in named:
        assert list((ROOT / "lightning_configs").glob(name)), name


def test_the_commands_and_the_example_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waterbirds(tmp_path / "data")
    waterbirds(tmp_path / "data", "waterbirds_v1.0")
    celeba(tmp_path / "data")
    (tmp_path / "lightning_configs").symlink_to(ROOT / "lightning_configs")
    monkeypatch.chdir(tmp_path)
    commands = [shlex.split(line) for block in blocks("bash") for line in block.splitlines()]
    assert commands
    for command in commands:
        assert command[0] == "starft"
        assert main(command[1:]) == 2, "the fakes are truncated"
        assert main([*command[1:], "--data.init_args.allow_partial", "true"]) == 0
    (example,) = blocks("yaml")
    data = data_of(yaml.safe_load(example)["data"], 0, "the page")
    assert [(one.name, one.ood, one.templates[0]) for one in data.test_sets] == [
        ("waterbirds", False, "This is a picture of a {}."),
        ("celeba", True, "a face with {}."),
    ]
