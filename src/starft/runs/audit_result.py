"""Reading what ``starft audit`` wrote, ``audit.json`` and ``slices.json``; needs no torch."""

from hashlib import blake2b
from pathlib import Path
from typing import Any

from starft.errors import RunFolderError
from starft.files.atomic import load_json
from starft.runs.layout import AUDIT_PICTURES, AUDIT_RESULT, AUDIT_SLICES

SCHEMA_VERSION = 1


def read_audit(folder: Path) -> dict[str, Any]:
    """Return what audit.json says.

    Args:
        folder: Of the audit.

    Raises:
        RunFolderError: There is none, or it is damaged or of another version.
    """
    return _read(folder / AUDIT_RESULT, "starft audit data")


def read_slices(folder: Path) -> dict[str, Any]:
    """Return what slices.json says.

    Args:
        folder: Of the audit.

    Raises:
        RunFolderError: There is none, or it is damaged or of another version.
    """
    return _read(folder / AUDIT_SLICES, "starft audit model")


def _read(path: Path, command: str) -> dict[str, Any]:
    try:
        value = load_json(path.read_text(encoding="utf-8"))
        if value["schema_version"] != SCHEMA_VERSION or not {str} >= {*map(type, [value["verdict"], *value["pools"]])}:
            raise ValueError
        return dict(value)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"{path} is missing, damaged or of another version; run `{command}` first.") from error


def has_audit(folder: Path) -> bool:
    """Return whether a folder holds what an audit found, of data or of a model.

    Args:
        folder: Any.
    """
    return any((folder / name).is_file() for name in (AUDIT_RESULT, AUDIT_SLICES))


def headline(folder: Path) -> str:
    """Return the sentence on the strongest shortcut: what a model loses by it, where one was audited.

    Of data and a model that were audited with different pools there are two.

    Args:
        folder: Of the audit.

    Raises:
        RunFolderError: Its files are missing, damaged or of another version.
    """
    data, model = ((folder / name).is_file() for name in (AUDIT_RESULT, AUDIT_SLICES))
    told = [read_audit(folder)] if data or not model else []
    told += [read_slices(folder)] if model else []
    found = {", ".join(item["pools"]): str(item.get("headline", item["verdict"])) for item in told}
    if len(found) == 1:
        return next(iter(found.values()))
    return " ".join(f"By the phrases of {pools}: {sentence}" for pools, sentence in found.items())


def audit_picture(folder: Path, eval_set: str, path: str, kind: str = "") -> Path:
    """Return where the small picture of an image is, if an audit kept it.

    Args:
        folder: Of the audit.
        eval_set: Of the image, such as ``test/id`` or ``train``.
        path: As its data set has it.
        kind: ``tuned`` or ``frozen`` for a heat map; empty for the picture itself.
    """
    digest = blake2b(f"{eval_set}\n{path}".encode(errors="surrogatepass"), digest_size=12).hexdigest()
    return folder / AUDIT_PICTURES / f"{digest}{kind and f'.{kind}'}.jpg"
