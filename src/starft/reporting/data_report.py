"""What data hold, as tables for the terminal."""

from collections.abc import Sequence
from typing import Protocol

from rich.table import Table

SHOWN = 20
"""How many groups are listed."""
NAMES = 6
"""How many class names are listed."""


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
    def class_names(self) -> Sequence[str]:
        """In label order; none where they can't be told, or mean nothing."""
        ...

    @property
    def templates(self) -> Sequence[str]:
        """Captions with ``{}`` for the class name."""
        ...

    @property
    def groups(self) -> Sequence[tuple[str, int, int | None]]:
        """Group name, images, and what the papers say."""
        ...

    @property
    def example(self) -> str | None:
        """Path of one image."""
        ...


def data_tables(found: Sequence[Found], train_templates: Sequence[str] = ()) -> list[Table]:
    """Return a table of all splits, one of their class names and captions and, where there are groups, one of those.

    Args:
        found: What was found of each split.
        train_templates: Of the training captions, where they aren't those of the data; none if they are.
    """
    published = any(one.published is not None for one in found)
    table = Table("set", "data set", "split", title="data")
    for heading in ("images", *(["published"] if published else []), "classes"):
        table.add_column(heading, justify="right")
    table.add_column("example", overflow="fold")
    for one in found:
        seen, known = one.classes
        classes = f"{seen:,} of {known:,}" if known else "–"
        numbers = [_number(one.images), *([_number(one.published)] if published else []), classes]
        table.add_row(one.name, one.title, one.split, *numbers, one.example or "–")
    named = [one for one in found if one.class_names]
    grouped = [one for one in found if one.groups]
    return [table, *([_captions(named, train_templates)] if named else []), *([_groups(grouped)] if grouped else [])]


def _captions(named: Sequence[Found], train_templates: Sequence[str]) -> Table:
    """Return a row for each list of class names and templates: the sets that have it, the first names, a caption."""
    sets: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for one in named:
        templates = train_templates if one.split == "train" and train_templates else one.templates
        sets.setdefault((tuple(one.class_names), tuple(templates)), []).append(_label(one))
    table = Table(title="class names and captions")
    for heading in ("set", "class names", "a caption"):
        table.add_column(heading, overflow="fold")
    for (names, templates), of_them in sets.items():
        more = f", ... ({len(names):,})" if len(names) > NAMES else ""
        of_many = f" (one of {len(templates):,} templates)" if len(templates) > 1 else ""
        caption = templates[0].replace("{}", names[0]) + of_many if templates else "–"
        table.add_row(", ".join(of_them), ", ".join(names[:NAMES]) + more, caption)
    return table


def _groups(grouped: Sequence[Found]) -> Table:
    names = list(dict.fromkeys(name for one in grouped for name, _, _ in one.groups))
    published = any(expected is not None for one in grouped for _, _, expected in one.groups)
    table = Table(title="images a group (published)" if published else "images a group")
    table.add_column("group", overflow="fold")
    for one in grouped:
        table.add_column(_label(one), justify="right")
    cells = [{name: _count(count, expected) for name, count, expected in one.groups} for one in grouped]
    for name in names[:SHOWN]:
        table.add_row(name, *(column.get(name, "–") for column in cells))
    if len(names) > SHOWN:
        table.add_row(f"... and {len(names) - SHOWN} more", *("" for _ in cells))
    return table


def _label(one: Found) -> str:
    return one.split if one.name == one.split else f"{one.name} {one.split}"


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _count(count: int, expected: int | None) -> str:
    return f"{count:,}" if expected is None else f"{count:,} ({expected:,})"
