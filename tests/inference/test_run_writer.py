"""predictions.csv: rows by hand, names of projected labels."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from starft.inference.rows import columns
from starft.inference.run_writer import PredictionWriter
from starft.runs.layout import PREDICTIONS
from starft.types import EvalSet

WHOLE = EvalSet("whole", ("duck", "owl", "crow"), ("a {}",))
MERGED = EvalSet("merged", ("duck", "owl", "crow"), ("a {}",), merge=((1,), (0, 2)))


def test_a_projected_label_is_named_for_the_classes_it_means(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first columns are those of `starft predict CKPT IMAGES`."""
    data = SimpleNamespace(predict_sets=(WHOLE, MERGED), predict_path=lambda which, index: f"{which}/{index}.jpg")
    trainer: Any = SimpleNamespace(datamodule=data)
    writer = PredictionWriter(tmp_path)
    for which in (0, 1):
        prediction = {
            "index": torch.tensor([4, 5]),
            "label": torch.tensor([1, 0]),
            "probability": torch.tensor([0.75, 0.5]),
        }
        writer.write_on_batch_end(trainer, None, prediction, None, None, 0, which)  # type: ignore[arg-type]
    writer.on_predict_end(trainer, None)  # type: ignore[arg-type]
    writer.tell()
    assert capsys.readouterr().out == f"Predictions: {tmp_path / PREDICTIONS} (4 images)\n"
    with (tmp_path / PREDICTIONS).open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0][:3] == columns(1)
    assert rows == [
        ["path", "label", "probability", "set", "index", "label_index"],
        ["0/4.jpg", "owl", "0.750000", "whole", "4", "1"],
        ["0/5.jpg", "duck", "0.500000", "whole", "5", "0"],
        ["1/4.jpg", "duck or crow", "0.750000", "merged", "4", "1"],
        ["1/5.jpg", "owl", "0.500000", "merged", "5", "0"],
    ]
