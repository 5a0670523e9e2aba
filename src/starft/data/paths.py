"""The files of a table: which are missing, which leave the root, which are there twice or in two splits."""

import os
import posixpath
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from starft.data.problem_texts import Problem, name_problem, some, told_of
from starft.data.source import ImageTable
from starft.files.addresses import address_of, shown
from starft.files.remote import missing_of
from starft.wording import shortened


def path_problems(table: ImageTable, captioned: bool = False) -> list[Problem]:
    """Return what is wrong with the paths of a table: missing files, those outside of its root, duplicates.

    Args:
        table: Paths below a root.
        captioned: Whether an image may be there several times, each time with another caption.
    """
    names = name_problem([str(table.root), *table.paths])
    if names:
        return [Problem(names)]
    missing, outside = _look_up(table)
    problems: list[Problem] = []
    root = shown(table.root) if table.root != Path() else str(Path.cwd())
    spelt = _spelt_otherwise(Path(table.root), missing)
    if missing and len(missing) == len(table):
        problems.append(
            Problem(
                f"none of the {len(table)} images is below {root}, such as {some(missing[:1])}{spelt}",
                advice="rename them" if spelt else "give another root",
            )
        )
    elif missing:
        problems.append(
            Problem(
                f"{len(missing)} of {told_of(len(table), 'image', 'images')} {'is' if len(missing) == 1 else 'are'} "
                f"missing below {root} ({some(missing)}){spelt}",
                advice="rename them, or take their rows out" if spelt else "bring them back, or take their rows out",
            )
        )
    addresses = [path for path in outside if address_of(path) is not None]
    absolute = [path for path in outside if path.startswith("/")]
    up = [path for path in outside if path not in {*addresses, *absolute}]
    for paths, item, more, option in (
        ([*map(shown, addresses)], "address lies outside of", "addresses lie outside of", ""),
        (absolute, "absolute path lies outside of", "absolute paths lie outside of", ", as data.init_args.root"),
        (up, "path leaves", "paths leave", ""),
    ):
        if paths:
            how = f"{root}, by .. or a symbolic link" if paths is up else root
            problems.append(
                Problem(
                    f"{told_of(len(paths), item, more)} {how}: {some(paths)}; give a root that holds all images{option}"
                )
            )
    rows = [*zip(table.paths, table.captions or (), strict=True)] if captioned else [(path,) for path in table.paths]
    if len(set(rows)) < len(table):
        twice = [row[0] for row, count in Counter(rows).items() if count > 1]
        are = told_of(len(twice), "image is", "images are")
        problems.append(
            Problem(
                f"{are} listed more than once{' with one caption' * captioned}: {some(twice)}; keep one row of each"
            )
        )
    return problems


def _look_up(table: ImageTable) -> tuple[list[str], list[str]]:
    """Return the paths that are missing and those that lead out of the root; one look at each folder, or server."""
    outside = [path for path in table.files if ":/" in path and address_of(path) is not None]
    paths = [path for path in table.files if path not in {*outside}] if outside else table.files
    if (remote := address_of(table.root)) is not None:
        outside += [path for path in paths if path.startswith(("/", "../"))]
        of = {f"{remote}/{path}": path for path in paths if not path.startswith(("/", "../"))}
        return [of[address] for address in missing_of([*of])], outside
    root = os.path.realpath(table.root)
    by_folder: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        folder, _, name = path.rpartition("/")
        by_folder[folder].append(name)
    missing = []
    for folder, names in by_folder.items():
        whole = [posixpath.join(folder, name) for name in names] if folder else names
        where = os.path.realpath(os.path.join(root, folder))  # noqa: PTH118  # many of them
        if not _within(where, root):
            outside += whole
            continue
        files, links = _entries(where)
        for name, path in zip(names, whole, strict=True):
            if name in links:
                target = os.path.realpath(os.path.join(where, name))  # noqa: PTH118
                if not _within(target, root):
                    outside.append(path)
                elif not Path(target).is_file():
                    missing.append(path)
            elif name not in files:
                missing.append(path)
    return missing, outside


def _spelt_otherwise(root: Path, missing: Sequence[str]) -> str:
    """Return what to say of missing files that are there with another spelling of the same letters."""
    folders: dict[Path, dict[str, str]] = {}
    results = {path: _same_letters(root, path, folders) for path in missing}
    there = {path: name for path, name in results.items() if name is not None}
    if not there:
        return ""
    path, name = next(iter(there.items()))
    nfc, nfd = (unicodedata.is_normalized(form, name) for form in ("NFC", "NFD"))
    if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", path):
        form = "decomposed Unicode (NFD)" if nfd and not nfc else "composed Unicode (NFC)" if nfc else "mixed Unicode"
        how = f"in {form}, unlike here"
    else:
        how = f"as {shortened(name)}"
    return f", of which {len(there):,} {'is' if len(there) == 1 else 'are'} there, spelt {how}"


def _same_letters(root: Path, path: str, folders: dict[Path, dict[str, str]]) -> str | None:
    """Return the path of a file that differs in Unicode form or case alone, or None."""
    at = root
    for part in path.split("/"):
        if at not in folders:
            names = os.listdir(at) if at.is_dir() else []  # noqa: PTH208  # names alone
            folders[at] = {_letters(name): name for name in names}
        name = part if (at / part).exists() else folders[at].get(_letters(part))
        if name is None:
            return None
        at /= name
    spelt = at.relative_to(root).as_posix()
    return spelt if spelt != path and at.is_file() else None


def _letters(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _entries(folder: str) -> tuple[set[str], set[str]]:
    files, links = set(), set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_symlink():
                    links.add(entry.name)
                elif entry.is_file():
                    files.add(entry.name)
    except OSError:
        pass  # a folder that isn't there has nothing in it
    return files, links


def _within(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def shared_paths(train: ImageTable, other: ImageTable, where: str = "train") -> list[Problem]:
    """Return whether two splits share image files.

    Args:
        train: What is trained on, or chosen by.
        other: What is evaluated on.
        where: What messages call the first.
    """
    if Path(train.root).resolve() == Path(other.root).resolve():
        both = sorted(set(train.paths) & set(other.paths))
    else:
        mine = {os.path.realpath(f"{train.root}/{path}") for path in train.paths} if _nested(train, other) else set()
        both = sorted(path for path in other.paths if os.path.realpath(f"{other.root}/{path}") in mine) if mine else []
    if not both:
        return []
    are = told_of(len(both), "image of it is", "images of it are")
    return [Problem(f"{are} in {where} too: {some(both)}; keep each in one split")]


def _nested(one: ImageTable, other: ImageTable) -> bool:
    """Whether one root lies in the other, so that they can share files at all."""
    a, b = os.path.realpath(one.root), os.path.realpath(other.root)
    return _within(a, b) or _within(b, a)
