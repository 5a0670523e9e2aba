"""The surest mistakes of a run, with their pictures and, where an audit made some, their heat maps."""

from contextlib import suppress
from typing import Any

from starft.errors import RunFolderError
from starft.reporting.pictures import kept_picture, thumbnail
from starft.runs.audit_result import audit_picture, read_slices
from starft.runs.layout import AUDIT, AUDIT_PICTURES, AUDIT_SLICES
from starft.runs.run_reader import Run
from starft.runs.samples import SampleTable, worst_mistakes

KINDS = ("tuned", "frozen")
"""Models that there are heat maps of, as their files are called."""


def shown_mistakes(run: Run) -> tuple[str, SampleTable, float] | None:
    """Return the set whose worst group fares worst, that group's surest mistakes, and its accuracy.

    Args:
        run: With its samples; None is returned of others.
    """
    best: tuple[str, SampleTable, float] | None = None
    for name, item in run.sets.items() if run.samples is not None else ():
        assert run.samples is not None
        rows = worst_mistakes(run.samples, name)
        accuracies = [group.acc for group in item.groups if group.acc is not None]
        if not len(rows) or not accuracies or (best is not None and len(item.groups) == 1):
            continue
        if best is None or len(item.groups) > 1:
            best = name, rows, min(accuracies)
    return best


def gallery_of(run: Run) -> list[dict[str, Any]]:
    """Return what a page shows of a run's mistakes, in one part or none.

    Args:
        run: Any.
    """
    shown = shown_mistakes(run)
    if shown is None:
        return []
    name, rows, accuracy = shown
    at, maps = [*run.sets].index(name), _maps_of(run, name)
    samples = []
    keys = ("index", "label_name", "prediction_name", "path", "confidence")
    for index, label, prediction, path, confidence in zip(*(rows[key].tolist() for key in keys), strict=True):
        samples.append(
            {
                "picture": thumbnail(run, at, index, path),
                "maps": maps.get((index, label, prediction), []),
                "label": label,
                "prediction": prediction,
                "confidence": confidence,
                "path": path or f"image {index} of “{name}”",
            }
        )
    group = str(rows["group_name"][0]) if len(run.sets[name].groups) > 1 else ""
    return [{"run": run.name, "set": name, "group": group, "samples": samples, "acc": accuracy}]


def _maps_of(run: Run, name: str) -> dict[tuple[int, str, str], list[str | None]]:
    """Return the heat maps of a test set's images that an audit of the run made, by position, class and prediction."""
    folder, found = run.folder / AUDIT, {}
    if (folder / AUDIT_SLICES).is_file():
        with suppress(RunFolderError, KeyError, TypeError, ValueError, AttributeError):  # damaged, as is told elsewhere
            for item in read_slices(folder)["maps"]:
                if item["set"] == f"test/{name}":
                    key = (int(item["index"]), str(item["label"]), str(item["prediction"]))
                    found[key] = [map_picture(folder, item["set"], key[0], kind) for kind in KINDS]
    return found


def map_picture(folder: Any, eval_set: Any, index: int, kind: str) -> str | None:
    """Return a heat map that an audit kept, as a data address.

    Args:
        folder: Of the audit.
        eval_set: Such as ``test/id``.
        index: Of the image.
        kind: One of `KINDS`, or ``plain`` for the image itself.
    """
    return kept_picture(audit_picture(folder, str(eval_set), str(index), kind), folder / AUDIT_PICTURES)
