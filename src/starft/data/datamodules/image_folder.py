"""The user's own images in a folder a class."""

from starft.data.datamodules.images import ImageDataModule
from starft.data.own import ImageFolderContents


class ImageFolder(ImageFolderContents, ImageDataModule):
    __doc__ = ImageFolderContents.__doc__
