"""What a table or a folder of a person's own images holds, as far as a config must know; nothing of torch is loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

from starft.errors import DataError
from starft.files.atomic import load_json
from starft.wording import SPLITS

PATHS = ("path", "image", "image_path", "img_path", "filepath", "file", "filename", "file_name", "img_filename", "img")
LABELS = ("label", "class", "class_name", "target", "category", "species", "y", "label_name", "labels")
ATTRIBUTES = (
    "attribute",
    "place",
    "background",
    "environment",
    "habitat",
    "scene",
    "location",
    "spurious",
    "confounder",
)
SPLIT_COLUMNS = ("split", "set", "partition", "subset", "fold")
GROUPS = ("group", "group_name")
TABLES = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".jsonl", ".ndjson")
SEPARATORS = (",", ";", "\t", "|")
FEW = 50
"""Values from which on a column is no label, unless it is called so."""


@dataclass(frozen=True)
class Own:
    """What a config must know of a person's own images.

    Args:
        columns: ``path``, ``label``, ``attribute``, ``split`` and ``group`` -> the column; of a table alone.
        classes: Values of the labels, sorted.
        attributes: Values of the attribute.
        images: How many there are.
        smallest: Images of the smallest pair of class and attribute; 0 without attributes.
        splits: Whether there are splits.
        others: Columns that may be an attribute too.
    """

    columns: dict[str, str]
    classes: tuple[str, ...]
    attributes: tuple[str, ...]
    images: int
    smallest: int
    splits: bool
    others: tuple[str, ...] = ()


def look_at_table(path: Path) -> Own:
    """Return what a table of images holds; columns are known by their names, or by what is in them.

    Args:
        path: CSV, TSV, Parquet or JSON lines.

    Raises:
        DataError: It can't be read, or has no column of paths or of labels.
    """
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes); it needs a header and rows.")
    frame = _read(path).rename(columns=lambda name: str(name).strip())
    if named := next((name for name in frame.columns if _is_path(name)), None):
        raise DataError(
            f"{path} has {named!r} where the name of a column should stand: its first line names no columns. "
            "Add one above it, such as path,label."
        )
    if frame.empty:
        raise DataError(f"{path} has no rows; it needs one row an image.")
    texts = {str(name): frame[name].dropna().map(_plain) for name in frame.columns}
    texts = {name: values for name, values in texts.items() if len(values)}
    columns = _columns(texts)
    for kind, option in (("path", "path_column"), ("label", "label_column")):
        if kind not in columns:
            raise DataError(
                f"{path} has no column that looks like one of {kind}s; its columns are {', '.join(texts)}. "
                f"Call it {kind}, or take csv/ce with --data.init_args.{option} NAME."
            )
    others = [name for name in texts if name not in columns.values() and _are_labels(texts[name])]
    pairs = [columns[kind] for kind in ("label", "attribute") if kind in columns]
    smallest = int(pd.DataFrame({name: texts[name] for name in pairs}).value_counts().min()) if len(pairs) > 1 else 0
    classes = sorted(set(texts[columns["label"]]))
    if len(classes) < 2:
        raise DataError(
            f"{path} has one label only, {classes[0]!r}, in column {columns['label']!r}; it needs two or more."
        )
    attributes = sorted(set(texts[columns["attribute"]])) if "attribute" in columns else []
    return Own(columns, tuple(classes), tuple(attributes), len(frame), smallest, "split" in columns, tuple(others))


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pd.read_parquet(path)
        if path.suffix.lower() in (".jsonl", ".ndjson"):
            rows = [load_json(line) for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
            if not all(isinstance(row, dict) for row in rows):
                raise ValueError('each line must hold an object, such as {"path": "a.jpg", "label": "duck"}')
            return pd.DataFrame(rows)
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline()
        return pd.read_csv(
            path,
            sep=max(SEPARATORS, key=first.count),
            dtype="str",
            keep_default_na=False,
            na_values=[""],
            encoding="utf-8-sig",
            skipinitialspace=True,
        )
    except ImportError as error:
        raise DataError(f"Reading {path} needs pyarrow; install it: pip install 'starft[parquet]'.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} isn't UTF-8 text; save it as UTF-8.") from error
    except (ValueError, OSError) as error:  # pandas' and pyarrow's errors of parsing are ValueErrors
        why = " ".join(str(error).split()).rstrip(".")[:200]
        raise DataError(f"{path} can't be read: {why}; mend it, or write it anew.") from error


def _columns(texts: Mapping[str, "pd.Series[str]"]) -> dict[str, str]:
    """Return the column of each kind: the one that is called so, or the one that holds what it should."""
    columns: dict[str, str] = {}
    for kind, names, fits in (
        ("path", PATHS, _are_paths),
        ("split", SPLIT_COLUMNS, _are_splits),
        ("group", GROUPS, None),
        ("attribute", ATTRIBUTES, None),
        ("label", LABELS, _are_labels),
    ):
        free = [name for name in texts if name not in columns.values()]
        if kind == "path":  # what is in it counts more than its name: an id may be called image
            free = [name for name in free if _are_paths(texts[name])] or free
        called = [name for known in names for name in free if name.lower() == known]
        like = [name for name in free if fits is not None and fits(texts[name])]
        chosen = [*called, *(like if kind != "label" or len(like) == 1 else [])]
        if chosen:
            columns[kind] = chosen[0]
    return columns


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _is_path(value: str) -> bool:
    Image.init()
    return Path(value).suffix.lower() in Image.EXTENSION


def _are_paths(values: "pd.Series[str]") -> bool:
    return bool(values.map(_is_path).mean() > 0.9)


def _are_splits(values: "pd.Series[str]") -> bool:
    return {*values.str.lower()} <= SPLITS.keys() and values.nunique() > 1


def _are_labels(values: "pd.Series[str]") -> bool:
    kinds = values.nunique()
    return 2 <= kinds <= min(FEW, len(values) // 2) and not _are_paths(values)


def look_at_folder(root: Path) -> Own:
    """Return what folders of images hold: ``[{split}/][{attribute}/]{class}/``.

    Args:
        root: That holds them.

    Raises:
        DataError: There are no class folders.
    """
    try:
        tops = _folders(root)
        splits = [folder for folder in tops if folder.name.lower() in SPLITS]
        uppers = [folder for split in splits for folder in _folders(split)] if splits else tops
        below = {folder.name: {inner.name for inner in _folders(folder)} for folder in uppers}
        same = set.intersection(*below.values()) if below else set()
        level = len(same) > 1
        images: dict[tuple[str, str], int] = {}
        for folder in uppers:
            for inner in _folders(folder) if level else [folder]:
                pair = (inner.name, folder.name if level else "")
                images[pair] = images.get(pair, 0) + sum(_are_images(inner))
    except OSError as error:
        raise DataError(f"{root} can't be read: {error.strerror} ({error.filename}); check its path.") from error
    classes = sorted({name for name, _ in images})
    if len(classes) < 2:
        raise DataError(
            f"{root} holds {'one class folder' if classes else 'no class folders'}; it needs a folder for each class, "
            "with its images, or a table of images: starft init images.csv."
        )
    if not any(images.values()):
        raise DataError(f"{root} holds no images in its class folders; put them there first.")
    attributes = sorted({attribute for _, attribute in images if attribute})
    smallest = min(images.values()) if attributes else 0
    return Own({}, tuple(classes), tuple(attributes), sum(images.values()), smallest, bool(splits))


def _folders(folder: Path) -> Sequence[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _are_images(folder: Path) -> Sequence[bool]:
    Image.init()
    return [path.suffix.lower() in Image.EXTENSION for path in folder.rglob("*")]
