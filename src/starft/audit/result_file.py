"""``audit.json``: what ``starft audit data`` found, for reports and for ``starft audit model``."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starft.audit.data_audit import Attribute, DataAudit, in_words, shortcuts, strongest
from starft.audit.pictures import Examples
from starft.files.atomic import replace_file
from starft.runs.audit_result import SCHEMA_VERSION
from starft.runs.environment import git_commit, versions
from starft.runs.layout import AUDIT_RESULT

SCHEMA = Path(__file__).with_name("audit.schema.json")
"""The JSON Schema of the file."""


def write_audit(folder: Path, audit: DataAudit, examples: Examples, about: Mapping[str, Any]) -> Path:
    """Write audit.json, in the place of an earlier one, and return its path.

    Args:
        folder: Of the audit.
        audit: What was found.
        examples: Images of its shortcuts.
        about: ``config``, ``seed``, ``model``, ``pools`` and ``table``.
    """
    first, real = strongest(audit), shortcuts(audit)
    result = {
        "schema_version": SCHEMA_VERSION,
        **about,
        "git_commit": git_commit(),
        "versions": versions(),
        "train_images": audit.train_images,
        "ranked_images": audit.ranked_images,
        "label_bits": audit.label_bits,
        "verdict": in_words(audit),
        "strongest": None if first is None else first.ranked.template,
        "attributes": [
            _attribute(item)
            | {"shortcut": item in real, "examples": examples.get(item.ranked.template, {"with": [], "without": []})}
            for item in audit.attributes
        ],
        "sets": {name: len(inferred.values) for name, inferred in audit.inferred.items()},
        "copies": [asdict(pair) for pair in audit.copies],
        "not_compared": [list(pair) for pair in audit.not_compared],
    }
    path = folder / AUDIT_RESULT
    content = json.dumps(result, indent=1, ensure_ascii=False, allow_nan=False)
    replace_file(path, f"{content}\n".encode())
    return path


def _attribute(item: Attribute) -> dict[str, Any]:
    ranked = item.ranked
    return {
        "name": ranked.template,
        "phrases": list(item.phrases),
        "bits": ranked.bits,
        "chance": ranked.chance,
        "p_value": ranked.p_value,
        "p_any": ranked.p_any,
        "share": ranked.share,
        "classes": list(ranked.classes),
        "images": item.images,
        "support": item.support,
        "class_images": item.class_images,
    }
