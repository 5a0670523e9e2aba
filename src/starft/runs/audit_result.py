"""Reading ``audit.json``, which `starft.audit.result_file` writes; needs no torch."""

from pathlib import Path
from typing import Any

from starft.errors import RunFolderError
from starft.files.atomic import load_json
from starft.runs.layout import AUDIT_RESULT

SCHEMA_VERSION = 1


def read_audit(folder: Path) -> dict[str, Any]:
    """Return what audit.json says.

    Args:
        folder: Of the audit.

    Raises:
        RunFolderError: There is none, or it is damaged or of another version.
    """
    path = folder / AUDIT_RESULT
    try:
        value = load_json(path.read_text(encoding="utf-8"))
        if value["schema_version"] != SCHEMA_VERSION:
            raise ValueError
        return dict(value)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(
            f"{path} is missing, damaged or of another version; run `starft audit data` first."
        ) from error
