"""`starft predict CKPT IMAGES...`: rows in order from a checkpoint alone, bad images skipped, Ctrl-C."""

import csv
import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image

from fakes import checkpoints, own_images, shards
from starft import load
from starft.__main__ import main
from starft.data.transforms import eval_transform
from starft.errors import DataError, StarftError
from starft.inference import rows
from starft.inference.inputs import Item, find
from starft.inference.stream import batches
from starft.types import ImagePreprocessing

pytestmark = pytest.mark.slow

NAMES = checkpoints.NAMES


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(7):
        own_images.write_jpeg(folder / ("b" if number % 2 else "a") / f"{number}.jpg", number)
    return folder


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def predicted(out: Path) -> list[dict[str, str]]:
    with out.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_folder_in_order_with_workers_and_the_same_by_the_classifier(
    checkpoint: Path, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "preds.csv"
    words = [str(checkpoint), str(photos), f"--out={out}", "--top-k=2", "--batch-size=2", "--workers=2", "--device=cpu"]
    assert main(["predict", *words]) == 0
    found = predicted(out)
    want = [
        str(photos / name) for name in ("a/0.jpg", "a/2.jpg", "a/4.jpg", "a/6.jpg", "b/1.jpg", "b/3.jpg", "b/5.jpg")
    ]
    assert [row["path"] for row in found] == want
    assert list(found[0]) == ["path", "label", "probability", "label_2", "probability_2"]
    for row, one in zip(found, load(checkpoint, "cpu").predict(want), strict=True):
        assert (row["label"], row["label_2"]) == (one.top[0][0], one.top[1][0])
        assert float(row["probability"]) == pytest.approx(one.probability, abs=2e-6)
        assert float(row["probability_2"]) == pytest.approx(one.top[1][1], abs=2e-6)
    assert f"{out}: 7 images, " in capfd.readouterr().err
    assert main(["predict", *words]) == 2
    assert f"starft: {out} exists already; move it away or give another --out.\n" in capfd.readouterr().err


def test_every_kind_of_input_and_output(
    linear_checkpoint: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (photos / "list.tsv").write_text("no\tfile\n1\tb/1.jpg\n2\ta/2.jpg\n", encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{photos / 'b' / '5.jpg'}\n\n{photos / 'b' / '3.jpg'}\n"))
    inputs = [str(photos / "a" / "4.jpg"), str(photos / "list.tsv"), str(photos / "**" / "*6.jpg"), "-"]
    common = ["--column=file", "--workers=0", "--device=cpu"]
    assert main(["predict", str(linear_checkpoint), *inputs, *common]) == 0
    said = capfd.readouterr()
    by_csv = list(csv.DictReader(io.StringIO(said.out)))
    ends = ["a/4.jpg", "b/1.jpg", "a/2.jpg", "a/6.jpg", "b/5.jpg", "b/3.jpg"]
    assert [row["path"] for row in by_csv] == [
        name if name in ("b/1.jpg", "a/2.jpg") else str(photos / name) for name in ends
    ]
    assert "standard output: 6 images, " in said.err
    model = load(linear_checkpoint, "cpu")
    assert [row["label"] for row in by_csv] == [one.label for one in model.predict([photos / name for name in ends])]
    assert main(["predict", str(linear_checkpoint), *inputs[:3], *common, "--out=p.jsonl"]) == 0
    assert main(["predict", str(linear_checkpoint), *inputs[:3], *common, "--out=p.parquet"]) == 0
    lines = [json.loads(line) for line in Path("p.jsonl").read_text(encoding="utf-8").splitlines()]
    frame = pd.read_parquet("p.parquet").to_dict("records")
    assert lines == frame
    assert [(row["path"], row["label"]) for row in lines] == [(row["path"], row["label"]) for row in by_csv[:4]]
    shares = [float(row["probability"]) for row in by_csv[:4]]
    assert [row["probability"] for row in lines] == pytest.approx(shares, abs=2e-6)


def test_new_classes_are_scored_zero_shot(linear_checkpoint: Path, photos: Path) -> None:
    words = [str(linear_checkpoint), str(photos / "a"), "--out=p.csv", "--workers=0", "--device=cpu", "--top-k=3"]
    assert main(["predict", *words, '--classes=a boat, "rain, heavy",sun']) == 0
    names = ["a boat", "rain, heavy", "sun"]
    want = (
        load(linear_checkpoint, "cpu").with_classes(names).predict([photos / "a" / f"{at}.jpg" for at in (0, 2, 4, 6)])
    )
    found = predicted(Path("p.csv"))
    assert [row["label"] for row in found] == [one.label for one in want]
    assert {row[key] for row in found for key in ("label", "label_2", "label_3")} == set(names)


def test_bad_images_are_told_and_skipped(
    checkpoint: Path, photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"")
    (tmp_path / "torn.jpg").write_bytes((photos / "a" / "0.jpg").read_bytes()[:300])
    good = str(photos / "a" / "0.jpg")
    table = tmp_path / "t.csv"
    table.write_text(f"path\nbad.jpg\n{good}\ngone.jpg\ntorn.jpg\n{good}\n", encoding="utf-8")
    words = ["--workers=0", "--device=cpu", "--batch-size=2"]
    assert main(["predict", str(checkpoint), str(table), "--out=p.csv", *words]) == 0
    said = capfd.readouterr().err
    assert [row["path"] for row in predicted(Path("p.csv"))] == [good, good]
    assert "skipped bad.jpg: it is empty (0 bytes)\n" in said
    assert "skipped gone.jpg: it doesn't exist\n" in said
    assert "skipped torn.jpg: " in said
    assert "p.csv: 2 images, 3 skipped, " in said
    assert main(["predict", str(checkpoint), "bad.jpg", "--out=q.csv", *words]) == 2
    assert "starft: None of the 1 image can be read; check the paths.\n" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "number", "status"),
    [("p.csv", signal.SIGINT, 130), ("p.jsonl", signal.SIGTERM, 143), ("p.parquet", signal.SIGINT, 130)],
)
def test_a_signal_in_the_middle_of_a_row_leaves_whole_rows(
    name: str,
    number: int,
    status: int,
    checkpoint: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The second write is hit when half of it is out; who listened to the signal before does so again."""
    writes, before = 0, signal.getsignal(number)

    def interrupted(plain: Any) -> Any:
        def write(self: Any, held: Any) -> None:
            nonlocal writes
            writes += 1
            if writes == 2:
                plain(self, held[:1])
                os.kill(os.getpid(), number)
                held = held[1:]
            plain(self, held)

        return write

    for kind in (rows.TextWriter, rows.ParquetWriter):
        monkeypatch.setattr(kind, "write", interrupted(kind.write))
    words = [f"--out={name}", "--workers=0", "--device=cpu", "--batch-size=2"]
    assert main(["predict", str(checkpoint), str(photos), *words]) == status
    assert capfd.readouterr().err.endswith(f"starft: Stopped; {name} holds whole rows of the first 4 images.\n")
    readers = {
        "p.csv": pd.read_csv,
        "p.jsonl": lambda path: pd.read_json(path, lines=True),
        "p.parquet": pd.read_parquet,
    }
    assert [Path(path).name for path in readers[name](name)["path"]] == ["0.jpg", "2.jpg", "4.jpg", "6.jpg"]
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_is_read_no_further_than_it_is_worked_on(workers: int, photos: Path) -> None:
    """10,000 images are never held: with 2 workers no more than 2 batches each lie ahead."""
    read = 0

    def endless() -> Iterator[Item]:
        nonlocal read
        while True:
            read += 1
            yield Item("x", str(photos / "a" / "0.jpg"))

    stream = batches(endless(), eval_transform(ImagePreprocessing(size=(8, 8))), 3, workers, torch.device("cpu"))
    for number in range(1, 6):
        batch = next(stream)
        assert batch.names == ("x",) * 3
        assert read <= 3 * (number + 2 * workers)
    stream.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "The following arguments are required: ckpt, images. See `starft predict --help`."),
        (["CKPT"], "The following arguments are required: images. See `starft predict --help`."),
        (["CKPT", "PHOTOS", "--topk=3"], "There is no option --topk. Did you mean --top-k?"),
        (["CKPT", "PHOTOS", "--top-k=x"], "--top-k: expected int. Got value: x. See `starft predict --help`."),
        (["CKPT", "PHOTOS", "--top-k=0"], "--top-k must be at least 1; got 0."),
        (
            ["CKPT", "PHOTOS", "--top-k=4"],
            "There are 3 classes, so 1 to 3 can be listed; top_k (--top-k) is 4.",
        ),
        (["CKPT", "PHOTOS", "--batch-size=0"], "--batch-size must be at least 1; got 0."),
        (["CKPT", "PHOTOS", "--workers=-1"], "--workers must be at least 0; got -1."),
        (["CKPT", "PHOTOS", "--classes="], "Class names must be texts, two at least and none empty; got []."),
        (
            ["CKPT", "PHOTOS", "--out=p.xlsx"],
            "--out p.xlsx must end in .csv, .jsonl or .parquet, or be given a --format.",
        ),
        (
            ["CKPT", "PHOTOS", "--format=parquet"],
            "Parquet can't be written to standard output; give --out FILE.parquet.",
        ),
        (
            ["CKPT", "nowhere"],
            "There is no image, folder or table at nowhere; check the path, or give - to read paths.",
        ),
        (["CKPT", "*.jpg"], "There is no image in *.jpg; images end in .jpg, "),
        (["nowhere.ckpt", "PHOTOS"], "The checkpoint nowhere.ckpt doesn't exist; check its path."),
    ],
)
def test_mistakes(
    words: list[str], told: str, checkpoint: Path, photos: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    held = {"CKPT": str(checkpoint), "PHOTOS": str(photos)}
    assert main(["predict", *(held.get(word, word) for word in words)]) == 2
    said = capfd.readouterr()
    assert said.err.startswith(f"starft: {told}")
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert list(Path().iterdir()) == []


def test_help_tells_both_forms(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["predict", "--help"])
    said = capfd.readouterr().out
    assert "usage: starft predict" in said
    assert "starft predict --config CONFIG --ckpt_path CKPT" in said


def test_a_folder_of_shards_leads_to_the_form_that_reads_them(tmp_path: Path) -> None:
    root = shards.write_shards(tmp_path / "shards", train=2, val=1, test=1)
    with pytest.raises(DataError, match=rf"unpack shards first \(tar -xf\); .* --data.init_args.root {root} as well\."):
        find([str(root)])


def test_how_many_are_known_but_on_standard_input(photos: Path) -> None:
    assert find([str(photos / "a"), str(photos / "b" / "1.jpg")]).total == 5
    assert find([str(photos / "a"), "-"]).total is None


@pytest.mark.parametrize("classes", ["duck\ngull", "duck\r\ngull,owl", '["duck", "gull"]', "{duck, gull}"])
def test_classes_of_another_form(classes: str, checkpoint: Path, tmp_path: Path, capfd: Any) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    assert main(["predict", str(checkpoint), str(tmp_path / "a.jpg"), f"--classes={classes}", "--device=cpu"]) == 2
    assert "--classes must be names on one line, such as" in capfd.readouterr().err


def test_what_is_no_image_is_one_sentence(checkpoint: Path) -> None:
    model = load(checkpoint, "cpu")
    for image, why in (
        (Image.new("RGB", (0, 5)), "0 x 5 pixels shows nothing"),
        (torch.zeros(3, 64, 64).to_sparse(), "must be dense"),
        (torch.zeros(3, 64, 64, device="meta"), "must be dense"),
        ("x" * 5000, "file name too long"),
    ):
        with pytest.raises(StarftError, match=why):
            model.predict(image)
    with pytest.raises(StarftError, match="File name too long"):
        load("x" * 5000)
