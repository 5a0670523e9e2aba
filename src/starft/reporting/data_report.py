"""What data hold, as tables for the terminal."""

from collections.abc import Sequence
from typing import Protocol

from rich.table import Table

SHOWN = 20
"""How many groups are listed."""


class Found(Protocol):
    """What was found of one split."""

    @property
    def name(self) -> str:
        """Of the set in the run."""
        ...

    @property
    def title(self) -> str:
        """Of the data set."""
        ...

    @property
    def split(self) -> str:
        """Which split."""
        ...

    @property
    def images(self) -> int | None:
        """Number of images."""
        ...

    @property
    def published(self) -> int | None:
        """What the papers say."""
        ...

    @property
    def classes(self) -> tuple[int, int]:
        """Classes with images, and all."""
        ...

    @property
    def groups(self) -> Sequence[tuple[str, int, int | None]]:
        """Group name, images, and what the papers say."""
        ...

    @property
    def example(self) -> str | None:
        """Path of one image."""
        ...


def data_tables(found: Sequence[Found]) -> list[Table]:
    """Return a table of all splits and, where there are groups, one of those.

    Args:
        found: What was found of each split.
    """
    table = Table("set", "data set", "split", title="data")
    for heading in ("images", "published", "classes"):
        table.add_column(heading, justify="right")
    table.add_column("example", overflow="fold")
    for one in found:
        seen, known = one.classes
        classes = f"{seen:,} of {known:,}" if known else "–"
        table.add_row(
            one.name, one.title, one.split, _number(one.images), _number(one.published), classes, one.example or "–"
        )
    grouped = [one for one in found if one.groups]
    if not grouped:
        return [table]
    names = list(dict.fromkeys(name for one in grouped for name, _, _ in one.groups))
    published = any(expected is not None for one in grouped for _, _, expected in one.groups)
    groups = Table(title="images a group (published)" if published else "images a group")
    groups.add_column("group", overflow="fold")
    for one in grouped:
        groups.add_column(one.split if one.name == one.split else f"{one.name} {one.split}", justify="right")
    cells = [{name: _count(count, expected) for name, count, expected in one.groups} for one in grouped]
    for name in names[:SHOWN]:
        groups.add_row(name, *(column.get(name, "–") for column in cells))
    if len(names) > SHOWN:
        groups.add_row(f"... and {len(names) - SHOWN} more", *("" for _ in cells))
    return [table, groups]


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _count(count: int, expected: int | None) -> str:
    return f"{count:,}" if expected is None else f"{count:,} ({expected:,})"
