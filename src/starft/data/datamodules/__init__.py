"""DataModules, one file a data set."""

from starft.data.datamodules.base import BaseDataModule

__all__ = ["BaseDataModule"]
