"""``starft report``: what some runs found, as one HTML page, a table or a picture."""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from starft.cli.launch import load_module
from starft.config.command import run_command
from starft.errors import ConfigError
from starft.files.atomic import replace_file
from starft.reporting.differences import table_of
from starft.reporting.methods import OOD, ROBUSTNESS, by_method, columns_of, names_of
from starft.reporting.report_file import Content, Told, check_replaceable, comma_separated, latex, markdown
from starft.reporting.robustness import point_of, robustness_of
from starft.reporting.verdict import numbers_of, terms, verdict_of
from starft.runs.results import legend
from starft.runs.run_reader import Run, find_runs
from starft.safe_text import say
from starft.wording import count_of

SUFFIXES = {"html": ".html", "md": ".md", "csv": ".csv", "latex": ".tex", "png": ".png"}
STDOUT = Path("-")
PROBLEMS = 3
"""Runs whose problems an error names."""


def run(words: Sequence[str]) -> int:
    """Run ``starft report``: `command` tells its options."""
    return run_command(command, "starft report", words[1:])


def command(
    runs: list[Path],
    out: Path | None = None,
    format: Literal["html", "md", "csv", "latex", "png"] | None = None,
    baseline: list[Path] = [],  # noqa: B006  # never changed
    overwrite: bool = False,
) -> int:
    """Tell what runs found: one page, a table or a picture.

    Args:
        runs: Run folders, or folders that hold runs.
        out: The file to write; null is report.html, report.md and so on, here; - is standard output.
        format: Null goes by --out.
        baseline: Runs that the line of effective robustness is fitted to.
        overwrite: Replace --out even if it isn't a report.

    Raises:
        ConfigError: An option can't be used, or there is no run.
    """
    kind, file = _target(format, out)
    if file != STDOUT:
        check_replaceable(file, overwrite)
    content = gather(find_runs(runs), find_runs(baseline) if baseline else [])
    if kind != "html" and not content.table:
        why = "; ".join(f"{item.name}: {', '.join(item.problems)}" for item in content.runs[:PROBLEMS])
        raise ConfigError(
            f"None of the runs was tested, or their results can't be read ({why}); run starft test first, or write "
            "--format html."
        )
    made = _made(content, kind)
    if file == STDOUT:
        sys.stdout.buffer.write(made)
        sys.stdout.buffer.flush()
    else:
        replace_file(file, made)
    for entry in content.runs:
        if entry.problems:
            say(f"Note: {entry.name}: {'; '.join(entry.problems)}.", file=sys.stderr)
    for note in dict.fromkeys(item.note for item in content.runs if item.note is not None):
        names = [item.name for item in content.runs if item.note == note]
        say(f"Note: of {count_of(len(names), 'run')} ({names[0]} first) {note}.", file=sys.stderr)
    if file != STDOUT:
        say(f"Report of {count_of(len(content.runs), 'run')}: {file}")
    return 0


def _target(kind: str | None, out: Path | None) -> tuple[str, Path]:
    """Return format and file, either told by the other; what goes to standard output is Markdown if nothing is told."""
    if out == STDOUT:
        return kind if kind is not None else "md", out
    if kind is None:
        known = {suffix: name for name, suffix in SUFFIXES.items()}
        kind = known.get(out.suffix.lower()) if out is not None else "html"
        if kind is None:
            raise ConfigError(f"--out {out} tells no format; give --format, one of {', '.join(SUFFIXES)}.")
    out = out if out is not None else Path(f"report{SUFFIXES[kind]}")
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder; give a file, such as {out / 'report.html'}.")
    if not out.parent.is_dir():
        raise ConfigError(f"The folder of --out {out} doesn't exist; make it, or give another.")
    return kind, out


def gather(runs: Sequence[Run], baselines: Sequence[Run] = ()) -> Content:
    """Return what a report tells.

    Args:
        runs: Of the report.
        baselines: Runs that the line of effective robustness is fitted to.

    Raises:
        ConfigError: The baselines give no line.
    """
    methods = by_method(runs)
    tested = [item for some in methods.values() for item in some]
    columns = columns_of(tested)
    scored = [pair for item in tested for pair in item.sets.items() if "acc" in pair[1].metrics]  # not by retrieval
    usual = [(name, len(scores.groups)) for name, scores in scored if not scores.ood]
    usual.sort(key=lambda told: told[1] > 1)  # one without groups, if there is one
    id_column = f"{usual[0][0]}/acc" if usual else None
    line, robustness = None, None
    fitted = [baseline for baseline in baselines if id_column is not None and point_of(baseline, id_column) is not None]
    if baselines:
        line, robustness = robustness_of(methods, fitted, id_column or "")
        columns.insert(columns.index(OOD) + 1 if OOD in columns else 0, ROBUSTNESS)
    table = table_of(methods, columns, robustness)
    ood_sets = list(dict.fromkeys(name for item in tested for name, scores in item.sets.items() if scores.ood))
    numbers = numbers_of(columns, id_column, ood_sets)
    told = Told(verdict_of(methods, table, numbers), terms(numbers, ood_sets), legend(columns))
    return Content(runs, methods, table, columns, id_column, line, names_of(fitted), told)


def _made(content: Content, kind: str) -> bytes:
    """Return the report; Matplotlib is loaded for pages and pictures alone."""
    if kind == "html":
        return bytes(load_module("starft.reporting.page").html_page(content).encode())
    if kind == "png":
        figures = load_module("starft.reporting.figures")
        with figures.style(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing")  # the picture shows a box for such a sign
            positions = {name: at for at, name in enumerate(content.methods)}
            return bytes(figures.as_png(figures.overview(content.table, content.columns, positions), 150))
    return {"md": markdown, "csv": comma_separated, "latex": latex}[kind](content).encode()
