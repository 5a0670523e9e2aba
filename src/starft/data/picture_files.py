"""Which files of a folder are pictures, and how those that aren't are told."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache

from PIL import Image

from starft.data.problem_texts import some, told_of
from starft.safe_text import visible

NO_DECODER = frozenset({"BUFR", "GRIB", "HDF5", "MPEG", "WMF", "EPS", "IPTC"})
"""Formats that Pillow names but decodes with a plugin or another program alone."""
SURE = ("JPEG", "PNG", "GIF", "WEBP")
"""Formats that the first bytes tell, whatever the file is called; raw photographs look like TIFF."""
WITHOUT_ENDING = (*SURE, "BMP", "TIFF", "AVIF", "JPEG2000")
"""Formats that a file without an ending may have."""
OTHER_FILES = frozenset({
    ".aae", ".avi", ".bz2", ".cfg", ".ckpt", ".crdownload", ".css", ".csv", ".db", ".doc", ".docx", ".gz", ".h5",
    ".hdf5", ".htm", ".html", ".ini", ".ipynb", ".js", ".json", ".jsonl", ".lnk", ".log", ".mat", ".md", ".mkv", ".mov",
    ".mp3", ".mp4", ".ndjson", ".npy", ".npz", ".parquet", ".part", ".pdf", ".pkl", ".pt", ".pth", ".py", ".rar",
    ".rst", ".safetensors", ".sh", ".sqlite", ".tar", ".text", ".tgz", ".tmp", ".toml", ".tsv", ".txt", ".url", ".wav",
    ".webm", ".xls", ".xlsx", ".xml", ".xmp", ".xz", ".yaml", ".yml", ".zip", ".7z",
})  # fmt: skip
"""Endings of files that nobody need look into."""
PICTURES_OF_OTHERS = frozenset({
    ".ai", ".arw", ".cr2", ".cr3", ".dng", ".eps", ".heic", ".heif", ".jxl", ".nef", ".orf", ".pef", ".raf", ".rw2",
    ".srw", ".svg", ".wmf",
})  # fmt: skip
"""Endings of pictures that Pillow alone doesn't open."""
HINT = "save as JPEG or PNG what is a picture"
SHOWN = 5
"""How many endings are told one by one."""


@cache
def picture_endings() -> frozenset[str]:
    """Return the endings, in lower case, of the formats that Pillow and its plugins decode."""
    registered = Image.registered_extensions().items()
    return frozenset(ending for ending, form in registered if form in Image.OPEN and form not in NO_DECODER)


def is_picture(name: str, path: str) -> bool:
    """Return whether a file counts as a picture: by its ending, or else by its first bytes.

    Args:
        name: Of the file.
        path: Where it is.
    """
    ending = ending_of(name)
    if ending in picture_endings():
        return True
    if ending in OTHER_FILES:
        return False
    try:
        with Image.open(path, formats=SURE if ending else WITHOUT_ENDING):
            return True
    except Exception:  # Pillow's readers share no base; whatever one says, it isn't opened
        return False


def ending_of(name: str) -> str:
    """Return a file's ending in lower case, with its dot.

    Example:
        >>> ending_of("a/Photo.JPG"), ending_of("IMG_1"), ending_of(".hidden")
        ('.jpg', '', '')
    """
    stem, dot, ending = name.rpartition("/")[2].rpartition(".")
    return f".{ending}".lower() if stem.strip(".") and dot and ending else ""


def left_out(paths: Sequence[str], where: object) -> str:
    """Return a sentence on files that are no pictures, without its period; "" where there are none.

    Args:
        paths: Of the files.
        where: The folder that they are below.

    Example:
        >>> left_out(["a.heic", "b.HEIC", "c.txt"], "photos")
        '3 files below photos are left out: 2 .heic, 1 .txt; save as JPEG or PNG what is a picture'
    """
    if not paths:
        return ""
    are = told_of(len(paths), "file", "files"), "is" if len(paths) == 1 else "are"
    more = f"; {HINT}" if any(ending_of(path) in PICTURES_OF_OTHERS for path in paths) else ""
    return f"{are[0]} below {where} {are[1]} left out: {by_ending(paths)}{more}"


def lost_classes(paths: Sequence[str], depth: int, classes: Iterable[str]) -> str:
    """Return a sentence on the class folders without a picture, without its period; "" where there are none.

    Args:
        paths: Of the files that are left out.
        depth: How many folders lie above those of the classes.
        classes: Class folders that hold a picture.
    """
    files: dict[str, list[str]] = {}
    for part in (path.split("/") for path in paths):
        if len(part) > depth + 1:
            files.setdefault(part[depth], []).append(part[-1])
    lost = {name: files[name] for name in sorted(files.keys() - {*classes})}
    if not lost:
        return ""
    names = some([f"{name} ({by_ending(of_class)})" for name, of_class in lost.items()])
    return (
        f"{told_of(len(lost), 'class folder holds', 'class folders hold')} no picture and counts as no class: {names}"
    )


def by_ending(paths: Iterable[str]) -> str:
    """Return how many files there are of each ending, most first.

    Args:
        paths: Of the files.
    """
    counts = Counter(
        "hidden" if path.rpartition("/")[2].startswith(".") else visible(ending_of(path)) or "without an ending"
        for path in paths
    ).most_common()
    messages = [f"{count:,} {ending}" for ending, count in counts[:SHOWN]]
    rest = sum(count for _, count in counts[SHOWN:])
    return ", ".join([*messages, *([f"{rest:,} others"] if rest else [])])
