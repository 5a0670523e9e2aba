"""The model card's text, of results and configs written by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from starft import Classifier, load
from starft.exporting.card import card
from starft.exporting.origin import Origin, origin_of

MODEL: dict[str, Any] = {
    "objective": {"class_path": "starft.losses.CrossEntropy", "init_args": {"weight": 1.0, "label_smoothing": None}},
    "model_name": "ViT-B-16",
    "pretrained": "openai",
    "head": "text",
    "lr": 1e-05,
    "weight_decay": 0.1,
    "warmup_steps": 500,
    "regularizers": [
        {"class_path": "starft.losses.L2SP", "init_args": {"weight": 0.25}},
        {
            "class_path": "starft.losses.Carot",
            "init_args": {
                "cross": 0.05,
                "weight": 2.0,
                "teacher": {"class_path": "starft.losses.ExponentialAverage", "init_args": {"update_every": 500}},
            },
        },
    ],
    "freeze_text_tower": True,
    "freeze_image_blocks": 0,
}
CONFIG: dict[str, Any] = {
    "seed_everything": 3,
    "trainer": {
        "max_epochs": 10,
        "max_steps": -1,
        "accumulate_grad_batches": 1,
        "precision": "bf16-mixed",
        "callbacks": [
            {"class_path": "starft.callbacks.WeightEMA", "init_args": {"decay": 0.999}},
            {"class_path": "lightning.pytorch.callbacks.Timer"},
        ],
    },
    "model": MODEL,
    "data": {
        "class_path": "starft.data.Waterbirds",
        "init_args": {
            "root": "/home/me/secret/birds|water",
            "sampling": "group",
            "limit": None,
            "batch_size": 128,
            "num_workers": 4,
        },
    },
    "ckpt_path": "runs/one/checkpoints/last.ckpt",
}
GROUPS = [
    {"name": "duck <b>on</b> land", "n": 40, "acc": 0.9, "ci95": [0.7689, 0.9604]},
    {"name": "duck|water", "n": 8, "acc": 0.25, "ci95": [0.0716, 0.5907]},
    {"name": "unseen", "n": 0, "acc": None, "ci95": None},
]
ALL = [{"name": "all", "n": 10, "acc": 1.0, "ci95": [0.7225, 1.0]}]
RESULTS: dict[str, Any] = {
    "schema_version": 2,
    "config": CONFIG,
    "seed": 3,
    "git_commit": "abc",
    "versions": {"starft": "0.1.0", "torch": "2"},
    "training": {"seconds": 79.65},
    "ood_acc": 1.0,
    "eval_sets": {
        "id": {
            "ood": False,
            "metrics": {"acc": 0.79167, "worst_group_acc": 0.25, "ece": 0.1, "top5_acc": 0.97917},
            "ci95": {"acc": [0.6572, 0.8832], "worst_group_acc": [0.0613, 0.6001], "top5_acc": [0.8911, 0.9963]},
            "adjusted_weights": None,
            "groups": GROUPS,
        },
        "a|b": {"ood": True, "metrics": {"acc": 1.0}, "ci95": {"acc": [0.7225, 1.0]}, "groups": ALL},
    },
}


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Classifier:
    return load(checkpoint, "cpu")


@pytest.fixture(scope="module")
def linear(linear_checkpoint: Path) -> Classifier:
    return load(linear_checkpoint, "cpu")


@pytest.fixture
def last(tmp_path: Path) -> Path:
    """Where the checkpoint of a run with results and config would lie."""
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True)
    (tmp_path / "run" / "results.json").write_text(json.dumps(RESULTS), encoding="utf-8")
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(CONFIG, sort_keys=False), encoding="utf-8")
    return path


def test_results_have_intervals_and_groups(model: Classifier, last: Path) -> None:
    text = card(model, "hf", "me/birds", origin_of(last))
    table = (
        "| eval set | images | accuracy | top 5 | worst group | ECE |\n|---|---:|---:|---:|---:|---:|\n"
        "| id | 48 | 79.2 (65.7–88.3) | 97.9 (89.1–99.6) | 25.0 (6.1–60.0) | 10.0 |\n"
        "| a\\|b | 10 | 100.0 (72.2–100.0) | – | – | – |\n"
    )
    assert table in text
    assert f"{table}\nECE: expected calibration error, lower is better.\n" in text
    assert "Mean accuracy out of distribution (a\\|b): 100.0.\n" in text
    groups = (
        "### Groups of the set “id”\n\n| group | images | accuracy |\n|---|---:|---:|\n"
        "| duck &lt;b&gt;on&lt;/b&gt; land | 40 | 90.0 (76.9–96.0) |\n| duck\\|water | 8 | 25.0 (7.2–59.1) |\n"
        "| unseen | 0 | – |\n\nWorst group: duck\\|water, 25.0 (6.1–60.0).\n"
    )
    assert groups in text
    assert text.count("### Groups") == 1, "a set of one group has no table of groups"
    assert "Of one run: checkpoint last.ckpt, seed 3, commit abc, starft 0.1.0, torch 2." in text


def test_the_first_screen_says_what_it_is_how_good_and_how_to_load_it(model: Classifier, last: Path) -> None:
    text = card(model, "hf", "me/birds", origin_of(last))
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head) == {
        "library_name": "transformers",
        "pipeline_tag": "zero-shot-image-classification",
        "tags": ["clip", "starft"],
    }
    first = body.split("\n\n")[1]
    assert " from ViT-B-16 openai, for 3 class names and images of 64 x 64, scored by the zero-shot head" in first
    assert first.endswith(
        "It reaches **79.2 % accuracy on “id”, 100.0 % out of distribution, "
        "25.0 % in the worst group of “id” (8 images)**."
    )
    titles = [line for line in body.splitlines() if line.startswith("## ")]
    assert titles == ["## Use", "## Results", "## Classes", "## Training data", "## Training settings"]
    untested = card(model, "hf", "me/birds", Origin())
    assert "starft](https://arxiv.org/abs/2505.13232), for 3 class names" in untested
    assert "It reaches" not in untested


def test_of_many_groups_the_worst_are_listed(model: Classifier, tmp_path: Path) -> None:
    groups = [{"name": f"g{n}", "n": 1000, "acc": 1 - n / 1000, "ci95": None} for n in range(102)]
    held = {**RESULTS, "eval_sets": {"id": {"ood": False, "metrics": {"acc": 0.9}, "ci95": {}, "groups": groups}}}
    (tmp_path / "results.json").write_text(json.dumps(held), encoding="utf-8")
    text = card(model, "hf", "birds", origin_of(tmp_path / "last.ckpt"))
    assert "| accuracy |\n|---|---:|---:|\n| g101 | 1000 | 89.9 |\n| g100 | 1000 | 90.0 |\n" in text
    assert "| g2 | 1000 | 99.8 |\n\nThe 100 worst of 102.\n\nWorst group: g101, 89.9.\n" in text


def test_data_and_settings_are_told(model: Classifier, last: Path) -> None:
    text = card(model, "hf", "birds", origin_of(last))
    data = "| option | value |\n|---|---|\n| data | Waterbirds |\n| root | birds\\|water |\n| sampling | group |\n\n"
    assert f"## Training data\n\n{data}## Training settings\n" in text, "of a path its last part, nothing of loading"
    settings = """| pre-trained model | ViT-B-16 openai |
| head | text |
| objective | CrossEntropy (weight 1.0) |
| regularizer | L2SP (weight 0.25) |
| regularizer | Carot (weight 2.0, cross 0.05, teacher ExponentialAverage (update\\_every 500)) |
| freeze text tower | true |
| learning rate | 1e-05 |
| warm-up steps | 500 |
| weight decay | 0.1 |
| epochs | 10 |
| batch size | 128 |
| precision | bf16-mixed |
| callback | WeightEMA (decay 0.999) |
| seed | 3 |
| training time | 80 s |
"""
    assert text.endswith(settings)
    assert "secret" not in text


def test_names_are_text(model: Classifier) -> None:
    renamed = model.with_classes(["<script>alert(1)</script>", "a|b", "ü 🦆"], ["a `{}` & *more*"])
    text = card(renamed, "hf", 'my "birds"', Origin())
    assert "&lt;script&gt;alert(1)&lt;/script&gt;, a\\|b, ü 🦆" in text
    assert "<script>" not in text
    assert "Captions: “a \\`{}\\` &amp; \\*more\\*”\n" in text
    assert 'CLIPModel.from_pretrained("my \\"birds\\"")' in text
    assert "The run wasn't tested (`starft test`).\n" in text
    assert text.count("The run left no config.") == 2


@pytest.mark.parametrize(
    ("form", "on_hub", "told"),
    [
        ("open_clip", False, 'create_model_and_transforms(f"local-dir:{folder}")'),
        ("open_clip", True, 'create_model_and_transforms("hf-hub:me/birds")'),
        ("hf", True, 'CLIPModel.from_pretrained("me/birds")'),
        ("open_clip", True, 'folder = snapshot_download("me/birds")\nmodel'),
        ("onnx", False, 'folder = "me/birds"  # where this README.md lies\nsession'),
        ("onnx", True, 'folder = snapshot_download("me/birds")\nsession'),
        ("head", True, 'head = load_file(f"{folder}/head.safetensors")["head"]'),
    ],
)
def test_each_format_tells_its_loading(
    form: str, on_hub: bool, told: str, model: Classifier, linear: Classifier
) -> None:
    text = card(model, form, "me/birds", Origin(), on_hub)
    assert told in text
    for part in text.split("```python\n")[1:]:
        compile(part.split("```")[0], "card", "exec")
    assert "trained head" not in text
    assert ("names[" in text) == (form in ("open_clip", "hf", "onnx")), "from an image to the name of its class"
    text = card(linear, form, "me/birds", Origin(), on_hub)
    assert ("The trained head lies beside it" in text) == (form in ("open_clip", "hf"))


def test_only_the_checkpoint_s_own_results_are_taken(last: Path, model: Classifier) -> None:
    found = origin_of(last)
    assert found.results is not None
    assert found.results.sets["id"].n == 48
    other = origin_of(last.with_name("best.ckpt"))
    assert other.results is None
    assert (
        other.problem
        == "The run was tested with last.ckpt, not with best.ckpt; export that one to have its results here"
    )
    assert other.config == CONFIG
    assert origin_of(last.parent.parent / "interpolation-test" / "last.ckpt") == Origin(), "below a run isn't its run"
    results = last.parent.parent / "results.json"
    results.write_text("{torn", encoding="utf-8")
    text = card(model, "hf", "birds", origin_of(last))
    assert "## Results\n\nresults.json is damaged (JSONDecodeError).\n" in text
    results.unlink()
    assert origin_of(last) == Origin(None, CONFIG)


def test_the_results_config_stands_in_for_a_missing_one(last: Path) -> None:
    (last.parent.parent / "config.yaml").write_text("- torn", encoding="utf-8")
    assert origin_of(last).config == CONFIG


def test_a_worst_group_of_a_few_images_has_the_atypical_ones_beside_it(model: Classifier, last: Path) -> None:
    results = json.loads(json.dumps(RESULTS))
    results["eval_sets"]["id"]["metrics"] |= {"typical_acc": 0.9, "atypical_acc": 0.25}
    results["eval_sets"]["id"]["groups"][1] |= {"n": 1, "typical": False}
    (last.parents[1] / "results.json").write_text(json.dumps(results), encoding="utf-8")
    text = card(model, "hf", "me/birds", origin_of(last))
    assert "25.0 % in the worst group of “id” (1 image), 25.0 % on its images without the usual attribute**." in text
    assert "| eval set | images | accuracy | top 5 | worst group | typical | atypical | ECE |" in text
