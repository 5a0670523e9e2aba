"""Images whose data workers send a signal to all processes of a run, once: as a terminal or ``timeout`` does."""

import os
import sys
from multiprocessing import get_start_method
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader

from starft.data import CSV
from starft.data.imageset import Guarded, ImageSet, gathered

LOADER, WHEN, NUMBER, MARK = (f"STARFT_TEST_{name}" for name in ("LOADER", "WHEN", "NUMBER", "MARK"))
"""Variables: a worker of which loader sends it, at its ``start`` or as it ``read``s; which signal; a file for a mark.

The mark is how workers are started.
"""


class _Reading(Guarded):
    loader = ""

    def __getitem__(self, which: Any) -> Any:
        self.send("read")
        return super().__getitem__(which)

    def send(self, when: str) -> None:
        if (self.loader, when) != (os.environ[LOADER], os.environ[WHEN]):
            return
        try:
            with Path(os.environ[MARK]).open("x", encoding="utf-8") as file:
                file.write(get_start_method())
        except FileExistsError:
            return
        os.killpg(0, int(os.environ[NUMBER]))


class Signalling(CSV):
    """The images of a table."""

    def train_dataloader(self) -> DataLoader[Any]:
        self.made = "train"
        return super().train_dataloader()

    def val_dataloader(self) -> list[DataLoader[Any]]:
        self.made = "val"
        return super().val_dataloader()

    def test_dataloader(self) -> list[DataLoader[Any]]:
        self.made = "test"
        return super().test_dataloader()

    def _guard(self, images: ImageSet) -> Guarded:
        guard = _Reading(images, self.on_bad_image)
        guard.loader = self.made
        self._guards.append(guard)
        return guard


class Unprotected(Signalling):
    """As somebody's own DataModule may be: its workers end at a signal."""

    def train_dataloader(self) -> DataLoader[Any]:
        guard = super().train_dataloader().dataset
        return DataLoader(guard, batch_size=7, num_workers=2, collate_fn=lambda rows: gathered(rows).batch)


def _name_thread(name: str) -> None:
    """Stand in for what a worker does first, before anybody could tell it what to do with a signal."""
    if name == "pt_data_worker":
        dataset = sys._getframe(1).f_locals["dataset"]
        if isinstance(dataset, _Reading):
            dataset.send("start")


torch.multiprocessing._set_thread_name = _name_thread  # type: ignore[attr-defined]
