"""`starft report` on run folders whose numbers are written down: sections, formats, damage, markup in names."""

import csv
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from PIL import Image

from fakes import run_folders as fake
from fakes.parsed_page import Page
from starft.__main__ import main
from starft.cli.report import gather
from starft.reporting.differences import disagreements, table_of
from starft.reporting.methods import cell_of, interval_of
from starft.reporting.robustness import fit_line
from starft.runs.run_reader import find_runs

EVIL = '<script>alert("1")</script> & $x$ {{ 7 * 7 }} 🦆 | _b_'
IN_A_PATH = EVIL.replace("/", "|")
FOUR = dict(zip(fake.GROUPS, [(90, 100), (80, 100), (60, 100), (95, 100)], strict=True))
BETTER = dict(zip(fake.GROUPS, [(95, 100), (92, 100), (90, 100), (96, 100)], strict=True))


def sets(id_right: int, ood_right: int, groups: dict[str, tuple[int, int]]) -> dict[str, dict[str, object]]:
    return {
        "groups": fake.eval_set(groups),
        "id": fake.eval_set({"all": (id_right, 1000)}),
        "ood": fake.eval_set({"all": (ood_right, 1000)}, ood=True),
    }


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods, one with two seeds; a run that was never tested; damaged ones; names full of markup."""
    root = tmp_path_factory.mktemp("runs")
    evil = {(EVIL if name == fake.GROUPS[2] else name): counts for name, counts in FOUR.items()}
    fake.write_run(root / "ce" / "seed-0", sets(900, 700, evil), steps=500)
    fake.write_run(root / "ce" / "seed-1", sets(920, 680, evil), seed=1, steps=3)
    pool = {**fake.POOL, "templates": ["{} " + EVIL, "{} on a lake"]}
    pool["provenance"] = {"source": "curated", "ranked": {"bits": {"{} on a lake": 0.5, "{} " + EVIL: 0.25}}}
    good = fake.write_run(root / IN_A_PATH, sets(905, 800, BETTER), pool=pool)
    right = [at % 10 != 0 for at in range(400)]
    fake.write_samples(good, "groups", right, [at % 4 for at in range(400)], (EVIL, "b"), picture_of=range(300, 400))
    other = fake.write_run(root / "other", sets(905, 790, BETTER))
    fake.write_samples(other, "groups", [at % 5 != 0 for at in range(400)], [at % 4 for at in range(400)], (EVIL, "b"))
    (good / "interpolation-test").mkdir()
    rows = [{"alpha": a, "metrics": {"id/acc": 0.8 + 0.1 * a, "ood_acc": 0.8 - 0.2 * a * a}} for a in (1.0, 0.0, 0.5)]
    sweep = {"axes": ["id/acc", "ood_acc"], "rows": rows}
    (good / "interpolation-test" / "interpolation.json").write_text(json.dumps(sweep))
    fake.write_run(root / "untested", {})
    (root / "untested" / "results.json").unlink()
    for name, text in (("cut", '{"eval_sets": {"id"'), ("shape", '{"eval_sets": {"id": 3}}'), ("list", "[]")):
        (root / name).mkdir()
        (root / name / "results.json").write_text(text)
    broken = fake.write_run(root / "broken", sets(900, 700, FOUR), steps=2)
    (broken / "samples.npz").write_bytes(b"PK\x03\x04")
    (broken / "pool.json").write_text("{")
    (broken / "logs" / "version_0" / "metrics.csv").write_bytes(b"\xff\xfe\x00step")
    return root


@pytest.fixture(scope="module")
def page(out: Path) -> str:
    target = out.parent / "report.html"
    assert main(["report", str(out), "--out", str(target), "--baseline", str(out / "ce")]) == 0
    return target.read_text(encoding="utf-8")


def test_every_section_is_there_and_markup_in_names_is_text(page: str) -> None:
    told = Page(page)
    for heading in (
        "Methods",
        "ID against OOD",
        "Groups",
        "WiSE-FT",
        "Training",
        "Surest mistakes in the worst group",
        "What two models disagree on",
        "Pools",
        "What was run",
        "Repeat it",
    ):
        assert f">{heading}</h2>" in page
    assert "script" not in told.tags
    assert told.text.count(IN_A_PATH) > 5, "the run's name"
    assert told.text.count(EVIL) > 5, "group, class and phrase"
    assert "49" not in re.findall(r"\{\{.*?\}\}|49 🦆", told.text), "names aren't templates"
    assert "pre-trained" not in told.text


def test_nothing_is_fetched(page: str) -> None:
    told = Page(page)
    assert all(source.startswith(("#", "data:image/")) for source in told.sources)
    assert told.tags.isdisjoint({"link", "script", "iframe", "object"})
    css = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in css
    assert "@import" not in css
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ET.fromstring(svg.replace('xmlns:xlink="http://www.w3.org/1999/xlink"', "").replace("xlink:", ""))


def test_the_page_is_for_light_dark_phone_and_paper(page: str) -> None:
    for rule in ("prefers-color-scheme: dark", "@media print", "max-width: 40rem", 'name="viewport"'):
        assert rule in page
    assert "currentColor" in page
    assert "#010203" not in page


def test_damage_is_told_run_by_run(page: str) -> None:
    text = " ".join(Page(page).text.split())
    assert "untested: not tested: there is no results.json" in text
    assert "cut: results.json is damaged (JSONDecodeError)" in text
    assert "shape: results.json is damaged (TypeError)" in text
    assert "list: results.json is damaged (TypeError)" in text
    assert re.search(r"broken: pool.json is damaged \(\w+\); logs is damaged \(\w+\); samples is damaged", text)


def test_numbers_and_star(page: str) -> None:
    text = " ".join(Page(page).text.split())
    assert "91.0 ± 1.4" in text, "mean and standard deviation of 90.0 and 92.0"
    # OOD 80.0 and 79.0 of 1000 can't be told apart, so neither has a star
    assert '<span class="best">80.0' not in page
    assert "0.500 bits" in text
    assert text.index("on a lake 0.500") < text.index("0.250 bits"), "by rank"
    assert "both right" in text


def test_the_commands_that_repeat_it(page: str, out: Path) -> None:
    text = Page(page).text
    assert f"starft fit --config {out}/ce/seed-0/config.yaml --trainer.default_root_dir NEW_FOLDER" in text
    assert "--ckpt_path NEW_FOLDER/checkpoints/last.ckpt" in text
    assert f"'{out}/{IN_A_PATH}/config.yaml'" in text, "quoted for a shell"


# --- the numbers below the page ---------------------------------------------------------------------------------------


def test_the_best_is_marked_only_where_the_intervals_lie_apart(tmp_path: Path) -> None:
    fake.write_run(tmp_path / "a", sets(900, 700, FOUR))
    fake.write_run(tmp_path / "b", sets(905, 800, BETTER))
    content = gather(find_runs([tmp_path]))
    assert [column for column in content.columns if not column.endswith("ece")] == [
        "ood_acc",
        "groups/acc",
        "groups/worst_group_acc",
        "groups/group_mean_acc",
        "id/acc",
        "ood/acc",
    ]
    best = {column for column in content.columns for row in [content.table["b"]] if row[column].best}  # type: ignore[union-attr]
    assert best == {"ood_acc", "groups/acc", "groups/worst_group_acc", "groups/group_mean_acc", "ood/acc"}
    assert not any(cell.best for cell in content.table["a"].values() if cell is not None)


def test_the_paired_bootstrap_marks_what_intervals_alone_would_not(tmp_path: Path) -> None:
    """1000 samples, 90 % and 88.5 % right, and the second right on nothing that the first misses."""
    runs = []
    group = [0] * 1000
    for name, hits in (("a", 900), ("b", 885)):
        run = fake.write_run(tmp_path / name, {"id": fake.eval_set({"all": (hits, 1000)})})
        runs.append(run)
    assert not any(cell.best for row in gather(find_runs(runs)).table.values() for cell in row.values() if cell)
    for run, hits in zip(runs, (900, 885), strict=True):
        fake.write_samples(run, "id", [at < hits for at in range(1000)], group)
    found = find_runs(runs)
    table = gather(found).table
    assert table["a"]["id/acc"].best  # type: ignore[union-attr]
    (pair,) = disagreements(found)
    assert (pair.both, pair.first_only, pair.second_only, pair.neither) == (885, 15, 0, 100)
    assert pair.difference.value == pytest.approx(0.015)
    assert pair.difference.sign == 1
    assert set(pair.indices) <= set(range(885, 900))
    assert pair.indices[0] == 899, "the surest mistake first"


def test_samples_of_other_data_are_not_compared(tmp_path: Path) -> None:
    for name, n in (("a", 10), ("b", 12)):
        run = fake.write_run(tmp_path / name, {"id": fake.eval_set({"all": (n, n)})})
        fake.write_samples(run, "id", [True] * n, [0] * n)
    assert disagreements(find_runs([tmp_path])) == []


def test_several_seeds_widen_the_interval_by_hand(tmp_path: Path) -> None:
    for seed, right in enumerate((880, 900, 920)):
        fake.write_run(tmp_path / "m" / f"seed-{seed}", {"id": fake.eval_set({"all": (right, 1000)})}, seed)
    runs = find_runs([tmp_path])
    assert {run.method for run in runs} == {"m"}
    cell = cell_of(runs, "id/acc")
    assert cell is not None
    assert cell.interval is not None
    assert (cell.value, cell.spread) == pytest.approx((0.9, 0.02))
    seeds = 4.30265 * 0.02 / 3**0.5  # Student's quantile, 2 degrees of freedom
    below = [run.sets["id"].metrics["acc"] - interval_of(run, "id/acc")[0] for run in runs]  # type: ignore[index,operator]
    assert cell.interval[0] == pytest.approx(0.9 - (seeds**2 + (sum(below) / 3) ** 2) ** 0.5, abs=1e-6)
    assert table_of({"m": runs}, ["id/acc"])["m"]["id/acc"].best is False  # type: ignore[union-attr]


def test_effective_robustness_by_hand() -> None:
    """Logit .5 = 0, logit .8 = log 4, logit .2 = -log 4: the line through (.5, .5) and (.8, .2) has the slope -1."""
    line = fit_line([(0.5, 0.5), (0.8, 0.2)])
    assert (line.slope, line.offset) == pytest.approx((-1, 0), abs=1e-9)
    assert line.effective_robustness(0.9, 0.3) == pytest.approx(0.2)
    assert fit_line([(1.0, 1.0), (0.5, 0.5)]).effective_robustness(1.0, 1.0) == pytest.approx(1e-4), (
        "0 and 1 are kept off"
    )


def test_results_of_the_first_schema_are_read_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fake.write_run(tmp_path / "old", sets(900, 700, FOUR))
    held = json.loads((run / "results.json").read_text())
    held["schema_version"] = 1
    for one in held["eval_sets"].values():
        del one["ci95"], one["adjusted_weights"], one["n"]
        one["metrics"]["worst_region_acc"] = float("nan")
    (run / "results.json").write_text(json.dumps(held))
    (found,) = find_runs([run])
    assert found.problems == []
    assert interval_of(found, "id/acc") == pytest.approx(held["eval_sets"]["id"]["groups"][0]["ci95"])
    assert found.sets["id"].metrics["worst_region_acc"] is None
    page = tmp_path / "old.html"
    assert main(["report", str(run), "--out", str(page)]) == 0
    told = "results.json is of an earlier starft (schema 1), which told fewer numbers"
    assert f"Note: of 1 run (old first) {told}." in capsys.readouterr().err
    assert f"whole; {told}" in page.read_text(encoding="utf-8")


# --- formats and mistakes ---------------------------------------------------------------------------------------------


def test_csv(out: Path, tmp_path: Path) -> None:
    target = tmp_path / "t.csv"
    assert main(["report", str(out / "ce"), "--out", str(target)]) == 0
    rows = {row["metric"]: row for row in csv.DictReader(target.read_text(encoding="utf-8").splitlines())}
    assert float(rows["id/acc"]["value"]) == pytest.approx(0.91)
    assert (rows["id/acc"]["method"], rows["id/acc"]["runs"], rows["id/acc"]["best"]) == ("ce", "2", "0")
    assert float(rows["id/acc"]["ci95_low"]) < 0.9


def test_markdown_and_latex_show_names_as_text(out: Path, tmp_path: Path) -> None:
    runs = [str(out / IN_A_PATH), str(out / "broken")]
    assert main(["report", *runs, "--out", str(tmp_path / "t.md")]) == 0
    told = (tmp_path / "t.md").read_text(encoding="utf-8")
    assert r"Best in OOD accuracy: &lt;script&gt;" in told
    lines = [line for line in told.splitlines() if line.startswith("|")]
    assert r"&lt;script&gt;alert(\"1\")&lt;\|script&gt;".replace(r"\"", '"') in lines[2] + lines[3]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines[:4]} == {len(re.findall(r"\|", lines[0]))}
    assert any("**80.0** (77.4–82.4)" in line for line in lines), "Wilson's limits of 800 of 1000"
    assert main(["report", *runs, "--format", "latex", "--out", str(tmp_path / "t")]) == 0
    told = (tmp_path / "t").read_text(encoding="utf-8")
    assert r"\& \$x\$ \{\{ 7 * 7 \}\}" in told
    assert r"\textbf{80.0} (77.4--82.4)" in told


def test_out_may_be_standard_output_or_is_told(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = str(out / "ce")
    assert main(["report", runs, "--format", "md"]) == 0
    assert capsys.readouterr().out == "Report of 2 runs: report.md\n"
    for words in (["--out", "-"], ["--out=-", "--format=md"]):
        assert main(["report", runs, *words]) == 0
        assert capsys.readouterr().out == (tmp_path / "report.md").read_text(encoding="utf-8")
    assert main(["report", runs, "--format", "csv", "--out", "-"]) == 0
    assert capsys.readouterr().out.startswith("method,runs,metric,value")
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]


@pytest.mark.slow
def test_png(out: Path, tmp_path: Path) -> None:
    assert main(["report", str(out), "--out", str(tmp_path / "t.png")]) == 0
    with Image.open(tmp_path / "t.png") as image:
        assert min(image.size) > 300


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["{none}"], "none doesn't exist; give a run folder"),
        (["{out}/other/results.json"], "results.json is a file; give the folder of its run, .*/other[.]$"),
        (["{empty}"], "No run was found in .*empty; give a folder with"),
        (["{out}/cut", "--format", "md"], "None of the runs was tested"),
        (["{out}", "--out", "{empty}/x.doc"], "x.doc tells no format; give --format"),
        (["{out}", "--out", "{none}/x.html"], "The folder of --out .* doesn't exist"),
        (["{out}", "--format", "html", "--out", "{empty}"], "is a folder; give a file"),
        (["{out}", "--baseline", "{out}/other", "--out", "{empty}/x.html"], "at least two different ID accuracies"),
        (["{out}", "--format", "pdf"], "pdf"),
    ],
)
def test_a_mistake_is_one_sentence(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    (tmp_path / "empty").mkdir()
    filled = [word.format(out=out, none=tmp_path / "none", empty=tmp_path / "empty") for word in words]
    assert main(["report", *filled]) == 2
    told = capsys.readouterr().err
    assert re.search(sentence, told)
    assert len(told.strip().splitlines()) == 1


@pytest.mark.slow
def test_one_run_and_no_torch(out: Path, tmp_path: Path) -> None:
    target = tmp_path / "one.html"
    code = (
        "import sys; from starft.__main__ import main; "
        f"assert main(['report', {str(out / 'other')!r}, '--out', {str(target)!r}]) == 0; "
        "assert 'torch' not in sys.modules and 'lightning' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = " ".join(Page(target.read_text(encoding="utf-8")).text.split())
    assert "1 run in 1 tested method" in text
    assert "★" not in text, "nothing is compared"
    assert 'class="best"' not in target.read_text(encoding="utf-8"), "one method alone is not the best"
