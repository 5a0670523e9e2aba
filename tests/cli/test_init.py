"""`starft init` writes a config that needs no more options."""

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fakes import own_images
from starft.__main__ import main
from starft.files.yaml_reader import load_yaml


@pytest.fixture(autouse=True)
def _working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(path: str) -> dict[str, Any]:
    config: dict[str, Any] = load_yaml(Path(path).read_text(encoding="utf-8"))
    return config


def table(name: str, header: list[str], rows: list[list[str]]) -> None:
    with Path(name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=";" if "semi" in name else ",").writerows([header, *rows])


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("starft: ")]
    return line.removeprefix("starft: ")


@pytest.mark.slow
def test_its_commands_need_no_options(capsys: pytest.CaptureFixture[str]) -> None:
    own_images.write_table(Path("photos"))
    assert main(["init", "photos/shoes.csv"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("Wrote shoes.yaml: 40 images, 2 classes, 2 attributes, path in column 'path', ")
    commands = [line.partition(": starft ")[2].split() for line in said[1:]]
    assert [words[0] for words in commands] == ["data", "fit"]
    assert main(commands[0]) == 0
    config = written("shoes.yaml")
    assert config["trainer"]["default_root_dir"] == "runs/shoes"
    tiny = ["--model.model_name=starft-mini", "--model.pretrained=mini", "--trainer.precision=32-true"]
    assert main([*commands[1], *tiny, "--trainer.accelerator=cpu", "--trainer.fast_dev_run=true"]) == 0


def test_columns_are_known_by_their_names_and_by_what_they_hold() -> None:
    rows = [
        [str(n), f"a/{n}.JPG", ("cat", "dog")[n % 2], ("train", "test")[n % 3 == 0], ("x", "y")[n // 2 % 2]]
        for n in range(40)
    ]
    table("semi.csv", ["image", "where it lies", "Species", "part of", "camera"], rows)
    assert main(["init", "semi.csv", "--out", "sub/mine.yaml"]) == 0
    data = written("sub/mine.yaml")["data"]["init_args"]
    assert {key: value for key, value in data.items() if key.endswith("_column")} == {
        "path_column": "where it lies",
        "label_column": "Species",
        "split_column": "part of",
    }
    assert "# attribute_column: camera # if it is what may mislead" in Path("sub/mine.yaml").read_text(encoding="utf-8")


def test_labels_stay_what_they_are_and_names_have_spaces() -> None:
    rows = [[f"{n}.png", label] for n in range(3) for label in ("on", "007", "black_cat", "1e3", "Null", "yes")]
    table("many.csv", ["path", "label"], rows)
    assert main(["init", "many.csv"]) == 0
    config = written("many.yaml")
    labels = ["007", "1e3", "black_cat", "Null", "on", "yes"]
    assert config["data"]["init_args"]["class_names"] == {one: one.replace("_", " ") for one in labels}
    (term,) = config["model"]["regularizers"]
    assert term["class_path"] == "starft.losses.SpuriosityAlignment", "enough classes for StarFT"


@pytest.mark.parametrize("labels", [("cat", "dog", "NA"), ("NA", "null")])
def test_a_label_that_may_mean_nothing_stays_refused(
    labels: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Named in the config it would be a class, and no check would ask."""
    own_images.write_table(Path(), 12)
    table("birds.csv", ["path", "label"], [[f"images/{n:03}.jpg", labels[n % len(labels)]] for n in range(12)])
    assert main(["init", "birds.csv"]) == 0
    classes = written("birds.yaml")["data"]["init_args"]["class_names"]
    assert classes == ({"cat": "cat", "dog": "dog"} if "cat" in labels else None)
    assert main(["data", "check", "--config", "birds.yaml"]) == 2
    assert "the label 'NA' (lines " in capsys.readouterr().out


def test_other_tables(capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.DataFrame({"img": [f"{n}.png" for n in range(8)], "y": [0.0, 1.0] * 4})
    frame.to_parquet("a.parquet")
    frame.astype({"y": int}).to_json("b.jsonl", orient="records", lines=True)
    for name in ("a.parquet", "b.jsonl"):
        assert main(["init", name]) == 0
        assert written(f"{name[0]}.yaml")["data"]["init_args"]["class_names"] == {"0": "0", "1": "1"}


@pytest.mark.parametrize(
    ("splits", "attribute"), [({"": 20}, False), ({"train": 3, "val": 1, "test": 1}, False), ({"": 20}, True)]
)
def test_folders(splits: dict[str, int], attribute: bool, capsys: pytest.CaptureFixture[str]) -> None:
    own_images.write_folders(Path("photos"), splits, attribute=attribute)
    assert main(["init", "photos"]) == 0
    data = written("photos.yaml")["data"]
    assert data["class_path"] == "starft.data.ImageFolder"
    assert (data["init_args"]["root"], data["init_args"]["attribute_level"]) == ("photos", attribute)
    assert data["init_args"]["class_names"] == {"boot": "boot", "sandal": "sandal"}
    assert main(["data", "check", "--config", "photos.yaml"]) == 0


def test_no_file_is_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    own_images.write_folders(Path("photos"), {"": 1})
    Path("photos.yaml").write_text("mine", encoding="utf-8")
    assert main(["init", "photos"]) == 2
    assert sentence(capsys) == (
        "photos.yaml exists already, and is left as it is; give another --out, or move it away."
    )
    assert Path("photos.yaml").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("gone.csv", "There is no gone.csv; give a table or a folder of your images."),
        ("notes.doc", "notes.doc must be a folder, or a table that ends in one of .csv, .tsv, .txt, .parquet"),
        ("empty.csv", "empty.csv is empty (0 bytes); it needs a header and rows."),
        ("rows.csv", "rows.csv has no rows; it needs one row an image."),
        ("paths.csv", "paths.csv has no column that looks like one of labels; its columns are path. Call it label"),
        ("latin.csv", "latin.csv isn't UTF-8 text; save it as UTF-8."),
        (".", ". holds no class folders; it needs a folder for each class"),
    ],
)
def test_what_it_cant_read(source: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("notes.doc").write_bytes(b"x")
    Path("empty.csv").write_bytes(b"")
    Path("rows.csv").write_bytes(b"path,label\n")
    Path("paths.csv").write_bytes(b"path\na.png\nb.png\n")
    Path("latin.csv").write_bytes("path,label\na.png,Zürich\n".encode("latin-1"))
    assert main(["init", source]) == 2
    assert sentence(capsys).startswith(told)


@pytest.mark.slow
def test_it_loads_no_torch() -> None:
    own_images.write_folders(Path("photos"), {"": 1})
    code = "import sys; from starft.__main__ import main; main(['init', 'photos']); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.csv", "imgs/0.jpg,cat\nimgs/1.jpg,dog\n" * 4, "a.csv has 'imgs/0.jpg' where the name of a column should"),
        ("a.csv", "cat,0.JPEG\ndog,1.JPEG\n" * 4, "a.csv has '0.JPEG' where the name of a column should stand"),
        ("a.csv", "path,label\n0.jpg,cat\n", "a.csv has one label only, 'cat', in column 'label'; it needs two"),
        ("a.jsonl", "[1, 2]\n3\n", "a.jsonl can't be read: each line must hold an object"),
        ("a.jsonl", "null\n", "a.jsonl can't be read: each line must hold an object"),
    ],
)
def test_tables_of_no_use_get_no_config(name: str, text: str, why: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(name).write_text(text, encoding="utf-8")
    assert main(["init", name]) == 2
    assert sentence(capsys).startswith(why)
    assert not Path("a.yaml").exists()


def test_class_folders_without_images_get_no_config(capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cat", "dog"):
        Path("photos", name).mkdir(parents=True)
    assert main(["init", "photos"]) == 2
    assert sentence(capsys).startswith("photos holds no images in its class folders")
