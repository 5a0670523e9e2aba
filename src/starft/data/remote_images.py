"""Images on object stores and web servers, which are fetched one by one as they are first read."""

from collections.abc import Callable
from pathlib import Path

from starft.data.images import BadImageError
from starft.files.addresses import address_of, shown
from starft.files.remote import remote_bytes
from starft.files.stores import NotThere


def file_bytes_below(root: Path) -> Callable[[str], bytes] | None:
    """Return what reads the images below a folder (``file_bytes`` of a table); None for one of this machine.

    Args:
        root: A folder, or the address of one.
    """
    return image_bytes if address_of(root) is not None else None


def image_bytes(address: str) -> bytes:
    """Return an image's file, from the cache or the server.

    Args:
        address: Of the image.

    Raises:
        BadImageError: The server has no such image.
        DataError: It can't be had, which is no fault of the image: without a connection, credentials or disk space.
    """
    try:
        return remote_bytes(address)
    except NotThere as error:
        raise BadImageError(shown(address), "its server doesn't have it") from error
