"""The user's own images from a table."""

from starft.data.datamodules.images import ImageDataModule
from starft.data.own import CSVContents


class CSV(CSVContents, ImageDataModule):
    __doc__ = CSVContents.__doc__
