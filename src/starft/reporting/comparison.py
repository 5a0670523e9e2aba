"""Methods side by side, seed by seed: what ``starft compare`` and ``starft demo`` tell, as tables and as a plot."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from matplotlib.figure import Figure

from starft.files.atomic import replace_file
from starft.reporting.table import Item, Number, Table, percent
from starft.runs.results import HEADINGS
from starft.safe_text import markdown_code, markdown_text
from starft.statistics import half_width_over_seeds

Values = Mapping[str, Sequence[float]]
"""Metric -> one number a seed."""


def summarize(
    runs: Sequence[Mapping[str, Any]], baseline: Sequence[Mapping[str, Any]], metrics: Sequence[str]
) -> dict[str, Any]:
    """Return what results.json says of one config: values, mean, spread and difference of each metric, and its costs.

    Args:
        runs: One a seed, with ``metrics``, ``training_seconds``, ``peak_memory_bytes``, ``peak_gpu_memory_bytes`` and
            ``git_commit``.
        baseline: Those of the baseline, with the same seeds.
        metrics: What is compared, each a share in [0, 1].
    """
    summary: dict[str, Any] = {"metrics": {}}
    for metric in metrics:
        values, others = ([item["metrics"][metric] for item in some] for some in (runs, baseline))
        summary["metrics"][metric] = {
            "values": values,
            "mean": fmean(values),
            "sd": _sd(values),
            "difference": difference(values, others),
        }
    for cost in ("training_seconds", "peak_memory_bytes", "peak_gpu_memory_bytes"):
        summary[cost] = [run[cost] for run in runs]
    summary["git_commits"] = list(dict.fromkeys(run["git_commit"] for run in runs if run["git_commit"] is not None))
    return summary


def difference(values: Sequence[float], others: Sequence[float]) -> dict[str, Any]:
    """Return what a method gains over another with the same seeds: mean, 95 % interval (None of one seed), and number.

    Args:
        values: Of the method, one a seed.
        others: Of the other, in the same order.
    """
    gains = [ours - theirs for ours, theirs in zip(values, others, strict=True)]
    mean, half = fmean(gains), half_width_over_seeds(gains)
    return {"mean": mean, "ci95": [mean - half, mean + half] if len(gains) > 1 else None, "n": len(gains)}


def heading(metric: str) -> str:
    """Return the heading of a metric's column: the eval set's name for its accuracy, the metric beside it for others.

    Args:
        metric: ``{eval set}/{metric}`` or ``ood_acc``.
    """
    if metric == "ood_acc":
        return "OOD mean"
    eval_set, _, name = metric.rpartition("/")
    return eval_set if name == "acc" else f"{eval_set}: {HEADINGS.get(name, name)}"


def compare_tables(results: Mapping[str, Any], columns: Mapping[str, str]) -> list[Table]:
    """Return the table of the runs, and that of the differences where there are any.

    Args:
        results: What results.json holds.
        columns: Metric -> its heading.
    """
    configs, count = results["configs"], len(results["seeds"])
    on_gpu = any(peak for config in configs.values() for peak in config["peak_gpu_memory_bytes"])
    costs = ["seconds", "peak GPU memory, MB" if on_gpu else "peak memory, MB", "commit"]
    rows = [
        [
            name,
            *(_mean(**config["metrics"][metric]) for metric in columns),
            *_costs(config, on_gpu),
        ]
        for name, config in configs.items()
    ]
    what = "accuracy" if all(metric.endswith("acc") for metric in columns) else "results"
    tables = [Table(["config", *columns.values(), *costs], rows, f"{what} in %{_over_seeds(count)}")]
    others = [(name, config) for name, config in configs.items() if name != results["baseline"]]
    if others:
        sure = f"mean over {count} seeds (95 % interval)" if count > 1 else "one seed, so no interval"
        rows = [
            [name, *(_difference(other["metrics"][metric]["difference"]) for metric in columns)]
            for name, other in others
        ]
        title = f"difference to {results['baseline']} with the same seed, in points; {sure}"
        tables.append(Table(["config", *columns.values()], rows, title))
    return tables


def compare_markdown(results: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    """Return the same tables as Markdown.

    Args:
        results: What results.json holds.
        columns: Metric -> its heading.
    """
    parts = [
        f"{markdown_text(f'{table.title[0].upper()}{table.title[1:]}:')}\n\n{table.markdown().rstrip()}"
        for table in compare_tables(results, columns)
    ]
    options = f" Options: {markdown_code(' '.join(results['options']))}." if results["options"] else ""
    seeds = ", ".join(map(str, results["seeds"]))
    parts.append(f"Seeds: {seeds}.{options} Seconds are those of training, a run's mean; memory is the highest peak.")
    return "\n\n".join(parts) + "\n"


def comparison_table(methods: Mapping[str, Values], columns: Mapping[str, str], titles: Mapping[str, str]) -> Table:
    """Return a table of means over the seeds, with the sample standard deviation where there are several.

    Args:
        methods: Method -> metric -> one number in [0, 1] a seed.
        columns: Metric -> its heading.
        titles: Method -> what the table calls it.
    """
    rows: list[list[Item]] = [
        [titles[method], *(_mean(fmean(values[metric]), _sd(values[metric])) for metric in columns)]
        for method, values in methods.items()
    ]
    return Table(["method", *columns.values()], rows, "accuracy in %" + _over_seeds(_seeds(methods)))


def gains_table(
    methods: Mapping[str, Values], columns: Mapping[str, str], titles: Mapping[str, str], pairs: Mapping[str, str]
) -> Table:
    """Return a table of differences in points, seed by seed: their mean, and in how many seeds they are positive.

    Args:
        methods: Method -> metric -> one number in [0, 1] a seed.
        columns: Metric -> its heading.
        titles: Method -> what the table calls it.
        pairs: Method -> the baseline it is compared with.
    """
    rows = []
    for method, baseline in pairs.items():
        cells = []
        for metric in columns:
            gains = [a - b for a, b in zip(methods[method][metric], methods[baseline][metric], strict=True)]
            cells.append(f"{100 * fmean(gains):+z.1f} ({sum(gain > 0 for gain in gains)}/{len(gains)})")
        rows.append([f"{titles[method]} - {titles[baseline]}", *cells])
    title = "gain over the matching baseline, in points (seeds in which it is a gain)"
    return Table(["method", *columns.values()], rows, title)


def comparison_plot(
    methods: Mapping[str, Values], columns: Mapping[str, str], titles: Mapping[str, str], path: Path
) -> None:
    """Write a bar chart as PNG: a cluster a metric, a bar a method, whiskers of one standard deviation.

    Args:
        methods: Method -> metric -> one number in [0, 1] a seed.
        columns: Metric -> its heading.
        titles: Method -> what the legend calls it.
        path: Where the picture goes; its folder must exist.
    """
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(methods)
    for turn, (method, values) in enumerate(methods.items()):
        places = [column + (turn - (len(methods) - 1) / 2) * width for column in range(len(columns))]
        heights = [100 * fmean(values[metric]) for metric in columns]
        spread = [100 * (_sd(values[metric]) or 0.0) for metric in columns]
        axes.bar(places, heights, width, yerr=spread, label=titles[method], error_kw={"linewidth": 1})
    axes.set_xticks(range(len(columns)), list(columns.values()))
    axes.set_ylabel("accuracy, %" + _over_seeds(_seeds(methods)))
    axes.set_ylim(0, 100)
    figure.legend(loc="outside upper center", ncols=len(methods), frameon=False)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    replace_file(path, buffer.getvalue())


def _mean(mean: float, sd: float | None, **_: Any) -> Number:
    return Number(percent(mean), "" if sd is None else percent(sd))


def _sd(values: Sequence[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None


def _seeds(methods: Mapping[str, Values]) -> int:
    return len(next(iter(next(iter(methods.values())).values())))


def _over_seeds(count: int) -> str:
    return f", mean ± standard deviation over {count} seeds" if count > 1 else ""


def _difference(difference: Mapping[str, Any]) -> Number:
    ends = [f"{100 * end:+z.1f}" for end in difference["ci95"] or ()]
    return Number(f"{100 * difference['mean']:+z.1f}", interval=" to ".join(ends))


def _costs(config: Mapping[str, Any], on_gpu: bool) -> list[str]:
    seconds = [value for value in config["training_seconds"] if value is not None]
    peaks = [value for value in config["peak_gpu_memory_bytes" if on_gpu else "peak_memory_bytes"] if value]
    return [
        f"{fmean(seconds):.0f}" if seconds else "–",
        f"{max(peaks) / 1e6:.0f}" if peaks else "–",
        ", ".join(_short(commit) for commit in config["git_commits"]) or "–",
    ]


def _short(commit: str) -> str:
    digits, _, dirty = commit.partition("-")
    return digits[:7] + (f"-{dirty}" if dirty else "")
