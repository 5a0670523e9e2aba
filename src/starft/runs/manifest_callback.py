"""What a run stands on: data, pool, config, pre-trained weights and versions, written down before its first step.

``manifest.json`` holds digests, ``manifest.npz`` what is needed to name what changed among the images. Both are checked
where a run goes on, and where its checkpoints are scored.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only

from starft.captions.pool_files import pool_text
from starft.captions.pools import Pool
from starft.data.datamodules import BaseDataModule
from starft.data.facts import Changes, TableFacts, changes, facts_of, load_facts, others, save_facts
from starft.errors import RunFolderError
from starft.files.atomic import replace_file
from starft.files.digests import content_digest, file_digest
from starft.runs.environment import versions
from starft.runs.layout import CONFIG, MANIFEST, POOL, ROWS, run_folder
from starft.runs.manifest import file_problem, folder_problems, list_digest, read_manifest, write_manifest
from starft.safe_text import say

SHOWN = 4
"""Changes that a sentence names."""


def basis_of(model: L.LightningModule, data: BaseDataModule, stage: str) -> dict[str, Any]:
    """Return what a run stands on beside its images and files, as plain values.

    Args:
        model: As it was built.
        data: After its setup.
        stage: ``fit``, ``validate``, ``test`` or ``predict``.
    """
    pool: Pool | None = getattr(model, "pool", None)
    return {
        "versions": versions(),
        "weights": getattr(model, "twin_fingerprint", None),
        "pretrained": getattr(model, "pretrained", None),
        "pool": None if pool is None else _pool_facts(pool),
        "class_names": list(data.class_names),
        "drawn_by": data.drawn_by,
        "captions": _captions(data, stage),
    }


def _captions(data: BaseDataModule, stage: str) -> dict[str, dict[str, str]]:
    """Return digests of what each set is asked for by: names and templates, which may come from files, and captions."""
    validates = stage in ("fit", "validate")
    sets = {f"val/{val_set.name}": val_set for val_set in data.val_sets} if validates else {}
    if stage == "test" or any(name.startswith("test/") for name in data.tables(stage)):
        sets |= {f"test/{test_set.name}": test_set for test_set in data.test_sets}
    digests = {
        name: {
            "class names": _texts_digest(item.class_names),
            "templates": _texts_digest(item.templates),
            "group names": _texts_digest(item.group_names),
        }
        for name, item in sets.items()
    }
    own = {"train": data.train_captions if stage == "fit" else None}
    own |= {name: item.captions for name, item in sets.items()}
    for name, captions in own.items():
        if captions:
            digests.setdefault(name, {})["captions"] = _texts_digest(captions)
    return digests


def _texts_digest(texts: Sequence[str]) -> str:
    return content_digest(json.dumps([*texts]).encode())


def _pool_facts(pool: Pool) -> dict[str, Any]:
    return {"name": pool.name, "sha256": content_digest(pool_text(pool).encode()), "templates": len(pool.templates)}


def basis_changes(before: Mapping[str, Any], now: Mapping[str, Any], fits: bool) -> Changes:
    """Return what changed in what a run stands on beside its images and files.

    Args:
        before: What `basis_of` returned for the run.
        now: What it returns now.
        fits: Whether training goes on; else what only training reads is left out.
    """
    other, notes = [], []
    if before.get("weights") and before["weights"] != now["weights"]:
        names = [item.get("pretrained") for item in (before, now)]
        told = f" ({names[0]}, and now {names[1]})" if names[0] != names[1] and "pretrained" in before else ""
        other.append(f"the pre-trained weights are others than those it began with{told}")
    old, new = before.get("pool"), now["pool"]
    if old and new and old["sha256"] != new["sha256"]:
        same = old["name"] == new["name"]
        counts = f"{old['templates']} templates then, {new['templates']} now"
        other.append(f"pool {old['name']} {'was edited' if same else 'is now ' + new['name']} ({counts})")
    for key in sorted(now["drawn_by"].keys() & before.get("drawn_by", {}).keys()) if fits else ():
        if now["drawn_by"][key] != before["drawn_by"][key]:
            other.append(f"the images are drawn by {key} {now['drawn_by'][key]}, not {before['drawn_by'][key]}")
    for name, captions in now.get("captions", {}).items():
        before_captions = before.get("captions", {}).get(name, {})
        different = [what for what, digest in captions.items() if before_captions.get(what, digest) != digest]
        if different:
            other.append(f"{' and '.join(different)} of {name} are others")
    for name, value in now["versions"].items() if fits else ():
        if (then := before.get("versions", {}).get(name)) not in (None, value):
            notes.append(f"{name} was {then} and is {value}")
    return Changes(tuple(other), tuple(notes))


class Manifest(Callback):
    """Checks what a run stands on when the data are known, and writes it down before the first step of a training.

    Args:
        folder: The run folder.
        checkpoint: That training goes on from, or that is scored; None for the pre-trained model.
    """

    def __init__(self, folder: Path, checkpoint: str | Path | None) -> None:
        self.folder, self.checkpoint = folder, Path(checkpoint) if checkpoint is not None else None
        self._done = False
        self._sets: dict[str, TableFacts] = {}
        self._basis: dict[str, Any] = {}

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Look at data and model, and compare them with what the checkpoint's run stood on.

        Raises:
            RunFolderError: Training would go on with something else.
        """
        data = trainer.datamodule  # type: ignore[attr-defined]
        stage = str(getattr(stage, "value", stage))
        if self._done:  # the same model and data are scored with other weights
            return
        self._done = True
        before = self._before(trainer) if self.checkpoint is not None else {}
        if not isinstance(data, BaseDataModule) or (stage != "fit" and not before.get("versions")):
            return
        self._sets = {name: facts_of(table) for name, table in data.tables(stage).items()}
        self._basis = basis_of(pl_module, data, stage)
        if before.get("versions"):
            self._compare(trainer, before, stage == "fit")

    def _before(self, trainer: L.Trainer) -> dict[str, Any]:
        """Return what the manifest of the checkpoint's run holds; tell where there is none."""
        assert self.checkpoint is not None
        manifest = read_manifest(run_folder(self.checkpoint))
        if not manifest.get("versions") and trainer.is_global_zero:
            say(
                f"Note: {self.checkpoint} has no {MANIFEST} of its run, as it was written by an earlier starft or lies "
                "elsewhere; nobody can tell whether data, pool or config changed since.",
                file=sys.stderr,
            )
        return manifest

    def _compare(self, trainer: L.Trainer, before: Mapping[str, Any], fits: bool) -> None:
        assert self.checkpoint is not None
        folder = run_folder(self.checkpoint)
        results = [basis_changes(before, self._basis, fits), self._set_changes(folder, before, fits)]
        other = [entry for part in results for entry in part.other]
        notes = [note for part in results for note in part.notes]
        if fits and other:
            raise RunFolderError(
                f"The run in {folder} would go on with something else than it began with: {_some(other)}. Bring that "
                "back as it was, or start a new run in another folder, without --ckpt_path."
            )
        for item, what in ((other, "Since the run began"), (notes, "Since the run began, perhaps of no matter")):
            if item and trainer.is_global_zero:
                say(f"Note: {what}: {_some(item)}.", file=sys.stderr)

    def _set_changes(self, folder: Path, before: Mapping[str, Any], fits: bool) -> Changes:
        digests = before.get("sets", {})
        if all(facts.digest() == digests.get(name) for name, facts in self._sets.items() if name in digests):
            return Changes((), ())
        if (problem := file_problem(folder / ROWS)) or not (sets := load_facts(folder / ROWS)):
            names = ", ".join(name for name in self._sets if name in digests)
            why = problem or f"{folder / ROWS} can't be read"
            return Changes((f"images, labels or rows of {names} changed ({why}, so nobody can tell which)",), ())
        elsewhere = () if fits else others(sets, self._sets)
        return changes(sets, {name: facts for name, facts in self._sets.items() if name not in elsewhere})

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write it down; what is known of the run's files so far stays."""
        if trainer.is_global_zero and self._basis:
            write_basis(self.folder, self._basis, self._sets)


def write_basis(folder: Path, basis: Mapping[str, Any], sets: Mapping[str, TableFacts]) -> None:
    """Write manifest and rows of a run, and the digests of its config and pool.

    Args:
        folder: The run folder.
        basis: As `basis_of` returns it.
        sets: What is known of the images, by set.
    """
    buffer = BytesIO()
    save_facts(buffer, sets)
    content = buffer.getvalue()
    if read_manifest(folder):
        list_digest(folder, folder / ROWS, content_digest(content))
    replace_file(folder / ROWS, content)
    before = read_manifest(folder)
    created = before.get("created") or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    digests = {name: facts.digest() for name, facts in sets.items()}
    files = before.get("files", {})
    known = {"files": files, "states": before.get("states", {})}
    write_manifest(folder, {"created": created, **basis, "sets": digests, **known})
    for path in (folder / ROWS, *sorted(folder.glob("config*.yaml")), *sorted(folder.glob("pool*.json"))):
        if path.name == ROWS or path.name not in files:
            list_digest(folder, path, file_digest(path))


def check_run_files(checkpoint: Path, fits: bool) -> None:
    """Look whether config and pool in the folder of a checkpoint's run are as the run wrote them.

    Args:
        checkpoint: That training goes on from, or that is scored.
        fits: Whether training goes on.

    Raises:
        RunFolderError: They aren't, and nobody could tell what the run would go on with.
    """
    folder = run_folder(checkpoint)
    problems = folder_problems(folder, (CONFIG, POOL))
    if problems and fits:
        raise RunFolderError(
            f"{_some(problems)}; what the run had can't be compared with what it would go on with. Bring the file back "
            "as it was, or start a new run in another folder, without --ckpt_path."
        )
    if problems and getattr(rank_zero_only, "rank", 0) == 0:
        say(f"Note: {_some(problems)}.", file=sys.stderr)


def _some(parts: list[str]) -> str:
    more = f"; and {len(parts) - SHOWN} more" if len(parts) > SHOWN else ""
    return "; ".join(parts[:SHOWN]) + more
