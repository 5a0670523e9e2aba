"""``slices.json``: what ``starft audit model`` found, for reports."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starft.audit.model_audit import ModelAudit, NamedSlice, in_words
from starft.audit.relevance import Mistake
from starft.audit.shortcut_loss import ShortcutLoss
from starft.files.atomic import replace_file
from starft.runs.audit_result import SCHEMA_VERSION
from starft.runs.environment import git_commit, versions
from starft.runs.layout import AUDIT_SLICES

SCHEMA = Path(__file__).with_name("slices.schema.json")
"""The JSON Schema of the file."""


def write_slices(
    folder: Path,
    audit: ModelAudit,
    headline: str,
    loss: ShortcutLoss | None,
    maps: Sequence[Mistake],
    about: Mapping[str, Any],
) -> Path:
    """Write slices.json, in the place of an earlier one, and return its path.

    Args:
        folder: Of the audit.
        audit: What was found.
        headline: Of it and of the data.
        loss: What the model loses by the strongest shortcut.
        maps: Mistakes with heat maps.
        about: ``checkpoint``, ``second``, ``config``, ``seed``, ``pools`` and ``checked``.
    """
    result = {
        "schema_version": SCHEMA_VERSION,
        **about,
        "git_commit": git_commit(),
        "versions": versions(),
        "headline": headline,
        "shortcut": None if loss is None else asdict(loss),
        "verdict": in_words(audit),
        "images": audit.images,
        "held_out": audit.held_out,
        "error": audit.error,
        "error_interval": audit.error_interval,
        "looked_at": audit.looked_at,
        "slices": [_slice(item) for item in audit.slices],
        "maps": [asdict(item) for item in maps],
        "inferred_groups": {name: asdict(item) for name, item in audit.groups.items()},
    }
    path = folder / AUDIT_SLICES
    content = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False)
    replace_file(path, f"{content}\n".encode())
    return path


def _slice(item: NamedSlice) -> dict[str, Any]:
    measured, difference = item.measured, item.difference
    return {
        "words": item.words,
        "size": len(measured.members),
        "wrong": measured.wrong,
        "error": measured.error,
        "interval": measured.interval,
        "class_error": measured.expected,
        "p_value": measured.p_value,
        "q_value": measured.q_value,
        "second_error": item.other,
        "difference": None if difference is None else asdict(difference),
        **{
            name: [asdict(part) for part in getattr(item, name)]
            for name in ("attributes", "classes", "taken_for", "images")
        },
    }
