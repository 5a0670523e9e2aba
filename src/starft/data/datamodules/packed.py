"""The user's own images in shards."""

from starft.data.datamodules.images import ImageDataModule
from starft.data.own import PackedContents


class Packed(PackedContents, ImageDataModule):
    __doc__ = PackedContents.__doc__
