"""What one image in a shard or table is known by, and what is wrong with those that can't be used."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from starft.safe_text import visible
from starft.wording import shortened

NOWHERE = -1
"""Where the bytes of a sample without an image lie."""

Columns = Mapping[str, Sequence[str]]
"""``label``, ``attribute``, ``group``, ``split`` or ``caption`` -> names that it may have, the first that is there."""


UNLABELLED = -1
"""Label that ``datasets`` writes in a column of classes for images that nobody labelled, such as those of a test."""


class Sample(NamedTuple):
    """One image and what is said of it.

    Args:
        key: Its name in the shard, or its row in the table.
        offset: Where its bytes begin in the file that holds them, or `NOWHERE`.
        length: How many there are.
        cells: What is said of it, by the keys of `Columns`.
    """

    key: str
    offset: int
    length: int
    cells: Mapping[str, Any]


KINDS = {
    "image": ("sample has no image", "samples have no image"),
    "label": ("sample has no label", "samples have no label"),
    "caption": ("sample has no caption", "samples have no caption"),
    "unlabelled": ("sample has the label -1", "samples have the label -1"),
    "twice": ("key is there twice", "keys are there twice"),
    "json": ("sample has a .json that isn't an object", "samples have a .json that isn't an object"),
    "cut": ("shard is cut short or damaged", "shards are cut short or damaged"),
}
"""What may be wrong, of one and of several."""
ADVICE = {
    "unlabelled": "nobody says what these show: leave their split out, as by data.init_args.splits {train: train, "
    "val: validation}",
    "twice": "members of one key must stand together (tar --sort=name) and be there once",
    "cut": "what lies behind is lost, so get a whole copy",
}


@dataclass
class Flaws:
    """What is wrong with samples, counted.

    Args:
        counts: Of each of `KINDS`.
        first: Where it was met first.
    """

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, where: str, count: int = 1) -> None:
        """Count samples with a flaw.

        Args:
            kind: One of `KINDS`.
            where: The first of them.
            count: How many there are.
        """
        self.counts[kind] = self.counts.get(kind, 0) + count
        self.first.setdefault(kind, where)

    def sentences(self, but: Collection[str] = ()) -> list[str]:
        """Return a sentence on each flaw, without its period.

        Args:
            but: Kinds that are none here.
        """
        sentences = []
        for kind, count in self.counts.items():
            if kind in but:
                continue
            what = KINDS[kind][count > 1]
            advice = f"; {ADVICE[kind]}" if kind in ADVICE else ""
            sentences.append(f"{count:,} {what}, first {shortened(visible(self.first[kind]))}{advice}")
        return sentences
