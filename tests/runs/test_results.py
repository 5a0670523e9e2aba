"""results.json and predictions.csv: against counts by hand, published intervals, and a loop over open_clip."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from sklearn.metrics import f1_score
from statsmodels.stats.proportion import proportion_confint
from torch import nn
from torch.nn import functional as F

from starft import __version__
from starft.__main__ import main
from starft.clip import build_clip
from starft.mini import MiniWorld
from starft.runs.environment import git_commit
from starft.runs.results_writer import SCHEMA, write_results
from starft.runs.samples import read_samples
from starft.types import EvalSet

CONFIG = Path(__file__).parents[2] / "lightning_configs" / "mini" / "zeroshot.yaml"
SCHEMA_HELD = json.loads(SCHEMA.read_text(encoding="utf-8"))
COST = {"seconds": 3.5, "peak_memory_bytes": 1000}
SIZES = {"id": 24, "ood": 24, "style": 24, "groups": 48}


@dataclass
class Counted:
    name: str
    correct: int
    total: int


def test_images_with_and_without_the_usual_attribute(tmp_path: Path) -> None:
    names = ("a, lake", "a, forest", "b, lake", "b, forest")
    pairs = EvalSet("id", ("a", "b"), ("{}",), names, group_weights=(0.4, 0.1, 0.25, 0.25), num_attributes=2)
    metrics = {"test/id/acc": torch.tensor(0.6), "test/id/typical_acc": torch.tensor(0.8)}
    metrics |= {"test/id/atypical_acc": torch.tensor(0.0)}
    counts = [Counted(names[0], 8, 10), Counted(names[1], 0, 10), *(Counted(name, 1, 1) for name in names[2:])]
    path = write_results(tmp_path, {}, metrics, [pairs], {"id": counts}, COST, {})
    results = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.validate(results, SCHEMA_HELD)
    assert [group["typical"] for group in results["eval_sets"]["id"]["groups"]] == [True, False, None, None]
    intervals = results["eval_sets"]["id"]["ci95"]
    assert intervals["typical_acc"] == pytest.approx([0.4902, 0.9433], abs=5e-5)
    assert intervals["atypical_acc"] == pytest.approx([0.0, 0.2775], abs=5e-5)


def test_results_by_hand(tmp_path: Path) -> None:
    sets = [
        EvalSet("id", ("a", "b"), ("{}",)),
        EvalSet("groups", ("a", "b"), ("{}",), group_names=("a on land", "a on water"), ood=True),
    ]
    metrics = {
        "test/id/acc": torch.tensor(0.5),
        "test/groups/acc": torch.tensor(0.75),
        "test/groups/worst_group_acc": torch.tensor(0.25),
        "test/groups_of_another/acc": torch.tensor(0.1),
        "test/ood_acc": torch.tensor(0.75),
        "val/id/acc": torch.tensor(0.2),
    }
    groups = {"id": [Counted("all", 2, 4)], "groups": [Counted("a on land", 8, 10), Counted("a on water", 0, 0)]}
    training = {"seconds": 12.5, "peak_memory_bytes": 2000, "peak_gpu_memory_bytes": 0}
    config = {"seed_everything": 5, "model": {"lr": 0.1}}
    path = write_results(tmp_path, config, metrics, sets, groups, COST, training)
    assert path == tmp_path / "results.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    assert list(found) == [
        "schema_version",
        "config",
        "seed",
        "git_commit",
        "versions",
        "hardware",
        "seconds",
        "peak_memory_bytes",
        "training",
        "intervals",
        "ood_acc",
        "eval_sets",
    ]
    assert (found["schema_version"], found["seed"], found["ood_acc"]) == (2, 5, 0.75)
    jsonschema.validate(found, SCHEMA_HELD)
    assert found["config"] == {"seed_everything": 5, "model": {"lr": 0.1}}
    assert found["versions"]["starft"] == __version__
    assert found["versions"]["torch"] == version("torch")
    assert found["hardware"]["torch_threads"] == torch.get_num_threads()
    assert (found["seconds"], found["peak_memory_bytes"]) == (3.5, 1000)
    assert found["training"] == training
    half = pytest.approx([0.15004, 0.84996], abs=1e-5)
    assert found["eval_sets"]["id"] == {
        "ood": False,
        "n": 4,
        "metrics": {"acc": 0.5},
        "ci95": {"acc": half},
        "adjusted_weights": None,
        "groups": [{"name": "all", "n": 4, "correct": 2, "acc": 0.5, "ci95": half}],
    }
    eight = pytest.approx([0.4902, 0.9433], abs=5e-5)
    assert found["eval_sets"]["groups"] == {
        "ood": True,
        "n": 10,
        "metrics": {"acc": 0.75, "worst_group_acc": 0.25},
        "ci95": {"acc": eight, "worst_group_acc": eight},  # one group was seen, so the worst one's is its own
        "adjusted_weights": None,
        "groups": [
            {"name": "a on land", "n": 10, "correct": 8, "acc": 0.8, "ci95": eight},
            {"name": "a on water", "n": 0, "correct": 0, "acc": None, "ci95": None},
        ],
    }


def test_the_weights_of_adjusted_accuracy_are_named_and_what_nothing_was_seen_of_is_null(tmp_path: Path) -> None:
    one = EvalSet("birds", ("a", "b"), ("{}",), ("a on land", "a on water"), group_weights=(3.0, 1.0))
    metrics = {
        "test/birds/acc": torch.tensor(0.5),
        "test/birds/adjusted_acc": torch.tensor(0.5),
        "test/birds/worst_region_acc": torch.tensor(float("nan")),
    }
    counts = [Counted("a on land", 5, 10), Counted("a on water", 5, 10)]
    found = json.loads(
        write_results(tmp_path, {}, metrics, [one], {"birds": counts}, COST, None).read_text(encoding="utf-8")
    )
    jsonschema.validate(found, SCHEMA_HELD)
    birds = found["eval_sets"]["birds"]
    assert birds["adjusted_weights"] == {"of": "training set", "shares": {"a on land": 0.75, "a on water": 0.25}}
    assert birds["metrics"]["worst_region_acc"] is None
    assert birds["ci95"].keys() == {"acc", "adjusted_acc"}


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("schema_version",), 1),
        (("eval_sets", "id", "metrics", "acc"), 1.5),
        (("eval_sets", "id", "ci95"), {"acc": [0.1]}),
        (("eval_sets", "id", "groups", 0, "n"), -1),
        (("ood_acc",), "0.5"),
        (("surplus",), 1),
    ],
)
def test_the_schema_refuses_what_is_wrong(tmp_path: Path, where: tuple[str | int, ...], value: Any) -> None:
    sets = [EvalSet("id", ("a", "b"), ("{}",))]
    counts = {"id": [Counted("all", 1, 2)]}
    path = write_results(tmp_path, {}, {"test/id/acc": torch.tensor(0.5)}, sets, counts, COST, None)
    found = json.loads(path.read_text(encoding="utf-8"))
    jsonschema.validate(found, SCHEMA_HELD)
    place = found
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found, SCHEMA_HELD)


def test_no_ood_set_no_ood_accuracy(tmp_path: Path) -> None:
    sets = [EvalSet("id", ("a", "b"), ("{}",))]
    counts = {"id": [Counted("all", 1, 2)]}
    path = write_results(tmp_path, {}, {"test/id/acc": torch.tensor(0.5)}, sets, counts, COST, None)
    found = json.loads(path.read_text(encoding="utf-8"))
    assert found["ood_acc"] is None
    assert found["seed"] is None
    assert found["training"] is None


def test_the_commit_of_a_folder_outside_of_git_is_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    assert git_commit() is None


def test_no_git_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit() is None


# `starft test` and `starft predict`


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny ``starft test`` and ``starft predict`` of the zero-shot model."""
    folder = tmp_path_factory.mktemp("run")
    options = [
        f"--config={CONFIG}",
        "--data.init_args.train_size=24",
        "--data.init_args.test_size=24",
        "--data.init_args.eval_batch_size=10",
        "--seed_everything=4",
        "--trainer.enable_progress_bar=false",
        f"--trainer.default_root_dir={folder}",
    ]
    assert main(["test", *options, "--save_samples=npz"]) == 0
    assert main(["predict", *options]) == 0
    return folder


@pytest.fixture(scope="module")
def expected() -> dict[str, list[tuple[int, int, int]]]:
    """For each set, its pictures' (prediction, label, group), one by one through open_clip alone."""
    model: nn.Module = build_clip("starft-mini", "mini").model
    tokenize = open_clip.get_tokenizer("starft-mini")
    data = MiniWorld(train_size=24, test_size=24)
    data.setup("test")
    found = {}
    for eval_set, rows in zip(data.test_sets, data.test_data, strict=True):
        with torch.no_grad():
            texts = model.encode_text(tokenize([f"a photo of a {name}." for name in eval_set.class_names]))
            head = F.normalize(texts, dim=-1)
            found[eval_set.name] = [
                (
                    int((F.normalize(model.encode_image(row["image"][None]), dim=-1) @ head.T).argmax()),
                    int(row["label"]),
                    int(row.get("group", torch.tensor(0))),
                )
                for row in (rows[index] for index in range(len(rows)))
            ]
    return found


def share(rows: Sequence[tuple[int, int, int]]) -> float:
    return sum(prediction == label for prediction, label, _ in rows) / len(rows)


@pytest.mark.slow
def test_results_of_a_run(run: Path, expected: dict[str, list[tuple[int, int, int]]]) -> None:
    found = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert found["seed"] == 4
    assert found["config"]["data"]["init_args"]["test_size"] == 24
    assert found["config"]["model"]["seed"] == 4
    assert {name: len(rows) for name, rows in expected.items()} == SIZES
    assert list(found["eval_sets"]) == list(SIZES)
    for name, rows in expected.items():
        assert found["eval_sets"][name]["metrics"]["acc"] == pytest.approx(share(rows), abs=1e-6)
        assert sum(group["n"] for group in found["eval_sets"][name]["groups"]) == SIZES[name]
    assert found["ood_acc"] == pytest.approx((share(expected["ood"]) + share(expected["style"])) / 2, abs=1e-6)

    by_group: list[list[tuple[int, int, int]]] = [[], [], [], []]
    for row in expected["groups"]:
        by_group[row[2]].append(row)
    groups = found["eval_sets"]["groups"]
    names = ["landbird on land", "landbird on water", "waterbird on land", "waterbird on water"]
    assert [group["name"] for group in groups["groups"]] == names
    assert [group["n"] for group in groups["groups"]] == [len(rows) for rows in by_group] == [12] * 4
    accuracies = [share(rows) for rows in by_group]
    assert [group["acc"] for group in groups["groups"]] == pytest.approx(accuracies)
    assert groups["metrics"]["worst_group_acc"] == pytest.approx(min(accuracies), abs=1e-6)
    assert groups["metrics"]["group_mean_acc"] == pytest.approx(sum(accuracies) / 4, abs=1e-6)
    for group in groups["groups"]:
        low, high = group["ci95"]
        assert 0 <= low <= group["acc"] <= high <= 1


@pytest.mark.slow
def test_samples_of_a_run_and_the_scores_made_of_them(
    run: Path, expected: dict[str, list[tuple[int, int, int]]]
) -> None:
    found = json.loads((run / "results.json").read_text(encoding="utf-8"))
    jsonschema.validate(found, SCHEMA_HELD)
    table = read_samples(run)
    assert table is not None
    for at, (name, rows) in enumerate(expected.items()):
        mine = table.of_set(name)
        assert mine["index"].tolist() == list(range(len(rows)))
        assert list(zip(mine["prediction"], mine["label"], mine["group"], strict=True)) == rows
        assert mine["right"].tolist() == [prediction == label for prediction, label, _ in rows]
        metrics = found["eval_sets"][name]["metrics"]
        f1 = f1_score(mine["label"], mine["prediction"], labels=np.unique(mine["label"]), average="macro")
        assert metrics["macro_f1"] == pytest.approx(f1, abs=1e-6)
        assert ("top5_acc" in metrics) is (name != "groups"), "two kinds of bird have no five likeliest"
        assert {"acc", "macro_f1"} <= found["eval_sets"][name]["ci95"].keys()
        low, high = found["eval_sets"][name]["ci95"]["acc"]
        told = proportion_confint(mine["right"].sum(), len(rows), method="wilson")
        assert (low, high) == pytest.approx(told, abs=1e-9)
        wrong = mine.rows(~mine["right"])
        kept = {path.name for path in (run / "samples").glob(f"{at}-*.jpg")}
        assert kept <= {f"{at}-{index}.jpg" for index in wrong["index"]}
        assert kept or not len(wrong)
    picture = next((run / "samples").glob("2-*.jpg"))  # sketches are on pale paper
    assert np.asarray(Image.open(picture)).mean() > 150


@pytest.mark.slow
def test_a_run_is_reported(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    assert main(["report", str(run), "--out", str(out)]) == 0
    page = out.read_text(encoding="utf-8")
    assert "Surest mistakes" in page
    assert "data:image/jpeg;base64," in page


@pytest.mark.slow
def test_predictions_of_a_run(run: Path, expected: dict[str, list[tuple[int, int, int]]]) -> None:
    with (run / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "label", "probability", "set", "index", "label_index"]
    order = [(name, index) for name, size in SIZES.items() for index in range(size)]
    assert [(row["set"], int(row["index"])) for row in rows] == order, "one row an image, in order"
    predictions = [prediction for name in SIZES for prediction, _, _ in expected[name]]
    assert [int(row["label_index"]) for row in rows] == predictions
    names = {eval_set.name: eval_set.class_names for eval_set in MiniWorld().test_sets}
    assert all(row["label"] == names[row["set"]][int(row["label_index"])] for row in rows)
    assert all(1 / len(names[row["set"]]) - 1e-6 <= float(row["probability"]) <= 1 for row in rows)
