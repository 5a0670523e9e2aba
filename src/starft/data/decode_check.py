"""Decoding every image of a config's data: which can't be read, and which are the same picture."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from starft.data.check import Checked
from starft.data.contents import usable_cores
from starft.data.images import KNOWN, SIXTEEN_BIT, BadImageError, Reader, TooLongError, check_length, read_image
from starft.data.loading import SignalProofLoader, ignore_stop_signals
from starft.data.near_duplicates import Pictures, copies, small_picture
from starft.data.problem_texts import Problem, some, told_of
from starft.data.source import ImageTable
from starft.errors import DataError
from starft.types import ImagePreprocessing

DARK, DARK_OF_MORE_BITS = 16, 64
"""A picture whose levels lie all below is nearly black: of 8 bits, and of a file that says to hold more."""
MOST_COMPARED = 100_000
"""Images among which near duplicates are looked for at most; 3 KB are held of each."""
CHUNK = 32
"""Images that a worker decodes at a time."""


class Decoded(NamedTuple):
    """What became of one image.

    Args:
        why: What is wrong with it; None if nothing.
        digest: Hash of its size and pixels; empty where it can't be read.
        dark: Whether it is nearly black as 8-bit RGB.
        small: What near duplicates are told by; None where it can't be read, or there are too many images.
    """

    why: str | None
    digest: bytes
    dark: bool = False
    small: Pictures | None = None


class _Files(Dataset[Decoded]):
    def __init__(self, paths: Sequence[str], readers: Mapping[str, Reader], size: tuple[int, int]) -> None:
        self.paths, self.readers, self.size = paths, readers, size
        self.compare = len(paths) <= MOST_COMPARED

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Decoded:
        try:
            image = self.readers.get(self.paths[index], read_image)(self.paths[index])
            check_length(image, self.size)
        except BadImageError as error:
            return Decoded(error.why, b"")
        except DataError as error:  # such as a lost connection
            return Decoded(str(error).rstrip("."), b"")
        except TooLongError as error:
            return Decoded(str(error), b"")
        digest = blake2b(image.tobytes(), digest_size=16, salt=repr(image.size).encode()[:16]).digest()
        small = small_picture(image) if self.compare else None
        return Decoded(None, digest, is_dark(image, self.paths[index]), small)


def is_dark(image: Image.Image, path: str) -> bool:
    """Return whether a picture comes out nearly black, as one of 16 bits does that uses 12 of them.

    Args:
        image: As 8-bit RGB.
        path: Its file.
    """
    highest = max(int(high) for _, high in image.getextrema())  # type: ignore[misc]  # one pair a channel
    if highest < DARK:
        return True
    if highest >= DARK_OF_MORE_BITS:
        return False
    try:
        with Image.open(path) as opened:
            return opened.mode in SIXTEEN_BIT
    except (OSError, ValueError, SyntaxError):  # not an image file of its own: one in an archive
        return False


def decode(
    paths: Sequence[str],
    workers: int | None,
    advance: Callable[[int], None],
    readers: Mapping[str, Reader] | None = None,
    size: tuple[int, int] | None = None,
) -> dict[str, Decoded]:
    """Decode images in parallel.

    Args:
        paths: Their files.
        workers: Processes; None takes one for each CPU, 0 none but this one.
        advance: Told how many more are done.
        readers: Path -> what reads it, where that isn't the reader of image files (``ImageTable.read``); None for none.
        size: Height and width that the model takes; None stands for those that most take.
    """
    workers = usable_cores() if workers is None else workers
    done: dict[str, Decoded] = {}
    loader = SignalProofLoader(
        _Files(paths, readers or {}, size or ImagePreprocessing().size),
        batch_size=CHUNK,
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=ignore_stop_signals,
    )
    for chunk in loader:
        done.update(zip(paths[len(done) : len(done) + len(chunk)], chunk, strict=True))
        advance(len(chunk))
    return done


def files(table: ImageTable) -> list[str]:
    """Return where the images of a table are."""
    return [table.location(at) for at in range(len(table))]


def look_deep(
    checked: Sequence[Checked], train: ImageTable | None, decoded: dict[str, Decoded], skip: bool = False
) -> None:
    """Add the problems that only decoded images show.

    Args:
        checked: What was found of each split; their problems grow.
        train: What is trained on; None where nothing is.
        decoded: Every image of theirs.
        skip: Whether a run leaves out images that can't be read.
    """
    trained: dict[bytes, str] = {}
    if train is not None:
        trained = {decoded[path].digest: path for path in files(train) if decoded[path].why is None}
    for item in checked:
        if item.table is None:
            continue
        paths = files(item.table)
        fine = (None, KNOWN[FileNotFoundError])  # what is missing is told already
        bad = [f"{path} ({decoded[path].why})" for path in paths if decoded[path].why not in fine]
        if bad:
            mend = f"mend or remove {'it' if len(bad) == 1 else 'them'}, or set data.init_args.on_bad_image to skip"
            then = "left out, as on_bad_image is skip" if skip else mend
            text = f"{told_of(len(bad), 'image', 'images')} can't be read: {some(bad, 20)}; {then}"
            item.problems.append(Problem(text, stops=not skip))
        stops = not item.as_published  # what the makers published is as it is
        if item.split != "train" and item.scored:
            good = {path: decoded[path].digest for path in paths if decoded[path].why is None}
            both = [f"{path} = {trained[d]}" for path, d in good.items() if d in trained and trained[d] != path]
            if both:
                item.problems.append(
                    Problem(
                        f"{told_of(len(both), 'picture is', 'pictures are')} in train too: {some(both, 20)}; "
                        "keep each in one split",
                        stops,
                    )
                )
            if train is not None and stops:
                item.problems += _near_duplicates(paths, files(train), decoded)
        dark = [path for path in paths if decoded[path].dark]
        if dark:
            item.problems.append(
                Problem(
                    f"{len(dark):,} of {told_of(len(paths), 'picture', 'pictures')} ({len(dark) / len(paths):.0%}) "
                    f"{'comes' if len(dark) == 1 else 'come'} out nearly black: {some(dark)}",
                    stops=False,
                    advice="files of 16 bits that use 12, or of 32 with values to 255, do; save them with 8 bits, or "
                    "with levels over the whole range",
                )
            )
        alike: dict[bytes, list[str]] = defaultdict(list)
        for path in dict.fromkeys(paths):
            if decoded[path].why is None:
                alike[decoded[path].digest].append(path)
        twice = [" = ".join(same) for same in alike.values() if len(same) > 1]
        if twice:
            item.problems.append(
                Problem(
                    f"{told_of(len(twice), 'picture is', 'pictures are')} there more than once: {some(twice)}",
                    stops=False,
                )
            )


def _near_duplicates(paths: Sequence[str], trained: Sequence[str], decoded: dict[str, Decoded]) -> list[Problem]:
    """Return the note on pictures that are copies of training images, but not the same pixels."""
    own, others = (
        [path for path in dict.fromkeys(part) if decoded[path].small is not None] for part in (paths, trained)
    )
    if not own or not others:
        return []
    first, second = (np.stack([decoded[path].small for path in part]) for part in (own, others))  # type: ignore[misc]
    pairs = [(own[copy.first], others[copy.second]) for copy in copies(first, second)]
    near = [f"{path} = {other}" for path, other in pairs if decoded[path].digest != decoded[other].digest]
    if not near:
        return []
    are = told_of(len(near), "picture looks", "pictures look")
    return [
        Problem(
            f"{are} like a copy of one in train, resized, recompressed, mirrored or cropped: {some(near, 20)}",
            stops=False,
            advice="keep each in one split",
        )
    ]
