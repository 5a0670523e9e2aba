"""The tables that a test prints, cell by cell."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from statsmodels.stats.proportion import proportion_confint

from starft.reporting.summary import chance_notes, print_results, results_tables, unseen_notes
from starft.reporting.table import Table
from starft.runs.results import legend
from starft.types import EvalSet

RESULTS: dict[str, Any] = {
    "eval_sets": {
        "id": {
            "ood": False,
            "metrics": {"acc": 0.75, "worst_group_acc": 0.5, "macro_f1": 0.613},
            "groups": [
                {"name": "boot, grass", "n": 3, "acc": 1.0, "ci95": [0.439, 1.0]},
                {"name": "boot, sand", "n": 2, "acc": 0.5, "ci95": [0.095, 0.905]},
                {"name": "sandal, sand", "n": 0, "acc": None, "ci95": None},
            ],
        },
        "sketch": {
            "ood": True,
            "metrics": {"acc": 0.5},
            "groups": [{"name": "all", "n": 4000, "acc": 0.5, "ci95": [0.48, 0.52]}],
        },
    }
}


def cells(table: Table) -> list[list[str]]:
    return [list(table.headings), *([str(cell) for cell in row] for row in table.rows)]


def test_every_number() -> None:
    sets, groups = results_tables(RESULTS)  # a set without groups has no table of them
    assert cells(sets) == [
        ["set", "n", "accuracy", "worst group", "macro F1"],
        ["id", "5", "75.0", "50.0", "61.3"],
        ["sketch (OOD)", "4,000", "50.0", "–", "–"],
    ]
    assert cells(groups) == [
        ["group", "n", "accuracy", "95 % interval"],
        ["boot, grass", "3", "100.0", "43.9–100.0"],
        ["boot, sand (worst)", "2", "50.0", "9.5–90.5"],
        ["sandal, sand", "0", "–", "–"],
    ]


def test_images_with_and_without_the_usual_attribute_stand_below_the_groups() -> None:
    results = json.loads(json.dumps(RESULTS))
    held = results["eval_sets"]["id"]
    held["metrics"] |= {"typical_acc": 1.0, "atypical_acc": 0.5}
    held["ci95"] = {"typical_acc": [0.439, 1.0], "atypical_acc": [0.095, 0.905]}
    for group, typical in zip(held["groups"], (True, False, False), strict=True):
        group["typical"] = typical
    assert cells(results_tables(results)[1])[-2:] == [
        ["with the usual attribute", "3", "100.0", "43.9–100.0"],
        ["without the usual attribute", "2", "50.0", "9.5–90.5"],
    ]


def test_worst_groups_that_tie_say_so() -> None:
    groups = [
        {"name": name, "n": 4, "acc": acc, "ci95": [0.0, 1.0]} for name, acc in (("a", 0.5), ("b", 1), ("c", 0.5))
    ]
    one = {"ood": False, "metrics": {"acc": 0.5}, "groups": groups}
    assert [row[0] for row in cells(results_tables({"eval_sets": {"id": one}})[1])[1:]] == [
        "a (worst, tied)",
        "b",
        "c (worst, tied)",
    ]


def test_headings_that_need_words_have_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"acc": 0.5, "adjusted_acc": 0.6, "text_head_acc": 0.4}
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"eval_sets": {"id": {"ood": False, "metrics": metrics, "groups": []}}}))
    print_results(path)
    told = " ".join(capsys.readouterr().out.split())
    assert (
        "adjusted: the groups' accuracies weighted by their shares of the training set; text head: accuracy of" in told
    )
    assert legend(["id/acc", "id/ece"]) == "ECE: expected calibration error, lower is better."
    assert legend(["acc", "ood_acc"]) == ""


def test_it_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(RESULTS))
    print_results(path)
    told = capsys.readouterr().out
    assert "groups of the set “id”" in told
    assert "adjusted" not in told, "what doesn't occur isn't explained"
    assert f"Numbers: {path}" in told.splitlines()[-1]


def found(right: int, n: int) -> dict[str, Any]:
    return {"eval_sets": {"id": {"ci95": {"acc": list(proportion_confint(right, n, method="wilson"))}}}}


def test_a_zero_shot_model_that_may_be_guessing_is_told() -> None:
    pair = EvalSet("id", ("boot", "sandal"), ("a {}",))
    (note,) = chance_notes(found(55, 100), [pair])
    assert note == (
        "On id the pre-trained model isn't certainly better than chance: 45.2 to 64.4 % (95 % interval), where "
        "guessing among 2 classes gives 50.0 %. What the frozen model doesn't know, StarFT can't keep; take another "
        "model or better class names."
    )
    assert len(chance_notes(found(30, 100), [pair])) == 1, "worse than chance"
    assert chance_notes(found(65, 100), [pair]) == []
    assert chance_notes(found(55, 100), []) == [], "a tuned model"
    assert chance_notes(found(55, 100), [EvalSet("id", ("boot", "sandal", "clog"), ("a {}",))]) == []
    assert len(chance_notes(found(55, 100), [replace(pair, class_names=("a", "b", "c"), merge=((0, 1), (2,)))])) == 1
    assert chance_notes(found(55, 100), [replace(pair, accepted=((0,), (0, 1)))]) == [], "chance is higher there"
    assert chance_notes({"eval_sets": {"id": {"ci95": {}}}}, [pair]) == [], "nothing was seen"


def test_the_note_follows_the_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "results.json"
    results = {name: one | {"ci95": {"acc": [0.2, 0.6]}} for name, one in RESULTS["eval_sets"].items()}
    path.write_text(json.dumps({"eval_sets": results}), encoding="utf-8")
    print_results(path, [EvalSet("sketch", ("boot", "sandal"), ("a {}",))])
    unseen, chance = capsys.readouterr().err.splitlines()
    assert unseen.startswith("Note: In the set “id” 1 of 3 groups has no image (sandal, sand): ")
    assert chance.startswith("Note: On sketch the pre-trained model isn't certainly better than chance")


def test_groups_without_an_image_are_noted() -> None:
    results = {
        "eval_sets": {
            "id": {
                "metrics": {"acc": 1.0, "worst_group_acc": 1.0},
                "groups": [
                    {"name": "boot, grass", "n": 3},
                    {"name": "boot, sand", "n": 0},
                    {"name": "clog, sand", "n": 0},
                ],
            },
            "all": {"metrics": {"acc": 1.0}, "groups": [{"name": "all", "n": 0}]},
        }
    }
    (note,) = unseen_notes(results)
    assert note.startswith("In the set “id” 2 of 3 groups have no image (boot, sand, ...): ")
