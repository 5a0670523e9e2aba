"""The tables of ``starft compare``, for the terminal and in Markdown: the same cells."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from rich.table import Table

from starft.reporting.console import Console
from starft.reporting.summary import HEADINGS
from starft.safe_text import markdown_code, markdown_text
from starft.statistics import paired_difference

Rows = list[list[str]]


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
    told: dict[str, Any] = {"metrics": {}}
    for metric in metrics:
        values, others = ([one["metrics"][metric] for one in some] for some in (runs, baseline))
        difference = paired_difference(values, others)
        told["metrics"][metric] = {
            "values": values,
            "mean": fmean(values),
            "sd": stdev(values) if len(values) > 1 else None,
            "difference": {
                "mean": difference.mean,
                "ci95": list(difference.interval) if difference.interval is not None else None,
                "n": difference.n,
            },
        }
    for cost in ("training_seconds", "peak_memory_bytes", "peak_gpu_memory_bytes"):
        told[cost] = [one[cost] for one in runs]
    told["git_commits"] = list(dict.fromkeys(one["git_commit"] for one in runs if one["git_commit"] is not None))
    return told


def heading(metric: str) -> str:
    """Return the heading of a metric's column: the eval set's name for its accuracy, the metric beside it for others.

    Args:
        metric: ``{eval set}/{metric}`` or ``ood_acc``.
    """
    if metric == "ood_acc":
        return "OOD mean"
    eval_set, _, name = metric.rpartition("/")
    return eval_set if name == "acc" else f"{eval_set}: {HEADINGS.get(name, name)}"


def print_tables(console: Console, results: Mapping[str, Any], columns: Mapping[str, str]) -> None:
    """Print the table of the runs, and that of the differences where there are any.

    Args:
        console: Where they go.
        results: What results.json holds.
        columns: Metric -> its heading.
    """
    for title, headings, rows in _tables(results, columns):
        table = Table(title=title)
        for at, name in enumerate(headings):
            table.add_column(name, justify="right" if at else "left", overflow="fold")
        for row in rows:
            table.add_row(*row)
        console.print(table)


def markdown_tables(results: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    """Return the same tables as Markdown.

    Args:
        results: What results.json holds.
        columns: Metric -> its heading.
    """
    parts = []
    for title, headings, rows in _tables(results, columns):
        head, *below = ([markdown_text(cell) for cell in line] for line in (headings, *rows))
        lines = [head, ["---", *["---:"] * (len(headings) - 1)], *below]
        above = markdown_text(f"{title[0].upper()}{title[1:]}:")
        parts.append(f"{above}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
    options = f" Options: {markdown_code(' '.join(results['options']))}." if results["options"] else ""
    seeds = ", ".join(map(str, results["seeds"]))
    parts.append(f"Seeds: {seeds}.{options} Seconds are those of training, a run's mean; memory is the highest peak.")
    return "\n\n".join(parts) + "\n"


def _tables(results: Mapping[str, Any], columns: Mapping[str, str]) -> list[tuple[str, list[str], Rows]]:
    configs, count = results["configs"], len(results["seeds"])
    on_gpu = any(peak for one in configs.values() for peak in one["peak_gpu_memory_bytes"])
    costs = ["seconds", "peak GPU memory, MB" if on_gpu else "peak memory, MB", "commit"]
    spread = f", mean ± standard deviation over {count} seeds" if count > 1 else ""
    rows = [
        [name, *(_value(one["metrics"][metric]) for metric in columns), *_costs(one, on_gpu)]
        for name, one in configs.items()
    ]
    what = "accuracy" if all(metric.endswith("acc") for metric in columns) else "results"
    tables = [(f"{what} in %{spread}", ["config", *columns.values(), *costs], rows)]
    others = [(name, one) for name, one in configs.items() if name != results["baseline"]]
    if others:
        sure = f"mean over {count} seeds (95 % interval)" if count > 1 else "one seed, so no interval"
        rows = [
            [name, *(_difference(one["metrics"][metric]["difference"]) for metric in columns)] for name, one in others
        ]
        title = f"difference to {results['baseline']} with the same seed, in points; {sure}"
        tables.append((title, ["config", *columns.values()], rows))
    return tables


def _value(metric: Mapping[str, Any]) -> str:
    spread = f" ± {100 * metric['sd']:.1f}" if metric["sd"] is not None else ""
    return f"{100 * metric['mean']:.1f}{spread}"


def _difference(difference: Mapping[str, Any]) -> str:
    mean = f"{100 * difference['mean']:+z.1f}"
    if difference["ci95"] is None:
        return mean
    low, high = difference["ci95"]
    return f"{mean} ({100 * low:+z.1f} to {100 * high:+z.1f})"


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
