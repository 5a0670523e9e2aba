"""Effective robustness with its interval, against numbers worked out by hand, and in every format of the report."""

import csv
import re
from pathlib import Path

import pytest

from fakes import run_folders as fake
from starft.__main__ import main
from starft.cli.report import gather
from starft.errors import ConfigError
from starft.reporting.methods import ROBUSTNESS, Cell, pooled
from starft.reporting.robustness import robustness_of
from starft.runs.run_reader import find_runs

N = 10_000


def write(folder: Path, id_acc: float, *ood_accs: float, n: int = N, seed: int = 0) -> Path:
    sets = {"id": fake.eval_set({"all": (round(id_acc * n), n)})}
    sets |= {f"o{at}": fake.eval_set({"all": (round(acc * n), n)}, ood=True) for at, acc in enumerate(ood_accs)}
    return fake.write_run(folder, sets, seed=seed)


@pytest.fixture
def baselines(tmp_path: Path) -> list[Path]:
    """Logit .5 = 0, logit .8 = log 4, logit .2 = -log 4: their line has the slope -1 and no offset."""
    return [write(tmp_path / "base" / "a", 0.5, 0.5), write(tmp_path / "base" / "b", 0.8, 0.2)]


def cell(run: Path, baselines: list[Path], n_methods: int = 1) -> Cell:
    content = gather(find_runs([run]), find_runs(baselines))
    assert len(content.table) == n_methods
    found = next(iter(content.table.values()))[ROBUSTNESS]
    assert found is not None
    assert found.interval is not None
    return found


def test_the_interval_by_hand(tmp_path: Path, baselines: list[Path]) -> None:
    """By the delta method: a logit of k of n has the variance 1 / (n p (1 - p)), the line is a weighing of two points.

    At ID .9 the line gives .1. It lies log 9 / log 4 = 1.58496 of the way from the first baseline to the second, so the
    logit's variance is .58496² · 2/2500 + 1.58496² · 2/1600 + 1/900 = .004525, the accuracy's that times (.1 · .9)²,
    3.665e-5; OOD .3 adds .3 · .7 / 10000. The root of the sum is .007593, times 1.96 .01488.
    """
    found = cell(write(tmp_path / "run", 0.9, 0.3), baselines)
    assert found.value == pytest.approx(0.2)
    low, high = found.interval  # type: ignore[misc]
    assert (0.2 - low, high - 0.2) == pytest.approx((0.01488, 0.01488), abs=0.0012)


def test_the_mean_over_ood_sets_is_surer_than_one(tmp_path: Path, baselines: list[Path]) -> None:
    """The OOD share of the variance, 2.1e-5, is halved by a second set: 1.96 · sqrt(3.665e-5 + 1.05e-5) = .01346."""
    found = cell(write(tmp_path / "run", 0.9, 0.3, 0.3), baselines)
    assert found.value == pytest.approx(0.2)
    low, high = found.interval  # type: ignore[misc]
    assert (high - low) / 2 == pytest.approx(0.01346, abs=0.0009)


def test_a_baseline_among_the_methods_shares_its_draws(baselines: list[Path]) -> None:
    """Two baselines lie on their line in every draw."""
    told = gather(find_runs([baselines[0].parent]), find_runs(baselines)).table
    for row in told.values():
        found = row[ROBUSTNESS]
        assert found is not None
        assert (found.value, found.interval) == (0.0, (0.0, 0.0))
        assert "-" not in f"{found.value}{found.interval}"


def test_it_is_the_same_whatever_stands_beside_it(tmp_path: Path, baselines: list[Path]) -> None:
    alone = cell(write(tmp_path / "runs" / "z", 0.9, 0.3), baselines)
    write(tmp_path / "runs" / "b", 0.7, 0.4)
    table = gather(find_runs([tmp_path / "runs"]), find_runs(baselines)).table
    assert list(table) == ["b", "z"]
    beside = table["z"][ROBUSTNESS]
    assert beside is not None
    assert (beside.value, beside.interval) == (alone.value, alone.interval)


def test_seeds_are_pooled_by_hand_within_minus_one_and_one() -> None:
    """Student's quantile of one degree of freedom is 12.7062."""
    found = pooled([(-0.9, (-0.95, -0.85)), (-0.1, (-0.15, -0.05))], lowest=-1.0)
    assert found is not None
    assert (found.value, found.interval) == (pytest.approx(-0.5), (-1.0, 1.0))
    near = pooled([(-0.21, (-0.22, -0.2)), (-0.2, (-0.21, -0.19))], lowest=-1.0)
    assert near is not None
    half = ((12.7062 * 0.005) ** 2 + 0.01**2) ** 0.5  # the standard error of two values .01 apart is .005
    assert near.interval == pytest.approx((-0.205 - half, -0.205 + half), abs=1e-6)


def test_seeds_of_a_run_are_one_method(tmp_path: Path, baselines: list[Path]) -> None:
    """.3 - .1 and, at ID .8, .1 - .2."""
    write(tmp_path / "m" / "seed-0", 0.9, 0.3)
    write(tmp_path / "m" / "seed-1", 0.8, 0.1, seed=1)
    found = cell(tmp_path / "m", baselines)
    assert (found.value, found.spread) == pytest.approx((0.05, 0.3 / 2**0.5))
    assert found.interval == (-1.0, 1.0)


def test_a_run_without_ood_has_none(tmp_path: Path, baselines: list[Path]) -> None:
    write(tmp_path / "runs" / "a", 0.9)
    write(tmp_path / "runs" / "b", 0.9, 0.3)
    table = gather(find_runs([tmp_path / "runs"]), find_runs(baselines)).table
    assert table["a"][ROBUSTNESS] is None
    assert table["b"][ROBUSTNESS] is not None


def test_draws_without_a_line_are_left_out(tmp_path: Path) -> None:
    """Of ten samples each, the baselines often draw one ID accuracy; no warning, and an interval that says little."""
    paths = [write(tmp_path / "base" / "a", 0.5, 0.5, n=10), write(tmp_path / "base" / "b", 0.6, 0.4, n=10)]
    found = cell(write(tmp_path / "run", 0.9, 0.3, n=10), paths)
    low, high = found.interval  # type: ignore[misc]
    assert -1 <= low < -0.3
    assert 0.3 < high <= 1


def test_one_baseline_named_twice_is_no_line(tmp_path: Path, baselines: list[Path]) -> None:
    runs = find_runs([baselines[0]])
    with pytest.raises(ConfigError, match="at least two different ID accuracies, got 2"):
        robustness_of({"a": runs}, runs * 2, "id/acc")


@pytest.mark.slow
def test_every_format_tells_it_with_its_interval(tmp_path: Path, baselines: list[Path]) -> None:
    up, down = write(tmp_path / "runs" / "up", 0.9, 0.3), write(tmp_path / "runs" / "down", 0.5, 0.3)
    words = ["report", str(up), str(down), str(baselines[0]), "--baseline", *map(str, baselines), "--out"]
    told = {}
    for ending in ("md", "csv", "tex", "html", "png"):
        out = tmp_path / f"t.{ending}"
        assert main([*words, str(out)]) == 0
        told[ending] = out.read_text(encoding="utf-8") if ending != "png" else ""
    signed = r"[+]18\.\d to [+]21\.\d"
    assert "\n| method | runs | OOD mean | effective robustness | id: accuracy |" in told["md"]
    assert re.search(rf"up \| 1 \| [^|]* \| \*\*\+20\.0\*\* \({signed}\) \|", told["md"])
    assert re.search(r"down \| 1 \| [^|]* \| -20\.0 \(-2[12]\.\d to -1[789]\.\d\) \|", told["md"])
    assert re.search(r"base/a \| 1 \| [^|]* \| 0\.0 \(0\.0 to 0\.0\) \|", told["md"])
    assert "above the line fitted to a, b." in told["md"]
    assert re.search(rf"\\textbf\{{\+20\.0\}} \({signed}\)", told["tex"])
    assert re.search(r"\$-\$20\.0 \(\$-\$2[12]\.\d to \$-\$1[789]\.\d\)", told["tex"])
    rows = [row for row in csv.DictReader(told["csv"].splitlines()) if row["metric"] == ROBUSTNESS]
    assert [float(row["value"]) for row in rows] == pytest.approx([0.2, -0.2, 0.0])
    assert [row["best"] for row in rows] == ["1", "0", "0"]
    assert 0.18 < float(rows[0]["ci95_low"]) < 0.19
    assert (rows[2]["value"], rows[2]["ci95_low"], rows[2]["ci95_high"]) == ("0.0", "0.0", "0.0")
    assert re.search(rf'<span class="best">\+20\.0</span><small>{signed}</small>', told["html"])
    assert not any("-0.0 " in text or "-0.0<" in text for text in told.values())


def test_the_page_starts_with_a_short_table(tmp_path: Path, baselines: list[Path]) -> None:
    groups = fake.eval_set({"a": (90, 100), "b": (80, 100)})
    sets = {"groups": groups, "id": fake.eval_set({"all": (9, 10)}), "o": fake.eval_set({"all": (3, 10)}, ood=True)}
    run = fake.write_run(tmp_path / "run", sets)
    out = tmp_path / "t.html"
    assert main(["report", str(run), "--baseline", *map(str, baselines), "--out", str(out)]) == 0
    page = out.read_text(encoding="utf-8")
    tables = [re.findall(r"<th[^>]*>(.*?)</th>", one) for one in re.findall(r"<table>.*?</table>", page, re.DOTALL)]
    assert tables[0] == ["method", "id: accuracy", "OOD mean", "effective robustness", "groups: worst group"]
    assert tables[1] == ["method", "accuracy", "worst group", "group mean", "ECE"]
    assert [re.sub(r"<.*?>", "", one) for one in re.findall(r"<summary>All numbers .*?</summary>", page)] == [
        "All numbers of the set “groups”",
        "All numbers of the set “id”",
        "All numbers of the set “o”",
    ]
    printed = page[page.index("@media print") :]
    assert "details::details-content { content-visibility: visible;" in printed
    assert "white-space: normal" in printed
