"""Images of a user's own that may come without splits."""

from copy import copy
from functools import cached_property
from pathlib import Path

import numpy as np

from starft.data.datasets.class_names import texts
from starft.data.datasets.label_map import Given
from starft.data.source import Source
from starft.data.splits import Ints, draw_splits
from starft.errors import ConfigError

TEST, VAL = 0.2, 0.1
"""Shares that are drawn of a training set where nobody gives others."""


class DrawnSource(Source):
    """A source that draws its splits where the data don't tell them, or is all test where it is only evaluated.

    Args:
        root: Folder that holds the images.
        templates: Caption templates, each with ``{}`` once, or a text file with one a line.
        test_fraction: Share of the images that is drawn for the test where the data tell no splits; null takes 0.2, or
            all images of an eval set.
        val_fraction: Share that is drawn for validation; null takes 0.1, or none of an eval set.
        split_seed: Of these draws; not the run's seed, so that all runs are tested on the same images.
        equal_groups: Whether test and validation images are drawn in equal numbers of every group, as far as half of
            each group allows, instead of in equal shares; null does so where a group would get fewer than 25 images.
        label_map: The class of each label or class folder, where many make few classes: ``{label: class}``, or a table
            (CSV) of two columns, label and class. ``class_names`` then says how the classes are called.
    """

    option = "data.init_args.{}"
    """How messages call an argument, filled in for ``{}``."""

    def __init__(
        self,
        root: Path,
        templates: list[str] | str = "a photo of a {}.",
        test_fraction: float | None = None,
        val_fraction: float | None = None,
        split_seed: int = 0,
        equal_groups: bool | None = None,
        label_map: Given | None = None,
    ) -> None:
        super().__init__(root)
        self.given_templates, self.label_map = templates, label_map
        self.has_splits = False  # until they are read
        self.all_is_test, self._nothing_given = False, test_fraction is None and val_fraction is None
        test = TEST if test_fraction is None else test_fraction
        val = VAL if val_fraction is None else val_fraction
        if min(test, val) < 0 or test + val >= 1:
            raise ConfigError(
                f"test_fraction and val_fraction must be at least 0 and below 1 together; got {test} and {val}."
            )
        self.test_fraction, self.val_fraction, self.split_seed = test, val, split_seed
        self.equal_groups, self._drawn_equally = equal_groups, False

    @cached_property
    def templates(self) -> tuple[str, ...]:
        """Given, one or many."""
        return texts(self.given_templates, "templates")

    def as_eval(self) -> Source:
        """Return a source of the same images that is all test, unless its splits or fractions are given."""
        other = copy(self)
        other.__dict__.pop("_read", None)  # what was read had its splits drawn
        other.all_is_test, other.option = self._nothing_given, "init_args.{} of its source"
        return other

    def check_there(self) -> None:
        """Refuse data that aren't there, without reading them.

        Raises:
            DataError: They aren't.
        """

    def asked_by(self, argument: str) -> str:
        """Return how a person gives an argument, where the command line or a config may.

        Args:
            argument: Its name.
        """
        option = self.option.format(argument)
        return f"--{option}" if option.startswith("data.") else option

    def draw(self, labels: Ints, groups: Ints | None) -> dict[str, Ints]:
        """Return the rows of each split, of data that don't tell them.

        Args:
            labels: Class of each row (N,).
            groups: Its group; None where the data have no groups.
        """
        if self.all_is_test:
            return {"test": np.arange(len(labels))}
        fractions = self.test_fraction, self.val_fraction
        if groups is None:
            return draw_splits(labels, *fractions, self.split_seed)
        by_share, splits = (draw_splits(groups, *fractions, self.split_seed, how) for how in (False, self.equal_groups))
        self._drawn_equally = any(
            split not in by_share or not np.array_equal(rows, by_share[split]) for split, rows in splits.items()
        )
        return splits

    def draw_notes(self) -> tuple[str, ...]:
        """Return what is worth knowing of the drawn splits, after `draw`; sentences without their period."""
        if not self._drawn_equally:
            return ()
        return (
            "validation and test images are drawn in numbers of each group as equal as the data allow, so that the "
            "worst group holds as many as it can (equal_groups); `adjusted` is the accuracy at the training images' "
            "proportions",
        )

    def without(self, split: str) -> str:
        """Return a sentence on a split that there isn't, without its period.

        Args:
            split: Its name.
        """
        if self.has_splits or split not in ("train", "val", "test"):
            return super().without(split)
        where = f"{self.title} at {self.root}"
        if self.all_is_test:
            return (
                f"{where} tells no splits, so all of it is test as an eval set; leave split: {split} out, or give its "
                "test_fraction and val_fraction to have splits drawn"
            )
        have = " and ".join(self.splits) or "none"
        if split == "train":
            return f"{where} has too few images to draw train from; it has {have}"
        fraction = getattr(self, f"{split}_fraction")
        return (
            f"{where} tells no splits, and those that are drawn are {have}: {split}_fraction is {fraction:g}; raise it"
            + ("" if fraction == 0 else ", or take more images")
        )
