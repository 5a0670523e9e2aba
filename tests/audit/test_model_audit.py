"""``starft audit model``: slices in words, two models, groups by inferred attributes, bad input."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray

from fakes import checkpoints
from fakes.own_images import write_table
from starft.__main__ import main
from starft.audit import predictions
from starft.audit.attributes import NO_PHRASE, InferredAttributes
from starft.audit.data_audit import DataAudit
from starft.audit.features import FeatureSet
from starft.audit.model_audit import ModelAudit, audit_model, in_words
from starft.audit.slices_file import SCHEMA
from starft.mini import MiniWorld
from starft.mini.captions import KINDS, PLACES, kind_of
from starft.mini.splits import Labelled
from starft.mini.world import HOMES, LAND, WATER

ROOT = Path(__file__).parents[2]
CONFIG = """\
seed_everything: 3
trainer: {default_root_dir: run}
model: {model_name: starft-mini, pretrained: mini, pool: mini_scenes}
data: {class_path: starft.mini.MiniWorld, init_args: {task: kinds, train_size: 120, val_size: 24, test_size: 72}}
"""
CSV_CONFIG = str(ROOT / "lightning_configs/csv/ce.yaml")


def images_of(name: str) -> tuple[Labelled, ...]:
    """Return the pictures of an eval set of the config."""
    data = MiniWorld("kinds", 120, 24, 72)
    data.setup("validate")
    data.setup("test")
    described = [*(f"val/{item.name}" for item in data.val_sets), *(f"test/{item.name}" for item in data.test_sets)]
    return (*data.val_data, *data.test_data)[described.index(name)].rows


def check_loss_and_page(result: dict[str, Any]) -> None:
    """Every waterbird by the sea is right, some of those on land are not; the page has a picture a slice's image."""
    loss = result["shortcut"]
    known = [
        row for name in result["inferred_groups"] for row in images_of(name) if row.label == KINDS.index("waterbird")
    ]
    assert (loss["name"], loss["classes"]) == ("on the ocean", ["waterbird"])
    assert loss["accuracies"][0] == 1.0
    assert abs(loss["images"][1] - len([row for row in known if row.picture.scene not in WATER])) < 0.1 * len(known)
    assert 0 < loss["accuracies"][1] < 1
    with_it, without = loss["images"]
    head = (
        "where it is missing the model loses nothing for certain: of this class in validation and test it has "
        f"100.0 % right with it ({with_it} images) and {100 * loss['accuracies'][1]:.1f} % without it ({without} image"
    )
    assert head in result["headline"]
    mistakes = result["maps"]
    assert [item["label"] == KINDS[images_of(item["set"])[item["index"]].label] for item in mistakes] == [True]
    shown = sum(min(len(item["images"]), 12) for item in result["slices"]) + 3 * len(mistakes)
    assert Path("run/audit/audit.html").read_text().count("<img") == shown


def test_words_of_images_that_no_phrase_fits() -> None:
    """Of 200 images those of one value are wrong; a cluster is told as one, images without a phrase by class alone."""
    rng = np.random.default_rng(0)
    values = (np.arange(200) % 5 == 0).astype(np.int64)
    rows = rng.normal(0, 0.1, (200, 4)).astype(np.float16)
    rows[:, 0] += 4 * values
    labels, sure = np.arange(200) % 2, np.ones(200, dtype=np.float32)
    pixels = np.zeros((200, 1, 1, 3), dtype=np.uint8)
    images = FeatureSet("val/id", rows, pixels, labels, [*map(str, range(200))], "")

    def found(name: str, said: NDArray[np.int64]) -> ModelAudit:
        told = {"val/id": predictions.Predictions(said, sure)}
        inferred = {"val/id": InferredAttributes(("in a forest", name), values, sure)}
        audit = DataAudit((), inferred, 1.0, 200, 200, (), ())
        return audit_model(audit, {"val/id": images}, told, ("owl", "duck"), 0)

    def words(name: str) -> str:
        return found(name, np.where(values == 1, 1 - labels, labels)).slices[0].words

    assert words("cluster 2 (near in a city)").split(", ")[0].endswith(" of cluster 2 (near in a city)")
    assert words("in a city").split(", ")[0].endswith(" in a city")
    assert NO_PHRASE not in words(NO_PHRASE)
    assert in_words(found("in a city", labels)) == (
        "No error slice: on one half of 200 images the model fails on no group of 5 or more beyond its classes."
    )


@pytest.mark.slow
def test_a_model_that_fails_in_one_place_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(CONFIG)
    checkpoints.write(Path("bad.ckpt"), class_names=KINDS)
    Path("good.ckpt").symlink_to("bad.ckpt")
    images = [f"test/ood/{at}" for at in range(0, 72, 2)]
    rows = images_of("test/ood")
    table = ["path,attribute", *(f"{path},{PLACES[rows[2 * at].picture.scene]}" for at, path in enumerate(images))]
    Path("checked.csv").write_text("\n".join(table))
    asked = 0

    def planted(model: Any, data: Any, item: Any) -> predictions.Predictions:
        """The first model takes a bird for the other kind where no bird lives, the second makes no mistake."""
        nonlocal asked
        asked += 1
        labels = np.array(item.labels)
        strange = np.array([row.picture.scene not in HOMES.values() for row in item.rows])
        said = np.where(strange & (asked <= 7), 1 - labels, labels)
        return predictions.Predictions(said, np.full(len(labels), 0.5, dtype=np.float32))

    monkeypatch.setattr("starft.cli.audit_model.predict", planted)
    words = [
        "audit",
        "model",
        "bad.ckpt",
        "--config",
        "config.yaml",
        "--versus",
        "good.ckpt",
        "--checked",
        "checked.csv",
        "--maps=1",
    ]
    assert main(words) == 0
    result = json.loads(Path("run/audit/slices.json").read_text())
    jsonschema.validate(result, json.loads(SCHEMA.read_text()))
    first = result["slices"][0]
    mistakes = [image for image in first["images"] if image["prediction"] != image["label"]]
    assert (first["size"], first["wrong"]) == (len(first["images"]), len(mistakes))
    assert first["error"] == first["wrong"] / first["size"] > first["class_error"]
    assert first["words"] == (
        " or ".join(item["name"] for item in first["classes"])
        + " " + " or ".join(item["name"] for item in first["attributes"])
        + ", taken for " + " or ".join(item["name"] for item in first["taken_for"])
    )  # fmt: skip
    assert all(item["share"] >= 1.5 * item["expected"] for item in first["attributes"])
    assert first["second_error"] == 0.0
    assert first["difference"]["value"] == pytest.approx(-first["error"])
    assert first["difference"]["interval"][1] < 0
    image = first["images"][0]
    name, _, at = image["path"].rpartition("/")
    assert name == image["set"]
    assert image["label"] == KINDS[images_of(name)[int(at)].label]
    groups = result["inferred_groups"]
    assert {name: item["checked"] for name, item in groups.items() if item["checked"]} == {"test/ood": 36}
    by_name = {item["name"]: item for item in groups["test/ood"]["groups"]}
    away = [row.picture for row in rows if kind_of(row.picture.species) == "landbird" and row.picture.scene not in LAND]
    expected = by_name["landbird without its shortcut"]
    assert expected["images"] == len(away)
    assert expected["accuracy"] == np.mean([picture.scene in HOMES.values() for picture in away])
    assert expected["interval"][0] < expected["accuracy"] < expected["interval"][1]
    check_loss_and_page(result)
    out = capsys.readouterr().out
    assert f"The first: {first['words']}; {first['wrong']} of {first['size']} images are wrong" in out
    assert "36 checked" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["other.ckpt"], "other.ckpt tells duck, gull, crow apart, and the data have boot, sandal; give the config"),
        (["none.ckpt"], "The checkpoint none.ckpt doesn't exist; its folder holds other.ckpt."),
        (["other.ckpt", "--maps=-1"], "--maps must be at least 0; got -1."),
        (
            ["other.ckpt", "--checked", "none.csv"],
            "There is no file none.csv; check its path, or give yours with --checked",
        ),
        (
            ["other.ckpt", "--checked", "empty.csv"],
            "empty.csv has an empty cell (line 2); give each image its attribute.",
        ),
        (["other.ckpt", "--checked", "shoes.csv"], "has no column 'attribute'"),
        (
            ["other.ckpt", "--checked", "twice.csv"],
            "'images/000.jpg' is 'in a city' (twice.csv, line 4) and 'on a lake' (twice.csv, line 2); leave one",
        ),
    ],
)
def test_bad_input_ends_before_an_image_is_encoded(
    words: list[str],
    sentence: str,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    table = write_table(tmp_path, 80, attribute=False)
    Path("empty.csv").write_text("path,attribute\nimages/000.jpg,\n")
    same = "images/000.jpg,on a lake\n"
    Path("twice.csv").write_text(f"path,attribute\n{same}{same}images/000.jpg,in a city\n")
    Path("other.ckpt").symlink_to(checkpoint)
    monkeypatch.setattr("starft.audit.features.build_clip", None)
    config = ["--config", CSV_CONFIG, f"--data.init_args.file={table}", "--data.init_args.num_workers=0"]
    assert main(["audit", "model", *words, *config, "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_too_few_images_and_unknown_ones_are_refused_before_an_image_is_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("starft.cli.audit_model.features_of", None)
    table = write_table(tmp_path, 80, attribute=False)
    checkpoints.write(Path("shoes.ckpt"), class_names=("boot", "sandal"))
    own = [f"--data.init_args.file={table}", "--model.model_name=starft-mini", "--model.pretrained=mini"]
    assert main(["audit", "model", "shoes.ckpt", "--config", CSV_CONFIG, *own, "--data.init_args.num_workers=0"]) == 2
    sentence = "There are 24 validation and test images, and an audit of a model needs 50 at least; take more."
    assert sentence in capsys.readouterr().err
    Path("config.yaml").write_text(CONFIG)
    checkpoints.write(Path("birds.ckpt"), class_names=KINDS)
    Path("checked.csv").write_text("path,attribute\ntest/ood/3,on a lake\ntest/oood/3,on a lake\n")
    assert main(["audit", "model", "birds.ckpt", "--config", "config.yaml", "--checked", "checked.csv"]) == 2
    sentence = "'test/oood/3' (checked.csv, line 3) is no validation or test image; leave it out."
    assert sentence in capsys.readouterr().err
