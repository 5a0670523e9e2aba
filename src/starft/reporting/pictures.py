"""Small pictures of samples for a page: those that a test kept, or of the data; nothing else of the disk.

A run folder may be a stranger's, and what it names is embedded in a page that is handed on. So a picture comes from a
regular file in the run's own folder, or from one below a data root of the run's config; links that lead elsewhere,
absolute paths elsewhere and ``..`` give none, and a root that holds all of a disk or of a home counts for none.
"""

import warnings
from base64 import b64encode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from starft.runs.layout import PICTURES
from starft.runs.run_reader import Run
from starft.runs.samples import SIDE, picture_path

LARGEST_KEPT = 256_000
"""Bytes of a picture that a test kept; it writes some thousands."""
MOST_PIXELS = 64_000_000
"""Larger images of the data aren't decoded for a page."""


def thumbnail(run: Run, set_at: int, index: int, path: str) -> str | None:
    """Return a small picture of a sample as a data address: the one that the test kept, or else of its file.

    Args:
        run: Whose sample it is.
        set_at: Position of its set among those tested.
        index: Its position in the set.
        path: Of its file; "" for none.
    """
    own = kept_picture(picture_path(run.folder, set_at, index), run.folder / PICTURES)
    if own is not None:
        return own
    inside = (file for root in data_roots(run.config) if path and (file := _regular(Path(path), root)) is not None)
    return _small(file) if (file := next(inside, None)) is not None else None


def kept_picture(path: Path, folder: Path) -> str | None:
    """Return a picture that a command of ours kept, as a data address; None where there is none.

    Args:
        path: Of the picture.
        folder: That it must truly lie in.
    """
    file = _regular(path, folder.parent.resolve() / folder.name)
    if file is not None and file.stat().st_size <= LARGEST_KEPT and _is_jpeg(file):
        return _address(file.read_bytes())
    return None


def data_roots(config: dict[str, Any]) -> list[Path]:
    """Return the folders that a run's data lie in; none that is a whole disk, or a home or above one.

    Args:
        config: Of the run.
    """
    home = Path.home().resolve()
    roots = []
    for given in _roots(config.get("data")):
        root = Path(given).resolve()
        if root != Path(root.anchor) and not home.is_relative_to(root) and root.is_dir():
            roots.append(root)
    return list(dict.fromkeys(roots))


def _roots(held: Any) -> Iterator[str]:
    """Yield what the data section names as ``root``, and the folder of a table without one."""
    if isinstance(held, dict):
        root, file = held.get("root"), held.get("file")
        if isinstance(root, str) and root:
            yield root
        elif isinstance(file, str) and file:
            yield str(Path(file).parent)
    below = held.values() if isinstance(held, dict) else held if isinstance(held, list) else ()
    for item in below:
        yield from _roots(item)


def _regular(path: Path, root: Path) -> Path | None:
    """Return a path without links, if it is a regular file that truly lies below a folder (given without links)."""
    try:
        true = path.resolve(strict=True)
        inside = true.is_relative_to(root) and true.is_file()
    except (OSError, ValueError, RuntimeError):  # not there, a null byte in it, links in a circle
        return None
    return true if inside and not path.is_symlink() else None


def _is_jpeg(path: Path) -> bool:
    try:
        with Image.open(path, formats=["JPEG"]) as image:
            return max(image.size) <= 2 * SIDE
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def _small(path: Path) -> str | None:
    try:
        with warnings.catch_warnings(), Image.open(path) as image:
            warnings.simplefilter("ignore")  # of odd metadata
            if image.width * image.height > MOST_PIXELS:
                return None
            image.draft("RGB", (SIDE, SIDE))
            small = _upright(image).convert("RGB")
            small.thumbnail((SIDE, SIDE))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    buffer = BytesIO()
    small.save(buffer, "jpeg", quality=80)
    return _address(buffer.getvalue())


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a broken EXIF block says nothing of how the picture stands; Pillow raises whatever it meets
        return image


def _address(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + b64encode(jpeg).decode()
