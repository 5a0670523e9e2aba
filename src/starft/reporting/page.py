"""The report as one HTML file: everything in it, nothing from elsewhere, every name shown as text."""

import shlex
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from markupsafe import Markup

from starft import __version__
from starft.files.yaml_reader import dump_yaml
from starft.reporting.differences import Disagreement, disagreements
from starft.reporting.figures import SIGNS, curves, inline, look, scatter, style, sweeps
from starft.reporting.heat_maps import Classes, Confusions, classes_of, group_maps
from starft.reporting.methods import OOD, ROBUSTNESS, Cell, heading, names_of
from starft.reporting.mistakes import gallery_of
from starft.reporting.pictures import thumbnail
from starft.reporting.report_file import Content, methods_table
from starft.reporting.roles import role_of
from starft.reporting.table import Table, percent
from starft.reporting.templates import breakable, page_environment
from starft.runs.audit_result import has_audit
from starft.runs.layout import AUDIT, CHECKPOINTS, CONFIG
from starft.runs.run_reader import Run, shortened

GROUPS_OPEN = 12
"""The others are folded."""
MOST_BARS = 6000
RUNS_WITH_MISTAKES = 12
BARS_UNFOLDED = 80
"""With more bars than that of one set, those of its worst group are open and the others folded."""


def html_page(content: Content) -> str:
    """Return the page.

    Args:
        content: What it tells.
    """
    runs = content.runs
    content_sets = dict.fromkeys(name for some in content.methods.values() for run in some for name in run.sets)
    trained = list(dict.fromkeys(run.method for run in runs if run.curves))
    # those without a test have no place in the table, but curves
    positions = {method: at for at, method in enumerate(dict.fromkeys([*content.methods, *trained]))}
    signs = {method: _sign(method, at) for method, at in positions.items()}
    sets = {
        name: [column for column in content.columns if column.rpartition("/")[0] == name]
        for name in _set_names(content)
    }
    audited = [run for run in runs if has_audit(run.folder / AUDIT)]
    seeds = any(count > 1 for count in content.counts.values())
    compared = disagreements([run for some in content.methods.values() for run in some])
    with style(), warnings.catch_warnings():
        # Names may hold signs that the plots' font lacks; the browser's fonts have them.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        placed = _points(content)
        swept = [run for run in runs if run.sweep is not None]
        plots = {
            "scatter": Markup(inline(scatter(placed, positions, content.line))) if placed else None,
            "sweeps": Markup(inline(sweeps(swept, positions))) if swept else None,
            "curves": [(name, Markup(inline(figure))) for name, figure in curves(runs, positions)],
            "placed": placed,
            "trained": trained,
        }
    return (
        page_environment()
        .get_template("report.html.j2")
        .render(
            version=__version__,
            content=content,
            plots=plots,
            sign=signs.__getitem__,
            seeds=seeds,
            facts=_runs_table(runs),
            short=methods_table(content, _short(content), signs.__getitem__, counted=seeds).html(),
            sets={
                name: methods_table(content, columns, signs.__getitem__, _metric_heading, seeds).html()
                for name, columns in sets.items()
            },
            groups=_groups(content, positions),
            classes={
                name: (told, _classes_table(told, signs))
                for name in content_sets
                if (told := classes_of(content.methods, name)) is not None
            },
            most=_confusions_table,
            weights={name: item.weights for run in reversed(runs) for name, item in run.sets.items() if item.weights},
            mistakes=[mistake for run in runs for mistake in gallery_of(run)][:RUNS_WITH_MISTAKES],
            disagreements=_by_pair(compared, runs),
            audits=import_module("starft.reporting.audit_page").audits_of(audited) if audited else [],
            pools=_pools(runs),
            environments=[(item, len(some), names_of(some)) for item, some in _environments(runs)],
            repeats=_repeats(runs),
        )
    )


def _sign(method: str, at: int) -> Markup:
    """Return a method's name with its mark in its colour."""
    color, mark = look(at)
    return Markup('<b style="color:{}">{}</b>&nbsp;{}').format(color, SIGNS[mark], breakable(method))


def _metric_heading(column: str) -> str:
    """Return what a table of one set calls a column."""
    return heading(column.rpartition("/")[2])


def _points(content: Content) -> dict[str, tuple[Cell, Cell]]:
    """Return the two numbers of each method that has both ID and OOD accuracy; none where there is nothing beside."""
    points = {}
    for method, row in content.table.items():
        across = row[content.id_column] if content.id_column is not None else None
        up = row.get(OOD)
        if across is not None and up is not None:
            points[method] = (across, up)
    return points if len(points) > 1 or content.line is not None else {}  # one point alone tells no more than the table


def _short(content: Content) -> list[str]:
    """Return the columns that are shown first: ID, OOD, effective robustness, worst groups."""
    first = [item for item in (content.id_column, OOD, ROBUSTNESS) if item in content.columns and item is not None]
    return first + [column for column in content.columns if column.rpartition("/")[2] == "worst_group_acc"]


def _set_names(content: Content) -> list[str]:
    return list(dict.fromkeys(name for column in content.columns if (name := column.rpartition("/")[0])))


def _classes_table(told: Classes, signs: Mapping[str, Markup]) -> Markup:
    """Return the accuracy of each class for each method."""
    rows = [[breakable(name), f"{n:,}", *map(percent, accuracies)] for name, n, accuracies in told.rows]
    return Table(["class", "images", *(signs[method] for method in told.methods)], rows).html()


def _confusions_table(told: Confusions) -> Markup:
    """Return the most frequent confusions of a method."""
    rows = [[breakable(label), breakable(prediction), f"{n:,}"] for label, prediction, n in told.most]
    return Table(["class", "taken for", "images"], rows, align="llr").html()


def _runs_table(runs: Sequence[Run]) -> Markup:
    """Return what each run was of, and what became of it."""
    headings = ["run", "terms", "model", "data", "seed", "commit", "test, s", "state"]
    return Table(headings, [[run.name, *_facts(run), run.state] for run in runs], align="llllrrrl").html()


def _facts(run: Run) -> list[str]:
    """Return terms, model, data, seed, commit and seconds of a run."""
    model, data = run.config.get("model") or {}, run.config.get("data") or {}

    def named(thing: Any) -> str:
        path = thing.get("class_path") if isinstance(thing, dict) else None
        return str(path).rpartition(".")[2] if path else "–"

    terms = [named(model.get("objective"))] if isinstance(model, dict) else []
    for item in (model.get("regularizers") or []) if isinstance(model, dict) else []:
        weight = (item.get("init_args") or {}).get("weight") if isinstance(item, dict) else None
        terms.append(named(item) + (f" × {weight:g}" if isinstance(weight, int | float) else ""))
    seconds = run.facts.get("seconds")
    return [
        "nothing trained" if run.sets and role_of(run.config) == "zero-shot" else " + ".join(terms) or "–",
        f"{model.get('model_name', '–')}, {model.get('pretrained', '–')}" if isinstance(model, dict) else "–",
        named(data),
        str(run.facts.get("seed", run.config.get("seed_everything", "–"))),
        str(run.facts.get("git_commit") or "–")[:12],
        f"{float(seconds):,.0f}" if isinstance(seconds, int | float) else "–",
    ]


def _groups(content: Content, positions: Mapping[str, int]) -> list[dict[str, Any]]:
    """Return, for each set with groups, all of them, the worst first, with a bar a method: that of its first run."""
    results = []
    for name in dict.fromkeys(name for run in content.runs for name, item in run.sets.items() if len(item.groups) > 1):
        firsts = {method: runs[0] for method, runs in content.methods.items() if name in runs[0].sets}
        rows: dict[str, list[dict[str, Any]]] = {}
        counts: dict[str, int] = {}
        for method, run in firsts.items():
            for group in run.sets[name].groups:
                counts[group.name] = group.n
                color = look(positions[method])[0]
                rows.setdefault(group.name, []).append({"method": method, "group": group, "color": color})
        order = sorted(rows, key=lambda group: min((_acc(bar) for bar in rows[group]), default=2.0))
        shown = [(group, counts[group], rows[group]) for group in order[: max(1, MOST_BARS // len(firsts))]]
        unfolded = min(len(shown), GROUPS_OPEN)
        unfolded = unfolded if unfolded * len(firsts) <= BARS_UNFOLDED else 1
        maps = group_maps(content.methods, name)
        results.append(
            {"name": name, "rows": shown, "open": unfolded, "left": len(order) - len(shown), "maps": maps}
            | {"marked": any(cell.usual for item in maps for _, cells in item.rows for cell in cells)}
        )
    return results


def _acc(bar: Mapping[str, Any]) -> float:
    acc = bar["group"].acc
    return 2.0 if acc is None else float(acc)


def _by_pair(
    compared: Sequence[Disagreement], runs: Sequence[Run]
) -> dict[tuple[str, str], list[tuple[Disagreement, list[dict[str, Any]]]]]:
    """Return, for each two runs, what they disagree on, set by set, with samples."""
    pairs: dict[tuple[str, str], list[tuple[Disagreement, list[dict[str, Any]]]]] = {}
    for item in compared:
        pairs.setdefault((item.first, item.second), []).append((item, _disagreed(item, runs)))
    return pairs


def _disagreed(pair: Disagreement, runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the samples that a pair disagrees on, with what each made of them."""
    one, two = (next(run for run in runs if run.name == name) for name in (pair.first, pair.second))
    assert one.samples is not None
    assert two.samples is not None
    at = list(one.sets).index(pair.eval_set)
    first, second = one.samples.of_set(pair.eval_set), two.samples.of_set(pair.eval_set)
    row_of = {index: row for row, index in enumerate(first["index"].tolist())}
    messages: list[dict[str, Any]] = []
    for index in pair.indices:
        row = row_of[index]
        path = str(first["path"][row])
        messages.append(
            {
                "picture": thumbnail(one, at, index, path) or thumbnail(two, at, index, path),
                "maps": [],
                "path": path or f"image {index} of “{pair.eval_set}”",
                "label": str(first["label_name"][row]),
                "first": str(first["prediction_name"][row]),
                "second": str(second["prediction_name"][row]),
            }
        )
    return messages


def _pools(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return each pool once, its phrases by rank where they were ranked, with the runs that drew from it."""
    pools: dict[str, dict[str, Any]] = {}
    for run in runs:
        if run.pool:
            key = repr(run.pool)
            pools.setdefault(key, {**run.pool, "runs": []})["runs"].append(run)
    for pool in pools.values():
        bits, pool["runs"] = pool["bits"], names_of(pool["runs"])
        pool["phrases"] = (
            sorted(pool["templates"], key=lambda one: -bits.get(one, float("-inf"))) if bits else pool["templates"]
        )
    return list(pools.values())


def _environments(runs: Sequence[Run]) -> list[tuple[dict[str, str], list[Run]]]:
    """Return each environment once, with the runs that were tested in it."""
    results: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for run in runs:
        if run.facts:
            summary = {**run.facts.get("versions", {}), **run.facts.get("hardware", {})}
            flat = {
                name: ", ".join(map(str, v)) or "none" if isinstance(v, list) else str(v) for name, v in summary.items()
            }
            results.setdefault(tuple(flat.items()), []).append(run)
    return [(dict(facts), tested) for facts, tested in results.items()]


@dataclass(frozen=True)
class Repeat:
    """What repeats a run.

    Args:
        lines: Commands, in their order.
        config: What the ``config.yaml`` that they name is to hold, where the run folder has none; or None.
    """

    lines: tuple[str, ...]
    config: str | None = None


def repeat_of(run: Run) -> Repeat:
    """Return what repeats a run: its training, where it has a config of one, and its test.

    A test that belongs to no training here leaves no config but the one in its results.json, so that one is told.

    Args:
        run: Any; without a config nothing is told.
    """
    path = run.folder / CONFIG
    config, new = shlex.quote(shortened(path)), "--trainer.default_root_dir NEW_FOLDER"
    lines = [f"starft fit --config {config} {new}"] if path.is_file() and run.config else []
    if not run.sets or not run.config:
        return Repeat(tuple(lines))
    checkpoint = run.config.get("ckpt_path")
    if path.is_file() and checkpoint:
        own = Path(str(checkpoint)).parent.resolve() == (run.folder / CHECKPOINTS).resolve()
        tested = f"NEW_FOLDER/{CHECKPOINTS}/{Path(str(checkpoint)).name}" if own else shortened(Path(str(checkpoint)))
        lines.append(f"starft test --config {config} --ckpt_path {shlex.quote(tested)} {new}")
        return Repeat(tuple(lines))
    lines.append(f"starft test --config {CONFIG} {new}")
    return Repeat(tuple(lines), dump_yaml(run.config, width=120))


def _repeats(runs: Sequence[Run]) -> dict[str, list[tuple[str, Repeat]]]:
    """Return, method by method, each run's name with what repeats it."""
    summary: dict[str, list[tuple[str, Repeat]]] = {}
    for run in runs:
        again = repeat_of(run)
        if again.lines:
            summary.setdefault(run.method, []).append((run.name, again))
    return summary
