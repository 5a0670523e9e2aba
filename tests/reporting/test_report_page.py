"""What a reader sees of the report: one run, many, those without a test; small figures; what repeats a run."""

import json
import re
from pathlib import Path

import pytest
import yaml

from fakes import run_folders as fake
from starft.cli.fit import check_command
from starft.cli.report import gather
from starft.reporting.figures import LARGEST_SVG, curves
from starft.reporting.methods import names_of
from starft.reporting.page import html_page
from starft.runs.run_reader import Run, find_runs, shortened

COUNTS = dict(zip(fake.GROUPS, [(90, 100), (80, 100), (60, 100), (95, 1000)], strict=True))


def sets(ood_right: int = 700) -> dict[str, dict[str, object]]:
    """Return an ID, an OOD and a group set."""
    return {
        "groups": fake.eval_set(COUNTS),
        "id": fake.eval_set({"all": (900, 1000)}),
        "ood": fake.eval_set({"all": (ood_right, 1000)}, ood=True),
    }


def page_of(*folders: Path) -> str:
    return html_page(gather(find_runs(folders)))


def section(page: str, name: str) -> str:
    """Return what stands under a heading."""
    return page.split(f'<h2 id="{name}">')[1].split("<h2", 1)[0].split("</h2>", 1)[1]


def plain(markup: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", markup).replace("&nbsp;", " ").split())


def test_of_one_run_nothing_is_compared_and_no_section_is_empty(tmp_path: Path) -> None:
    page = page_of(fake.write_run(tmp_path / "only", sets(), steps=20))
    names = re.findall(r'<h2 id="([\w-]+)"', page)
    assert names == ["methods", "groups", "curves", "runs", "repeat"]
    assert all(plain(section(page, name)) for name in names)
    assert re.findall(r'href="#([\w-]+)"', page.split("</nav>")[0]) == names
    body = page.split("</style>")[1]
    for word in ("★", "several runs", "standard deviation", "baseline", 'class="legend"', "<th>runs</th>"):
        assert word not in body


def test_of_several_runs_the_comparison_is_explained(tmp_path: Path) -> None:
    for seed in (0, 1):
        fake.write_run(tmp_path / "a" / f"seed-{seed}", sets(), seed=seed)
    fake.write_run(tmp_path / "b", sets(650))
    page = page_of(tmp_path)
    told = plain(section(page, "methods"))
    assert "★ marks the best" in told
    assert "standard deviation" in told
    assert plain(section(page, "robustness")).startswith("● a ■ b")


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 60])
def test_every_metric_has_a_small_figure_of_its_own(tmp_path: Path, count: int) -> None:
    runs = [fake.write_run(tmp_path / f"run{at}", sets(), steps=300) for at in range(count)]
    told = section(page_of(*runs), "curves")
    figures = re.findall(r"<figure><figcaption>(.*?)</figcaption>(.*?)</figure>", told, re.DOTALL)
    assert [name for name, _ in figures] == ["train/loss", "train/spuriosity_alignment", "val/id/acc"]
    for _, figure in figures:
        assert figure.count("<svg") == 1, "a drawing, however many lines it has"
        assert len(figure) < LARGEST_SVG


def test_a_run_without_a_test_has_a_color_of_its_own(tmp_path: Path) -> None:
    fake.write_run(tmp_path / "tested", sets(), steps=5)
    (fake.write_run(tmp_path / "untested", sets(), steps=5) / "results.json").unlink()
    told = section(page_of(tmp_path), "curves")
    assert "● tested ■ untested" in plain(told)
    assert {"#4477aa", "#ee6677"} <= set(re.findall(r"stroke: (#\w{6})", told))


def test_groups_are_headings_over_their_bars(tmp_path: Path) -> None:
    for name in ("a", "b"):
        fake.write_run(tmp_path / name, sets())
    told = section(page_of(tmp_path), "groups")
    heads = [plain(head) for head in re.findall(r"<th colspan.*?</th>", told)]
    assert heads == [
        "waterbird on water 1,000 images",
        "waterbird on land 100 images",
        "landbird on water 100 images",
        "landbird on land 100 images",
    ], "the worst first"
    assert told.count('<td class="bar"><svg') == 8


@pytest.mark.parametrize(("methods", "folded"), [(20, False), (21, True)])
def test_many_bars_are_folded_but_those_of_the_worst_group(tmp_path: Path, methods: int, folded: bool) -> None:
    for at in range(methods):
        fake.write_run(tmp_path / f"m{at}", sets())
    told = section(page_of(tmp_path), "groups")
    assert told.count('<td class="bar"><svg') == 4 * methods
    before = told.split("<details>")[0]
    assert before.count('<td class="bar"><svg') == (methods if folded else 4 * methods)
    assert ("3 more groups" in told) == folded


def test_samples_without_a_picture_are_told_in_words(tmp_path: Path) -> None:
    for name, wrong in (("a", {3}), ("b", {7})):
        run = fake.write_run(tmp_path / name, {"id": fake.eval_set({"all": (9, 10)})})
        fake.write_samples(run, "id", [at not in wrong for at in range(10)], [0] * 10, picture_of=[3])
    told = section(page_of(tmp_path), "disagreements")
    assert told.count("<img") == 1
    assert "landbird: first waterbird , second landbird image 3 of “id”" in plain(told)
    assert "Without a picture: landbird: first landbird , second waterbird image 7 of “id” ." in plain(told)


def test_a_baseline_is_taken_from_its_method_whatever_their_names(tmp_path: Path) -> None:
    for name, config in (("a", {"ckpt_path": None}), ("b", {})):
        run = fake.write_run(tmp_path / name, {"id": fake.eval_set({"all": (9, 10)})}, **config)
        fake.write_samples(run, "id", [at != 3 for at in range(10)], [0] * 10)
    page = page_of(tmp_path)
    assert "b − a (first − second)" in plain(section(page, "disagreements"))
    assert "nothing trained" in plain(section(page, "runs"))


def test_a_page_begins_with_its_verdict_and_what_its_words_mean(tmp_path: Path) -> None:
    page = page_of(fake.write_run(tmp_path / "only", sets()))
    told = plain(page.split('<section class="verdict"')[1].split("</section>")[0])
    assert "only reaches 90.0 % ID accuracy (88.0 to 91.7), 70.0 % OOD accuracy" in told
    assert f"Add a zero-shot run: starft test --config {tmp_path}/only/config.yaml --trainer" in told
    assert "OOD accuracy: of “ood”; worst-group accuracy: of “groups”." in told
    assert page.index('class="verdict"') < page.index('<h2 id="methods"')
    assert "ECE: expected calibration error" in plain(section(page, "methods"))
    empty = tmp_path / "untested" / "config.yaml"
    empty.parent.mkdir()
    empty.write_text("{}")
    assert 'class="verdict"' not in page_of(empty.parent)


def test_all_phrases_of_a_pool_can_be_shown(tmp_path: Path) -> None:
    pool = {**fake.POOL, "templates": [f"{{}} at place {at}" for at in range(75)]}
    pool["per_class"] = {"duck": [f"{{}} with {at}" for at in range(9)]}
    told = section(page_of(fake.write_run(tmp_path / "run", sets(), pool=pool)), "pools")
    before, folded = told.split("<details>", 1)
    assert "<li>" not in before, "folded"
    assert "<summary>show all 75 phrases</summary><ol>" in folded
    assert all(f"at place {at}<" in told.replace("\n", "") for at in range(75))
    assert "{} with 8" in folded


def test_axes_have_units(tmp_path: Path) -> None:
    """Validation accuracies are drawn in %: the only value, 0.9, stands at 90."""
    (val,) = (
        figure.axes[0]
        for name, figure in curves(find_runs([fake.write_run(tmp_path / "run", sets(), steps=5)]), {"run": 0})
        if name == "val/id/acc"
    )
    assert (val.get_xlabel(), val.get_ylabel()) == ("training step", "%")
    assert val.lines[0].get_ydata()[0] == 90  # type: ignore[index]


def test_paths_are_told_from_the_folder_the_report_was_made_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert shortened(tmp_path / "runs" / "one.jpg") == "runs/one.jpg"
    assert shortened(Path("runs/one.jpg")) == "runs/one.jpg"
    assert shortened(tmp_path.parent / "one.jpg") == str(tmp_path.parent / "one.jpg")
    fake.write_run(tmp_path / "runs" / "one", sets())
    assert "starft fit --config runs/one/config.yaml" in re.sub(r"<.*?>", "", page_of(tmp_path / "runs" / "one"))


def test_names_of_runs_are_told_method_by_method() -> None:
    names = ["ce/seed-0", "ce/seed-1", "flyp/seed-0", "other"]
    assert names_of([Run(Path(name), name) for name in names]) == ["ce (2 runs)", "flyp/seed-0", "other"]


def test_a_test_without_training_is_repeated_from_what_results_json_holds(tmp_path: Path) -> None:
    run = fake.write_run(tmp_path / "zero", sets(), ckpt_path=None)
    held = json.loads((run / "results.json").read_text())["config"]
    (run / "config.yaml").unlink()
    told = section(page_of(run), "repeat")
    assert "starft test --config config.yaml --trainer.default_root_dir NEW_FOLDER" in re.sub(r"<.*?>", "", told)
    assert "starft fit" not in told
    (config,) = re.findall(r'<details class="long">.*?<pre>(.*?)</pre>', told, re.DOTALL)
    assert yaml.safe_load(config) == held
    (run / "config.yaml").write_text(config)
    check_command(["test", "--config", str(run / "config.yaml")])  # the command takes it
