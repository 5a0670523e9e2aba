"""What run folders hold, read without torch; what is missing or damaged in one is told, and never stops a report."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from typing import Any

from starft.errors import ConfigError
from starft.files.atomic import load_json, not_text
from starft.files.yaml_reader import read_yaml
from starft.runs.layout import CONFIG, LOGS, METRICS, POOL, RESULTS, SAMPLES_NPZ, SAMPLES_PARQUET, SWEEP, UNFINISHED
from starft.runs.local_copy import not_here
from starft.runs.manifest import folder_problems
from starft.runs.results import Scores, read_results
from starft.runs.samples import SampleTable, read_samples

POINTS = 200
"""Points of a curve; longer ones are thinned."""

_SEED = re.compile(r"seed[-_]?\d+")
_PART = re.compile(rf"{_SEED.pattern}|short|full")
Curve = tuple[list[float], list[float]]
"""Steps and values."""


@dataclass
class Run:
    """One run folder.

    Args:
        folder: Where it is.
        name: What the report calls it.
        sets: Eval sets by name; empty where there are no results.
        ood_acc: Mean accuracy over the OOD sets.
        facts: What results.json says beside: versions, hardware, seed, git_commit, seconds.
        config: The resolved config.
        pool: What pool.json holds.
        curves: Logged metric -> curve.
        sweep: What a WiSE-FT sweep wrote: alphas, and the two metrics across and up.
        samples: Per-sample predictions, where written.
        problems: What is missing or damaged, each a sentence without its period.
        note: What is odd of its results.json though it can be read.
        unfinished: How far its training came, as in "stopped after step 5 of 9"; empty where it ended.
    """

    folder: Path
    name: str
    sets: dict[str, Scores] = field(default_factory=dict)
    ood_acc: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    pool: dict[str, Any] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)
    sweep: "Sweep | None" = None
    samples: SampleTable | None = None
    problems: list[str] = field(default_factory=list)
    note: str | None = None
    unfinished: str = ""

    @property
    def state(self) -> str:
        """What a table says of the folder."""
        messages = [*self.problems, *([f"training {self.unfinished}"] if self.unfinished else [])]
        return "; ".join([*(messages or ["whole"]), *([self.note] if self.note else [])])

    @property
    def method(self) -> str:
        """The name less a last folder that only names the seed."""
        parts = self.name.split("/")
        return "/".join(parts[:-1]) if len(parts) > 1 and _SEED.fullmatch(parts[-1]) else self.name


@dataclass(frozen=True)
class Sweep:
    """A line through weight space.

    Args:
        axes: Metrics across and up.
        alphas: Places on the line.
        across: Values in [0, 1].
        up: Values in [0, 1].
    """

    axes: tuple[str, str]
    alphas: tuple[float, ...]
    across: tuple[float, ...]
    up: tuple[float, ...]


def find_runs(paths: Sequence[Path]) -> list[Run]:
    """Read every run in or below some folders.

    Args:
        paths: Run folders, or folders that hold runs.

    Raises:
        ConfigError: A folder doesn't exist, or none holds a run.
    """
    folders: dict[Path, None] = {}
    for path in paths:
        if path.is_file():
            runs = (above for above in path.parents if (above / CONFIG).is_file() or (above / RESULTS).is_file())
            near = next((f", {run}" for run in runs), "")
            raise ConfigError(f"{path} is a file; give the folder of its run{near}.")
        if not path.is_dir():
            raise ConfigError(
                not_here(path)
                or f"The run folder {path} doesn't exist; give a run folder, or a folder that holds runs."
            )
        values = {item.parent for name in (RESULTS, CONFIG, LOGS) for item in path.rglob(name)}
        above = {parent for item in values for parent in item.parents}
        # OUT of a comparison may hold a results.json of its own kind; a run that holds others has a config
        folders |= dict.fromkeys(
            sorted((item for item in values if item not in above or (item / CONFIG).is_file()), key=_natural)
        )
    if not folders:
        message = ", ".join(map(str, paths))
        raise ConfigError(f"No run was found in {message}; give a folder with a results.json or a config.yaml.")
    resolved = [folder.resolve() for folder in folders]
    roots = [path.resolve() for path in paths]
    root = roots[0] if len(roots) == 1 and resolved != roots else _above(resolved)
    if any(_PART.fullmatch(item.relative_to(root).as_posix()) for item in resolved):
        root = root.parent  # the runs of one method or trial: its name tells more than their seeds or lengths
    names = [item.relative_to(root).as_posix() for item in resolved]
    for wrong in not_text(names):
        raise ConfigError(f"The run folder {wrong} has a name that isn't UTF-8; rename it.")
    return [_read(item, name) for item, name in zip(folders, names, strict=True)]


def shortened(path: Path) -> str:
    """Return a path as it is called from the folder that a command is run in, if it lies below.

    Args:
        path: Any.
    """
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) and path != here else str(path)


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort seed-2 before seed-10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def _above(folders: Sequence[Path]) -> Path:
    """Return the nearest folder that all lie below."""
    first = folders[0]
    return next(parent for parent in first.parents if all(parent in folder.parents for folder in folders))


def _read(folder: Path, name: str) -> Run:
    run = Run(folder, name)
    for what, read in (
        (RESULTS, _read_results),
        (CONFIG, _read_config),
        (POOL, _read_pool),
        (LOGS, _read_curves),
        (UNFINISHED, _read_unfinished),
        (SWEEP, _read_sweep),
        ("samples", _read_samples),
    ):
        try:
            if what != RESULTS:  # its reader looks itself
                run.problems += _file_problems(folder, what)
            read(run)
        except Exception as error:  # of a damaged file the libraries raise whatever they stumble over
            why = error.strerror if isinstance(error, OSError) else type(error).__name__
            run.problems.append(f"{what} is damaged ({why})")
    return run


def _file_problems(folder: Path, what: str) -> list[str]:
    names = {CONFIG: (CONFIG,), POOL: (POOL,), "samples": (SAMPLES_NPZ, SAMPLES_PARQUET)}.get(what, ())
    return folder_problems(folder, [name for name in names if (folder / name).is_file()])


def _read_results(run: Run) -> None:
    path = run.folder / RESULTS
    if not path.is_file():
        run.problems.append("not tested: there is no results.json")
        return
    try:
        value = read_results(path)
    except ValueError as error:
        run.problems.append(str(error))
        return
    run.sets, run.ood_acc, run.facts, run.config = value.sets, value.ood_acc, value.facts, value.config
    run.note = value.note


def _read_config(run: Run) -> None:
    path = run.folder / CONFIG
    if path.is_file() and not run.config:
        run.config = dict(read_yaml(path))


def _read_pool(run: Run) -> None:
    path = run.folder / POOL
    if path.is_file():
        value = load_json(path.read_text(encoding="utf-8"))
        run.pool = {
            "name": str(value["name"]),
            "templates": [str(item) for item in value["templates"]],
            "per_class": {str(name): [str(item) for item in more] for name, more in value.get("per_class", {}).items()},
            "source": str(value.get("provenance", {}).get("source")),
            "bits": {
                str(item): float(bits)
                for item, bits in (value.get("provenance", {}).get("ranked") or {}).get("bits", {}).items()
            },
        }


def _read_curves(run: Run) -> None:
    paths = [path for path in (run.folder / LOGS).glob(f"*/{METRICS}") if path.is_file()]
    curves: dict[str, Curve] = {}
    for path in sorted(paths, key=_version):
        with path.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file, strict=True)
            named = [name for name in rows.fieldnames or () if name.startswith(("train/", "val/"))]
            drawn = [name for name in named if not name.endswith("_weight")]
            for row in rows:
                for name in drawn:
                    steps, values = curves.setdefault(name, ([], []))
                    step, value = (float(row[key] or "nan") for key in ("step", name))
                    if not isnan(step) and not isnan(value):
                        steps.append(step)
                        values.append(value)
    for name, (steps, values) in curves.items():
        every = max(1, -(-len(steps) // POINTS))
        if steps:
            run.curves[name] = (steps[::every], values[::every])


def _version(path: Path) -> tuple[int, str]:
    number = re.search(r"\d+$", path.parent.name)
    return (int(number.group()) if number else 0, path.parent.name)


def _read_unfinished(run: Run) -> None:
    path = run.folder / UNFINISHED
    if path.is_file():
        value = load_json(path.read_text(encoding="utf-8"))
        of = f" of {int(value['steps'])}" if value["steps"] is not None else ""
        run.unfinished = f"stopped after step {int(value['step'])}{of}" if value["step"] is not None else "not ended"


def _read_sweep(run: Run) -> None:
    for path in sorted(run.folder.glob(f"interpolation*/{SWEEP}")):
        value = load_json(path.read_text(encoding="utf-8"))
        if value["axes"] is None:
            continue
        across, up = (str(axis) for axis in value["axes"])
        rows = sorted(value["rows"], key=lambda row: float(row["alpha"]))
        run.sweep = Sweep(
            (across, up),
            tuple(float(row["alpha"]) for row in rows),
            tuple(float(row["metrics"][across]) for row in rows),
            tuple(float(row["metrics"][up]) for row in rows),
        )


def _read_samples(run: Run) -> None:
    if _file_problems(run.folder, "samples"):
        return
    run.samples = read_samples(run.folder)
