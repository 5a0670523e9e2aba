"""What the folder of an audit holds already: of which model its features are, and whether its files are an audit's."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from starft.errors import RunFolderError
from starft.files.atomic import load_json
from starft.runs.layout import AUDIT_COPIES, AUDIT_RESULT, AUDIT_SLICES

FIRST = "train"
"""The set whose features are made first."""
OF_SETS = re.compile(r"(train|(val|test)-.+)\.(npy|json|attributes\.npz)")
SMALL = ".small.npy"
"""How the name of a set's small pictures ends; they are written before all else of it."""
NOTE = {"model", "weights", "images"}
"""What the note on a set's features says."""
PAIR = re.compile(r"[0-9a-f]{32} [0-9a-f]{32}")
"""Two sets, as the file of copies calls them."""


def read_note(note: Path) -> dict[str, Any]:
    """Return what a note says; nothing where there is none, or it isn't whole.

    Args:
        note: JSON.
    """
    with suppress(OSError, ValueError):
        value = load_json(note.read_text(encoding="utf-8"))
        return value if isinstance(value, dict) else {}
    return {}


def check_kept(model: str, folder: Path) -> None:
    """Refuse a folder that tells of features of another model, or whose files aren't an audit's, before this is built.

    Args:
        model: What messages call it.
        folder: Where features are kept.

    Raises:
        RunFolderError: It does, or something would be replaced that no audit wrote.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not _is_ours(path):
            raise RunFolderError(f"{path} exists already and isn't of an audit; give another --out, or move it away.")
    note = folder / f"{FIRST}.json"
    known = read_note(note).get("model", model)
    if known != model:
        raise stale(note, f"the model {known}, and this is {model}")


def stale(note: Path, whose: str) -> RunFolderError:
    """Return the error on features that aren't those of now.

    Args:
        note: On the features.
        whose: They are.
    """
    return RunFolderError(
        f"{note} tells of features of {whose}; give another --out, or remove {note.parent} to make them anew."
    )


def _is_ours(path: Path) -> bool:
    """Return whether a file is an audit's, or has a name that no audit replaces."""
    if path.name in (AUDIT_RESULT, AUDIT_SLICES):
        return "schema_version" in read_note(path)
    if path.name == AUDIT_COPIES:
        return all(map(PAIR.fullmatch, read_note(path) or [""]))
    named = OF_SETS.fullmatch(path.name)
    if named is None or path.name.endswith(SMALL):
        return True
    if named[3] == "json":
        return read_note(path).keys() >= NOTE
    return path.with_name(f"{named[1]}{SMALL}").is_file()
