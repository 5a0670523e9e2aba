"""The page: the answer first, groups as maps and all within reach, classes and confusions, long lists folded."""

import re
from pathlib import Path

import numpy as np
import pytest

from fakes import run_folders as fake
from starft.cli.report import gather
from starft.mini.splits import SPECIES_TASK
from starft.reporting.heat_maps import LARGEST_MATRIX, classes_of, group_maps, split_names
from starft.reporting.methods import by_method
from starft.reporting.page import html_page
from starft.runs.run_reader import find_runs

WATERBIRDS = dict(zip(fake.GROUPS, [(90, 100), (40, 80), (60, 120), (45, 50)], strict=True))
SHARES = dict(zip(fake.GROUPS, [0.7, 0.05, 0.05, 0.2], strict=True))


def page_of(*folders: Path) -> str:
    return html_page(gather(find_runs(folders)))


def plain(markup: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", markup.replace("<wbr>", "")).replace("&nbsp;", " ").split())


def weighted(groups: dict[str, tuple[int, int]] = WATERBIRDS, shares: dict[str, float] = SHARES) -> dict[str, object]:
    held = fake.eval_set(groups)
    held["adjusted_weights"] = {"of": "training set", "shares": shares}
    return held


@pytest.mark.parametrize(
    ("names", "classes", "attributes"),
    [
        (fake.GROUPS, ("landbird", "waterbird"), ("land", "water")),
        (("no hair, f", "no hair, m", "hair, f", "hair, m"), ("no hair", "hair"), ("f", "m")),
        (("a, x y", "a, x z", "b, x y", "b, x z"), ("a", "b"), ("x y", "x z")),
        (("duck away", "duck at home", "owl away", "owl at home"), ("duck", "owl"), ("away", "at home")),
        (("a, on", "a, off", "a, dim", "b, on", "b, off", "b, dim"), ("a", "b"), ("on", "off", "dim")),
        (("Asia", "Europe", "Africa", "Oceania"), None, None),
        (("all",), None, None),
        (("a 1", "b 1", "a 2", "b 2"), None, None),
        ((), None, None),
    ],
)  # fmt: skip
def test_names_of_groups_are_split(
    names: tuple[str, ...], classes: tuple[str, ...] | None, attributes: tuple[str, ...] | None
) -> None:
    assert split_names(names) == (None if classes is None else (classes, attributes))


def test_the_groups_of_the_embedded_world_are_split() -> None:
    split = split_names(SPECIES_TASK.home_groups)
    assert split is not None
    assert len(split[0]) == 12
    assert split[1] == ("away", "at home")


def test_a_map_has_the_mean_over_runs_and_marks_what_is_usual(tmp_path: Path) -> None:
    for seed, right in enumerate((90, 70)):
        counts = {**WATERBIRDS, fake.GROUPS[0]: (right, 100)}
        fake.write_run(tmp_path / "a" / f"seed-{seed}", {"g": weighted(counts)}, seed=seed)
    (only,) = group_maps(by_method(find_runs([tmp_path])), "g")
    assert only.attributes == ("land", "water")
    assert [name for name, _ in only.rows] == ["landbird", "waterbird"]
    cells = [cell for _, row in only.rows for cell in row]
    assert [cell.acc for cell in cells] == pytest.approx([0.8, 0.5, 0.5, 0.9])
    assert [cell.n for cell in cells] == [100, 80, 120, 50]
    assert [cell.usual for cell in cells] == [True, False, False, True]
    page = page_of(tmp_path)
    assert page.count('class="usual"') == 2
    assert "class land water landbird 80.0 100 50.0 80 waterbird 50.0 120 90.0 50" in plain(page)


def test_without_shares_of_training_nothing_is_marked(tmp_path: Path) -> None:
    page = page_of(fake.write_run(tmp_path / "a", {"g": fake.eval_set(WATERBIRDS)}))
    assert 'class="heat"' in page
    assert 'class="usual"' not in page
    assert "◆ marks" not in page


def test_all_groups_can_be_reached(tmp_path: Path) -> None:
    groups = {f"kind_{at} in region {at}": (at, 40) for at in range(40)}
    page = page_of(fake.write_run(tmp_path / "a", {"g": fake.eval_set(groups)}))
    bars = page.split('<table class="groups">')
    assert len(bars) == 3
    assert bars[1].count('class="bar"') == 12
    assert bars[2].count('class="bar"') == 28
    assert "28 more groups" in page
    assert 'class="heat"' not in page, "names that aren't of classes and attributes"
    assert "table.groups { width: 100%; }" in page


def test_names_may_break_at_underscores_wherever_they_stand(tmp_path: Path) -> None:
    names = ("Black_footed_Albatross", "Laysan_Albatross")
    groups = {f"{name} on {where}": (8, 10) for name in names for where in ("dry_land", "water")}
    run = fake.write_run(tmp_path / "a", {"g": weighted(groups, dict.fromkeys(groups, 0.25))})
    fake.write_samples(run, "g", [at % 5 != 0 for at in range(40)], [at % 4 for at in range(40)], names, list(groups))
    body = page_of(run).split("<body>")[1]
    assert "Black_<wbr>footed_<wbr>Albatross" in body
    assert "Black_footed" not in re.sub(r"<pre>.*?</pre>", "", body, flags=re.DOTALL)


def test_the_answer_comes_first_and_long_lists_are_folded(tmp_path: Path) -> None:
    pool = {**fake.POOL, "templates": [f"{{}} at place {at}" for at in range(55)]}
    body = page_of(fake.write_run(tmp_path / "a", {"g": weighted()}, pool=pool)).split("<body>")[1]
    assert body.index('class="verdict"') < body.index("1 run in") < body.index("<table")
    unfolded = re.sub(r"<details>.*?</details>", "", body, flags=re.DOTALL)
    assert "at place" not in unfolded
    assert "landbird on land 70.0 %" not in unfolded
    assert "at place 54" in body
    assert "landbird on land 70.0 %" in plain(body)


def test_a_set_without_groups_has_no_worst_group(tmp_path: Path) -> None:
    run = fake.write_run(tmp_path / "a", {"id": fake.eval_set({"all": (9, 10)})})
    fake.write_samples(run, "id", [at != 3 for at in range(10)], [0] * 10, group_names=["all"], picture_of=[3])
    told = plain(page_of(run).split("</style>")[1])
    assert "Surest mistakes a: the set “id” (90.0 %)" in told
    assert "worst group" not in told
    assert ": all" not in told


def test_confusions_and_accuracy_by_class_are_counted(tmp_path: Path) -> None:
    run = fake.write_run(tmp_path / "a", {"g": fake.eval_set(WATERBIRDS)})
    fake.write_samples(run, "g", [at not in (0, 1, 2) for at in range(40)], [at % 4 for at in range(40)])
    told = classes_of(by_method(find_runs([run])), "g")
    assert told is not None
    assert told.rows == (("landbird", 20, (0.9,)), ("waterbird", 20, (0.95,)))
    (only,) = told.confusions
    assert only.counts == ((18, 2), (1, 19))
    assert only.most == (("landbird", "waterbird", 2), ("waterbird", "landbird", 1))
    page = plain(page_of(run))
    assert "landbird 18 2 waterbird 1 19" in page
    assert "landbird 20 90.0 waterbird 20 95.0" in page
    assert classes_of(by_method(find_runs([run])), "other") is None


def test_of_many_classes_the_most_frequent_confusions_are_listed(tmp_path: Path) -> None:
    many = LARGEST_MATRIX + 1
    run = fake.write_run(tmp_path / "a", {"g": fake.eval_set({"all": (many, 2 * many)})})
    fake.write_samples(run, "g", [True] * (2 * many), [0] * (2 * many), group_names=["all"])
    columns = dict(np.load(run / "samples.npz"))
    labels = np.arange(2 * many) % many
    predictions = np.where(np.arange(2 * many) < many, labels, (labels + 1) % many)
    predictions[-2:] = 0
    names = np.array([f"class {at}" for at in range(many)])
    columns |= {"label": labels, "prediction": predictions, "right": labels == predictions}
    columns |= {"label_name": names[labels], "prediction_name": names[predictions]}
    np.savez(run / "samples.npz", **columns)
    told = classes_of(by_method(find_runs([run])), "g")
    assert told is not None
    assert told.confusions[0].counts == ()
    assert len(told.confusions[0].most) == 20
    assert "class 0 class 1 1" in plain(page_of(run))
