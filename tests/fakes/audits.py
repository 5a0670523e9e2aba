"""Folders as ``starft audit`` leaves them, with findings that are written down."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from starft.runs.audit_result import audit_picture

SENTENCE = "Strongest shortcut: 'in a meadow', 8 images support it"


def write_audit(folder: Path, name: str = "robin", attribute: str = "in a meadow", path: str = "a/1.jpg") -> Path:
    """Write audit.json with one shortcut, its pictures, and a copy."""
    folder.mkdir(parents=True, exist_ok=True)
    common = {"phrases": [attribute], "chance": 0.004, "p_value": 0.005, "share": 0.5, "classes": [name]}
    counts = {"images": 10, "support": 8, "class_images": 9}
    images = [{"path": path, "label": name, "attribute": attribute}]
    other = [{"path": f"{path}2", "label": name, "attribute": "in a city"}]
    examples = {"with": images, "without": other}
    first = {"name": attribute, "bits": 0.5, "p_any": 0.005, **common, **counts, "shortcut": True, "examples": examples}
    grey = first | {"name": "in a city", "bits": -0.1, "p_any": 1.0, "shortcut": False}
    grey |= {"examples": {"with": [], "without": []}}
    pair = {"set": "test/id", "path": f"{path}3", "of_set": "train", "of_path": path, "likeness": 0.98}
    told = {
        "schema_version": 1,
        "config": "config.yaml",
        "seed": 0,
        "model": {"name": "starft-mini", "pretrained": "mini", "weights": "0"},
        "pools": ["mini_scenes"],
        "table": None,
        "git_commit": None,
        "versions": {},
        "train_images": 60,
        "ranked_images": 60,
        "label_bits": 1.0,
        "verdict": SENTENCE,
        "strongest": attribute,
        "attributes": [first, grey],
        "sets": {"train": 60},
        "copies": [pair],
        "not_compared": [],
    }
    (folder / "audit.json").write_text(json.dumps(told), encoding="utf-8")
    for eval_set, image in (("train", path), ("train", f"{path}2"), ("test/id", f"{path}3")):
        write_picture(folder, eval_set, image)
    return folder


def write_slices(
    folder: Path, names: tuple[str, str] = ("robin", "owl"), path: str = "b/1.jpg", second: bool = True
) -> Path:
    """Write slices.json with one slice of two images, the second without a picture."""
    folder.mkdir(parents=True, exist_ok=True)
    label, said = names
    difference = {"value": -0.25, "interval": [-0.5, -0.1]} if second else None
    images: Sequence[dict[str, Any]] = [
        {"set": "test/ood", "path": path, "label": label, "prediction": said, "probability": 0.97},
        {"set": "test/ood", "path": f"{path}2", "label": label, "prediction": label, "probability": 0.6},
    ]
    found = {
        "words": f"{label} in a forest, taken for {said}",
        "size": 20,
        "wrong": 15,
        "error": 0.75,
        "interval": [0.53, 0.89],
        "class_error": 0.3,
        "p_value": 0.001,
        "q_value": 0.01,
        "second_error": 0.5 if second else None,
        "difference": difference,
        "attributes": [],
        "classes": [],
        "taken_for": [],
        "images": images,
    }
    told = {
        "schema_version": 1,
        "checkpoint": "ce.ckpt",
        "second": "starft.ckpt" if second else None,
        "config": "config.yaml",
        "seed": 0,
        "pools": ["mini_scenes"],
        "checked": None,
        "git_commit": None,
        "versions": {},
        "headline": f"{SENTENCE}; where it is missing the model loses accuracy",
        "shortcut": None,
        "verdict": "1 error slice",
        "images": 100,
        "held_out": 50,
        "error": 0.3,
        "error_interval": [0.2, 0.4],
        "looked_at": 3,
        "slices": [found],
        "maps": [{"index": 3, "frozen": label, **images[0]}],
        "inferred_groups": {},
    }
    (folder / "slices.json").write_text(json.dumps(told), encoding="utf-8")
    write_picture(folder, "test/ood", path)
    for kind in ("plain", "tuned", "frozen"):
        write_picture(folder, "test/ood", "3", kind)
    return folder


def write_picture(folder: Path, eval_set: str, path: str, kind: str = "") -> None:
    """Write the picture that an audit keeps of an image."""
    file = audit_picture(folder, eval_set, path, kind)
    file.parent.mkdir(exist_ok=True)
    Image.new("RGB", (64, 64), (10, 100, 200)).save(file)
