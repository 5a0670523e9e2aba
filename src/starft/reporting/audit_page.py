"""What ``starft audit`` found, as a page and as a part of the report: pictures first, numbers second."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from starft import __version__
from starft.errors import RunFolderError
from starft.files.atomic import is_taken
from starft.reporting.audit_tables import attributes_table, groups_table, slices_table
from starft.reporting.mistakes import KINDS, map_picture
from starft.reporting.pictures import kept_picture
from starft.reporting.templates import page_environment
from starft.runs.audit_result import audit_picture, has_audit, headline, read_audit, read_slices
from starft.runs.layout import AUDIT, AUDIT_PICTURES, AUDIT_RESULT, AUDIT_SLICES
from starft.runs.run_reader import Run, shortened

SLICES, SLICE_IMAGES = 15, 12
"""Slices that a page shows, and pictures of each."""
RANKED, COPIES = 30, 15
"""Attributes of the chart, and near duplicates, that a page shows."""
MARK = "<title>starft audit</title>"
_START_BYTES = 1000


@dataclass(frozen=True)
class Shot:
    """One image of a page.

    Args:
        picture: As a data address; None where none was kept.
        path: As its data set has it.
        label: Its class.
        prediction: What the model says; empty where none was asked.
        probability: The model's own, of that.
        attribute: Inferred; or what else to say of it.
    """

    picture: str | None
    path: str
    label: str = ""
    prediction: str = ""
    probability: float | None = None
    attribute: str = ""


@dataclass(frozen=True)
class SliceRow:
    """An error slice.

    Args:
        words: Classes, attributes, what it is taken for.
        size: Its images.
        error: Share that is wrong.
        interval: 95 %.
        expected: Error of its classes.
        other: Error of the second model, or None.
        difference: That less the first.
        ends: 95 % interval of the difference.
        images: The first of them.
    """

    words: str
    size: int
    error: float
    interval: tuple[float, float]
    expected: float
    other: float | None
    difference: float
    ends: tuple[float, float]
    images: Sequence[Shot]


@dataclass(frozen=True)
class AttributeRow:
    """An attribute of the training images.

    Args:
        name: Its own.
        bits: That it tells of the label.
        real: Whether they are more than chance gives.
        classes: It goes with.
        images: That show it.
        support: Those of its classes.
        class_images: Of its classes.
        with_it: Some that show it.
        without: Some of its classes that don't.
    """

    name: str
    bits: float
    real: bool
    classes: Sequence[str]
    images: int
    support: int
    class_images: int
    with_it: Sequence[Shot]
    without: Sequence[Shot]


@dataclass(frozen=True)
class CopyRow:
    """Two pictures that are near duplicates."""

    images: Sequence[Shot]


@dataclass(frozen=True)
class MapRow:
    """A mistake with its picture and heat maps; the shot's attribute is what the frozen model says."""

    shot: Shot
    pictures: Sequence[str | None]


@dataclass
class AuditContent:
    """What the folder of an audit tells.

    Args:
        place: The folder.
        headline: One sentence.
        about: Which config, model and pools.
        slices: The surest first.
        no_slice: What is said where there are none; empty without an audit of a model.
        maps: Mistakes with heat maps.
        ranking: Attributes, the strongest first.
        label_bits: Entropy of the labels.
        copies: Near duplicates.
        more_copies: How many aren't shown.
        tables: Titles and numbers.
    """

    place: str
    headline: str
    about: str = ""
    slices: list[SliceRow] = field(default_factory=list)
    no_slice: str = ""
    maps: list[MapRow] = field(default_factory=list)
    ranking: list[AttributeRow] = field(default_factory=list)
    label_bits: float = 0.0
    copies: list[CopyRow] = field(default_factory=list)
    more_copies: int = 0
    tables: list[tuple[str, Markup]] = field(default_factory=list)

    @property
    def shortcuts(self) -> list[AttributeRow]:
        """Attributes of which there are pictures."""
        return [row for row in self.ranking if row.with_it]

    @property
    def most_bits(self) -> float:
        """Of the longest bar."""
        return max([row.bits for row in self.ranking], default=0.0) or 1.0


def audit_page(folder: Path) -> str:
    """Return the page of an audit.

    Args:
        folder: Of the audit.

    Raises:
        RunFolderError: Its files are missing or damaged.
    """
    return page_environment().get_template("audit.html.j2").render(audit=audit_of(folder), version=__version__)


def is_audit_page(path: Path) -> bool:
    """Return whether a page of an audit may go there: nothing is there, or an earlier one.

    Args:
        path: Where a page is to be written.
    """
    if not is_taken(path):
        return True
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(_START_BYTES)
    return not start or (start.startswith(b"<!doctype html>") and MARK.encode() in start)


def audits_of(runs: Sequence[Run]) -> list[AuditContent]:
    """Return the audits that lie in run folders; one that is damaged says so.

    Args:
        runs: Of a report.
    """
    contents = []
    for folder in dict.fromkeys(run.folder / AUDIT for run in runs):
        if has_audit(folder):
            try:
                contents.append(audit_of(folder))
            except RunFolderError as error:
                contents.append(AuditContent(shortened(folder), str(error)))
    return contents


def audit_of(folder: Path) -> AuditContent:
    """Return what the folder of an audit tells.

    Args:
        folder: Of the audit.

    Raises:
        RunFolderError: Its files are missing or damaged.
    """
    try:
        content = AuditContent(shortened(folder), headline(folder))
        about = []
        if (folder / AUDIT_SLICES).is_file():
            about.append(_add_slices(content, folder, read_slices(folder)))
        if (folder / AUDIT_RESULT).is_file():
            about.append(_add_data(content, folder, read_audit(folder)))
        content.about = " ".join(about)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RunFolderError(f"What {folder} holds of an audit is damaged; run `starft audit` again.") from error
    return content


def check_beside(folder: Path, written: str) -> None:
    """Refuse what an earlier audit left in a folder if no page can show it, before another one works there.

    Args:
        folder: Of the audit.
        written: The file that it will write anew, whose content doesn't matter.

    Raises:
        RunFolderError: The other file is damaged or of another version.
    """
    for name, read, add in ((AUDIT_RESULT, read_audit, _add_data), (AUDIT_SLICES, read_slices, _add_slices)):
        if name != written and (folder / name).is_file():
            try:
                add(AuditContent("", ""), folder, read(folder))
            except (RunFolderError, KeyError, TypeError, ValueError, AttributeError) as error:
                raise RunFolderError(
                    f"{folder / name} is damaged or of another version, and the page would show it too; move it away, "
                    "or give another --out."
                ) from error


def _add_slices(content: AuditContent, folder: Path, told: Mapping[str, Any]) -> str:
    for item in told["slices"][:SLICES]:
        difference = item["difference"] or {"value": 0.0, "interval": (0.0, 0.0)}
        content.slices.append(
            SliceRow(
                words=str(item["words"]),
                size=int(item["size"]),
                error=float(item["error"]),
                interval=_ends(item["interval"]),
                expected=float(item["class_error"]),
                other=None if item["second_error"] is None else float(item["second_error"]),
                difference=float(difference["value"]),
                ends=_ends(difference["interval"]),
                images=[_shot(folder, image["set"], image) for image in item["images"][:SLICE_IMAGES]],
            )
        )
    for item in told["maps"]:
        shot = _shot(folder, item["set"], {**item, "attribute": item["frozen"]})
        pictures = [map_picture(folder, item["set"], int(item["index"]), kind) for kind in ("plain", *KINDS)]
        content.maps.append(MapRow(shot, pictures))
    content.no_slice = "" if content.slices else str(told["verdict"])
    if told["slices"]:
        content.tables.append(("error slices", slices_table(told).html()))
    if told["inferred_groups"]:
        content.tables.append(("accuracy of inferred groups", groups_table(told).html()))
    second = f", beside {told['second']}" if told["second"] else ""
    return f"Of the model {told['checkpoint']}{second}, on {int(told['images']):,} validation and test images."


def _add_data(content: AuditContent, folder: Path, told: Mapping[str, Any]) -> str:
    content.label_bits = float(told["label_bits"])
    for item in told["attributes"][:RANKED]:
        shown = item["examples"]
        content.ranking.append(
            AttributeRow(
                name=str(item["name"]),
                bits=max(0.0, float(item["bits"])),
                real=bool(item["shortcut"]),
                classes=[str(name) for name in item["classes"]],
                images=int(item["images"]),
                support=int(item["support"]),
                class_images=int(item["class_images"]),
                with_it=[_shot(folder, "train", image) for image in shown["with"]],
                without=[_shot(folder, "train", image) for image in shown["without"]],
            )
        )
    for pair in told["copies"][:COPIES]:
        ends = ((pair["set"], pair["path"]), (pair["of_set"], pair["of_path"]))
        shots = [Shot(_picture(folder, name, path), str(path), attribute=str(name)) for name, path in ends]
        content.copies.append(CopyRow(shots))
    content.more_copies = max(0, len(told["copies"]) - COPIES)
    content.tables.append(("attributes", attributes_table(told).html()))
    named = ", ".join(map(str, told["pools"]))
    return f"Of the data of {told['config']}: {int(told['train_images']):,} training images, phrases of {named}."


def _ends(value: Any) -> tuple[float, float]:
    low, high = value
    return float(low), float(high)


def _shot(folder: Path, eval_set: Any, told: Mapping[str, Any]) -> Shot:
    said = {key: str(told.get(key, "")) for key in ("path", "label", "prediction", "attribute")}
    probability = told.get("probability")
    picture = _picture(folder, eval_set, said["path"])
    return Shot(picture, **said, probability=None if probability is None else float(probability))


def _picture(folder: Path, eval_set: Any, path: Any) -> str | None:
    return kept_picture(audit_picture(folder, str(eval_set), str(path)), folder / AUDIT_PICTURES)
