"""Near duplicates across the sets of an audit; the result is kept beside the features, by what it was made of."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import torch

from starft.audit.features import FeatureSet
from starft.data.near_duplicates import MOST_PAIRS, Copy, copies
from starft.files.atomic import load_json, replace_file
from starft.runs.layout import AUDIT_COPIES


@dataclass(frozen=True)
class CopyPair:
    """A picture of one split that is a copy of a picture of another.

    Args:
        set: Of the first, such as ``test/id``.
        path: Of the first.
        of_set: Of the other, such as ``train``.
        of_path: Of the other.
        likeness: Correlation of their details.
    """

    set: str
    path: str
    of_set: str
    of_path: str
    likeness: float


class CopySearch(NamedTuple):
    """What a search for copies found.

    Args:
        copies: Near duplicates across splits.
        not_compared: Pairs of sets that are too large to look for copies.
    """

    copies: tuple[CopyPair, ...] = ()
    not_compared: tuple[tuple[str, str], ...] = ()


NOT_SEARCHED = CopySearch()


def copies_across(sets: Mapping[str, FeatureSet], device: torch.device | str, folder: Path) -> CopySearch:
    """Return the copies across sets: those that the folder tells of the same images, or else looked for now.

    Args:
        sets: Features by name.
        device: Where pictures are compared.
        folder: Where the result is kept.
    """
    known, now = _read(folder / AUDIT_COPIES), {}
    results: list[CopyPair] = []
    large: list[tuple[str, str]] = []
    for of_set, name in combinations(sets, 2):
        own, others = sets[name], sets[of_set]
        if len(own) * len(others) > MOST_PAIRS:
            large.append((name, of_set))
            continue
        key = f"{own.digest} {others.digest}"
        kept = known.get(key)
        if kept is None or not all(0 <= at < len(own) and 0 <= of < len(others) for at, of, _ in kept):
            kept = copies(own.small, others.small, device)
        now[key] = kept
        results += [
            CopyPair(name, own.paths[at], of_set, others.paths[of], round(likeness, 4)) for at, of, likeness in now[key]
        ]
    if any(known.get(key) != rows for key, rows in now.items()):
        replace_file(folder / AUDIT_COPIES, json.dumps(known | now).encode())
    return CopySearch(tuple(results), tuple(large))


def _read(path: Path) -> dict[str, list[Copy]]:
    """Return the copies that a file tells; none where it is missing or damaged."""
    with suppress(OSError, ValueError, TypeError, AttributeError):
        value = load_json(path.read_text(encoding="utf-8"))
        return {key: [Copy(int(at), int(of), float(like)) for at, of, like in rows] for key, rows in value.items()}
    return {}
