"""What a run trains, validates and tests on: its options, the images of each split, and what is wrong with them.

Nothing here knows of torch, so that data are checked without it.
"""

import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from starft.data.augmentation import Augmentation
from starft.data.check import WHOLE, Checked, check_split, told, unlike_train
from starft.data.datasets.new_images import NewImages
from starft.data.pairs import draw_pictures
from starft.data.paths import shared_paths
from starft.data.problem_texts import Problem
from starft.data.source import ImageTable, Source
from starft.data.splits import few, hold_out
from starft.errors import ConfigError, DataError, check_between
from starft.types import EvalSet

Sampling = Literal["shuffle", "class_balanced", "group_balanced", "class_subsampled", "group_subsampled"]
Decode = Literal["fast", "exact"]
MOST_IN_BATCH = 1_000_000
"""Images that one process may take at once; no machine holds more."""


def usable_cores() -> int:
    """Return how many cores this process may use; more worker processes than these slow each other down."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def without_groups(sampling: Sampling) -> str:
    """Return the sentence on a sampling that needs groups where there are none.

    Args:
        sampling: One by group.
    """
    return (
        f"sampling {sampling} needs groups, and the training images have none; give data with an attribute or a "
        f"group, or set data.init_args.sampling to {sampling.replace('group', 'class')} or shuffle."
    )


class LoaderOptions:
    """What all DataModules take.

    Args:
        sampling: Which images an epoch holds: ``shuffle`` takes each once; ``class_balanced`` and ``group_balanced``
            draw as many, of all classes or groups equally often; ``class_subsampled`` and ``group_subsampled`` keep as
            many images of each as the smallest has.
        batch_size: Training images a batch and process.
        eval_batch_size: Images a batch in evaluation.
        num_workers: Worker processes of each loader, no more than there are usable cores; results don't depend on it.
        seed: Start of the shuffles, the augmentation and the few shots.
    """

    def __init__(
        self,
        sampling: Sampling = "shuffle",
        batch_size: int = 128,
        eval_batch_size: int = 256,
        num_workers: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_between("batch_size", batch_size, 1, MOST_IN_BATCH)
        check_between("eval_batch_size", eval_batch_size, 1, MOST_IN_BATCH)
        for name, value, least in (("num_workers", num_workers, 0), ("seed", seed, 0)):
            if value < least:
                raise ConfigError(f"{name} must be at least {least}; got {value}.")
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.num_workers, self.seed, self.sampling = min(num_workers, usable_cores()), seed, sampling


@dataclass(frozen=True)
class EvalOn:
    """One more set to evaluate on.

    Args:
        source: The data set.
        name: Stands in metric names, ``test/{name}/acc``.
        split: Which of its splits.
        ood: Whether the set counts in ``ood_acc``.
        stage: Whether it is tested, validated, or both.
    """

    source: Source
    name: str
    split: str = "test"
    ood: bool = False
    stage: Literal["test", "validate", "both"] = "test"


class ImageContents(LoaderOptions):
    """The images of a run: those of one source to train on, of its other splits and of other sources to evaluate on.

    Where the training source has no ``val`` split, a share of ``train`` is held out for it.

    Args:
        train: The data set to train on; its classes are the training classes.
        name: What its own validation and test set are called in metric names, ``val/{name}/acc``;
            ``checkpoint.monitor`` has it too.
        evals: More sets to evaluate on.
        predict: A folder of new images, or a table of their paths, for ``starft predict``; null predicts the test sets.
        val_fraction: Share of ``train`` held out where there is no ``val`` split; 0 goes without validation.
        split_seed: Draws what is held out; not the run's seed, so that runs of all seeds validate on the same images.
        equal_groups: Whether equal numbers of every group are held out, as far as half of each group allows, instead of
            equal shares; null does so where a group would get fewer than 25 images.
        ood: Whether its own test split counts in ``ood_acc``; its validation split doesn't.
        shots: Train on so many images a class, drawn by ``seed``; null takes all.
        augmentation: How training images are varied; null leaves them as they are, cropped as in evaluation.
        decode: How training images are read: ``fast`` decodes a JPEG at the size that its crop needs, ``exact`` does as
            open_clip does, digit for digit; results of papers want ``exact``.
        eval_decode: The same of the images of validation, test and predictions.
        on_bad_image: ``stop`` ends the run at an image that can't be read; ``skip`` leaves it out, or takes another in
            training, and tells the count at the end.
        allow_partial: Take published sets that hold another number of images than their papers say.
        **kwargs: Arguments of `LoaderOptions`, such as ``batch_size``.
    """

    def __init__(
        self,
        train: Source,
        name: str = "id",
        evals: list[EvalOn] | None = None,
        predict: str | None = None,
        val_fraction: float = 0.1,
        split_seed: int = 0,
        ood: bool = False,
        shots: int | None = None,
        augmentation: Augmentation | None = Augmentation(),  # noqa: B008  # frozen
        on_bad_image: Literal["stop", "skip"] = "stop",
        allow_partial: bool = False,
        equal_groups: bool | None = None,
        decode: Decode = "fast",
        eval_decode: Decode = "exact",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source, self.own_name, self.own_ood = train, name, ood
        self.evals = tuple(
            item if item.source is train else replace(item, source=item.source.as_eval()) for item in evals or ()
        )
        if not 0 <= val_fraction < 1:
            raise ConfigError(f"val_fraction must lie in [0, 1); got {val_fraction}.")
        if shots is not None and shots < 1:
            raise ConfigError(f"shots must be at least 1, or null for all images; got {shots}.")
        if split_seed < 0:
            raise ConfigError(f"split_seed must be at least 0; got {split_seed}.")
        for stage in ("validate", "test"):
            names = [name, *(item.name for item in self.evals if item.stage in (stage, "both"))]
            for entry in names:
                if not entry or "/" in entry or names.count(entry) > 1:
                    raise ConfigError(
                        f"Each eval set needs a name of its own, without a slash; got {', '.join(names)}."
                    )
        self.predict, self.val_fraction, self.split_seed, self.shots = predict, val_fraction, split_seed, shots
        self.equal_groups, self.decode, self.eval_decode = equal_groups, decode, eval_decode
        self.augmentation, self.on_bad_image, self.allow_partial = augmentation, on_bad_image, allow_partial
        self._tables: dict[tuple[int, str], ImageTable] = {}
        self.new_images = NewImages(Path(predict), train) if predict is not None else None

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the training source's classes."""
        return (self.new_images or self.source).class_names

    @property
    def templates(self) -> tuple[str, ...]:
        """Caption templates of the training source."""
        return (self.new_images or self.source).templates

    @property
    def train_group_names(self) -> tuple[str, ...]:
        """Names of the training source's groups."""
        return self.source.group_names

    @property
    def lacks_groups(self) -> bool:
        """Whether no number can show a shortcut: a user's own labelled images, and no set with groups or OOD images."""
        used = (self.source, *(item.source for item in self.evals))
        published = any(self.source.published(split) is not None for split in self.source.splits)
        shows = self.own_ood or any(item.ood for item in self.evals) or any(source.group_names for source in used)
        return self.source.labelled and not published and not shows

    @property
    def val_sets(self) -> tuple[EvalSet, ...]:
        """The training source's own validation split, then the others that are validated."""
        return tuple(self._eval_set(item) for item in self._validated())

    @property
    def test_sets(self) -> tuple[EvalSet, ...]:
        """The training source's own test split, then the others that are tested."""
        return tuple(self._eval_set(item) for item in self._tested())

    @property
    def predict_sets(self) -> tuple[EvalSet, ...]:
        """The new images, or else the test sets."""
        return self.test_sets if self.new_images is None else (self._eval_set(self._predicted()[0]),)

    def take_classes(self, class_names: tuple[str, ...], templates: tuple[str, ...]) -> None:
        """Hear what a checkpoint was trained on; new images need no training data then."""
        if self.new_images is not None:
            self.new_images.of_checkpoint = class_names, templates

    def evaluated(self, stage: str) -> tuple[EvalOn, ...]:
        """Return the sources and splits that a stage evaluates, in the order of its loaders.

        Args:
            stage: ``fit``, ``validate``, ``test`` or ``predict``.
        """
        if stage in ("fit", "validate"):
            return self._validated()
        return self._tested() if stage == "test" else self._predicted()

    def _validated(self) -> tuple[EvalOn, ...]:
        own = "val" in self.source.splits or self.val_fraction > 0
        more = tuple(item for item in self.evals if item.stage != "test")
        return ((EvalOn(self.source, self.own_name, "val"), *more)) if own else more

    def _tested(self) -> tuple[EvalOn, ...]:
        more = tuple(item for item in self.evals if item.stage != "validate")
        own = EvalOn(self.source, self.own_name, "test", self.own_ood)
        return (own, *more) if "test" in self.source.splits else more

    def _predicted(self) -> tuple[EvalOn, ...]:
        return self._tested() if self.new_images is None else (EvalOn(self.new_images, "new", "test"),)

    def _eval_set(self, one: EvalOn) -> EvalSet:
        made = one.source.eval_set(one.name, one.split, one.ood)
        if not made.class_names:
            return self._retrieval_set(one, made)
        mine = self.source
        if made.group_weights or not made.group_names or made.group_names != mine.group_names:
            return made
        if "train" not in mine.splits:
            return made
        groups = self.table(mine, "train").groups
        if groups is None or mine.class_names != made.class_names:
            return made
        counts = np.bincount(groups, minlength=len(made.group_names))
        return replace(made, group_weights=tuple(float(share) for share in counts / counts.sum()))

    def _retrieval_set(self, one: EvalOn, made: EvalSet) -> EvalSet:
        """Return the description of a set of images that are paired with texts."""
        table = self.table(one.source, one.split)
        return replace(made, captions=tuple(table.captions or ()), pictures=tuple(table.paths))

    def table(self, source: Source, split: str) -> ImageTable:
        """Return the images of a split, listed once; of the training source's ``val`` those held out, if need be.

        Args:
            source: One of those it was made of.
            split: One of the source's splits, or ``val``.
        """
        key = (id(source), split)
        if key not in self._tables:
            if source is self.source and split == "val" and "val" not in source.splits:
                self._tables[key] = self._halves()[1]
            else:
                if split not in source.splits:
                    raise DataError(f"{source.without(split)}.")
                self._tables[key] = source.table(split)
        return self._tables[key]

    def _halves(self) -> tuple[ImageTable, ImageTable]:
        """Return the training images and the validation images of a source without a ``val`` split."""
        whole = self.table(self.source, "train")
        if not self.source.class_names:
            drawn = draw_pictures(whole.paths, 0.0, self.val_fraction, self.split_seed)
            return whole.take(drawn["train"]), whole.take(drawn.get("val", np.zeros(0, np.int64)))
        cells, equal = (whole.labels, False) if whole.groups is None else (whole.groups, self.equal_groups)
        kept, held_out = hold_out(cells, self.val_fraction, self.split_seed, equal)
        return whole.take(kept), whole.take(held_out)

    def training_table(self) -> ImageTable:
        """Return the images that are trained on: of ``train``, less what is held out, the few shots."""
        held_out = "val" not in self.source.splits and self.val_fraction > 0
        table = self._halves()[0] if held_out else self.table(self.source, "train")
        return table if self.shots is None else table.take(few(table.labels, self.shots, self.seed))

    def own_tables(self) -> dict[str, ImageTable]:
        """Return ``train``, ``val`` and ``test`` of the training source, with what is held out; not the few shots."""
        tables: dict[str, ImageTable] = {
            name: self.table(self.source, name) for name in ("train", "val", "test") if name in self.source.splits
        }
        if "train" in tables and "val" not in tables and self.val_fraction > 0:
            kept, held_out = self._halves()
            tables = {**tables, "train": kept, "val": held_out}
        return tables

    def tables(self, stage: str) -> dict[str, ImageTable]:
        """Return the images that a stage reads: ``train``, ``val/NAME``, ``test/NAME``; no new images."""
        tables = {"train": self.training_table()} if stage == "fit" else {}
        for item in self._validated() if stage in ("fit", "validate") else ():
            tables[f"val/{item.name}"] = self.table(item.source, item.split)
        for item in self._tested() if stage in ("fit", "test", "predict") and self.new_images is None else ():
            tables[f"test/{item.name}"] = self.table(item.source, item.split)
        return tables

    def check(self, *stages: str) -> list[Checked]:
        """Return what is found of each split that the stages read, problems and all; nothing is decoded.

        Args:
            stages: ``fit``, ``validate``, ``test`` or ``predict``.
        """
        train = (EvalOn(self.source, "train", "train"),) if "fit" in stages else ()
        try:
            parts = {(id(item.source), item.split): item for stage in stages for item in self.evaluated(stage)}
        except (DataError, ConfigError) as error:  # the source can't tell its splits; the others may have problems too
            results = [Checked(self.own_name, self.source.title, WHOLE, problems=told(error, self.source.title))]
            return results + [self._checked(item) for item in self.evals]
        if train and "train" not in self.source.splits:  # nothing to hold out of it, then; one sentence is enough
            parts.pop((id(self.source), "val"), None)
        results = [self._checked(item) for item in (*train, *parts.values())]
        if train and "test" in stages and "test" not in self.source.splits:
            results[0].problems.append(
                Problem("there is no test split of its own: `starft test` has only evals", False)
            )
        if train and results[0].table is not None:
            mine = self.training_table()
            if not self.source.class_names:
                results[0].problems += self._by_class()
            elif self.sampling.startswith("group") and mine.groups is None:
                results[0].problems.append(Problem(without_groups(self.sampling).rstrip(".")))
            for entry in results[1:]:
                if entry.table is not None and entry.scored:
                    entry.problems += shared_paths(mine, entry.table)
        own = [item for item in results if item.title == self.source.title and not item.extra and item.scored]
        for entry in own[1:] if train else ():
            entry.problems += unlike_train(results[0], entry)
        by_split = {item.split: item for item in own if item.table is not None and not item.as_published}
        if {"val", "test"} <= by_split.keys():
            val, test = (by_split[split] for split in ("val", "test"))
            test.problems += shared_paths(val.table, test.table, "val") if val.table and test.table else []
        return results

    def _by_class(self) -> list[Problem]:
        """Return the options that go by classes, which the training images don't have."""
        given = {"sampling": (self.sampling, "shuffle"), "shots": (self.shots, None)}
        return [
            Problem(
                f"{name} {value} goes by classes, and the images have captions and no labels; "
                f"set data.init_args.{name} to {'null' if usual is None else usual}"
            )
            for name, (value, usual) in given.items()
            if value != usual
        ]

    def _checked(self, one: EvalOn) -> Checked:
        listing = partial(self.table, one.source, one.split)
        result = check_split(one.source, one.name, one.split, listing, self.allow_partial)
        result.extra = one.source not in (self.source, self.new_images)
        if one.ood and result.table is not None and not result.class_names:
            result.problems.append(
                Problem("it has captions and no classes, so it can't count in ood_acc; set its ood to false")
            )
        return result
