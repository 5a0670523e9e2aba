"""Heat maps: a model that sees one cell, the overlay's colours, mistakes of the report, sets with other classes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fakes import checkpoints
from fakes import run_folders as fake
from starft.audit.relevance import CELLS, Mistake, keep_maps, overlay, places_of, relevance
from starft.cli.audit_model import _in_the_report
from starft.clip import build_clip
from starft.inference.classifier import Classifier, load
from starft.mini import MiniWorld
from starft.mini.captions import KINDS
from starft.reporting.mistakes import gallery_of
from starft.runs.audit_result import audit_picture
from starft.runs.run_reader import find_runs


class OneCell:
    """Says class 1 by the brightness of one cell, and against it by that of another; three classes."""

    device = torch.device("cpu")

    def logits(self, pixels: Tensor) -> Tensor:
        one, two = pixels[:, :, 8:16, 24:32].mean(dim=(1, 2, 3)), pixels[:, :, 40:48, 0:8].mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(one), 3 * one - 2 * two, torch.zeros_like(one)], dim=1)


def test_the_cells_that_a_model_goes_by_are_found_with_their_signs() -> None:
    pixels = torch.zeros(2, 3, 64, 64)
    pixels[:, :, 8:16, 24:32] = 1
    pixels[:, :, 40:48, 0:8] = 1
    cells = relevance(OneCell(), pixels, torch.tensor([1, 0]))  # type: ignore[arg-type]
    assert cells.shape == (2, CELLS, CELLS)
    assert cells[0].argmax() == 1 * CELLS + 3
    assert cells[0].argmin() == 5 * CELLS
    # Hidden, the cell has about the mean of the 2 x 2 cells around it, a quarter; the ridge takes a thirtieth off.
    assert cells[0, 1, 3] == pytest.approx(3 * 0.75, rel=0.15)
    rest = cells[0].flatten().abs().sort().values[:-2]
    assert rest.max() < 0.25 * cells[0, 1, 3]
    assert torch.equal(cells[1].sign(), -cells[0].sign()), "what speaks for one class speaks against the others"


def test_towers_of_any_size_have_maps() -> None:
    clip = build_clip("starft-mini", None)
    model = Classifier(clip, ("duck", "owl"), ("a photo of a {}.",))
    assert relevance(model, torch.randn(1, 3, 64, 64), torch.tensor([1])).isfinite().all()
    wide = relevance(OneCell(), torch.randn(1, 3, 100, 70), torch.tensor([1]))  # type: ignore[arg-type]
    assert wide.shape == (1, CELLS, CELLS)


def test_red_speaks_for_a_class_and_blue_against_it() -> None:
    cells = np.zeros((CELLS, CELLS), dtype=np.float32)
    cells[0, 0], cells[7, 7] = 2.0, -1.0
    shown = overlay(np.full((3, 64, 64), 0.5, dtype=np.float32), cells)
    assert shown[0, 0, 0] > 0.5 > shown[2, 0, 0]
    assert shown[2, -1, -1] > 0.5 > shown[0, -1, -1]
    assert np.allclose(shown[:, 32, 32], 0.5), "grey where nothing speaks"


@pytest.mark.slow
def test_mistakes_that_a_report_shows_have_maps_of_both_models_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a set with classes of its own, which is scored zero-shot."""
    data = MiniWorld(train_size=12, val_size=12, test_size=12)
    data.setup("test")
    run = fake.write_run(tmp_path / "run", {"groups": fake.eval_set(dict.fromkeys(fake.GROUPS, (1, 6)))})
    ckpt = tmp_path / "best.ckpt"
    assert _in_the_report(str(ckpt), data, 12) == [], "it is of no run"
    monkeypatch.setattr("starft.cli.audit_model.run_folder_of", lambda path: run)
    checkpoints.write(ckpt, class_names=data.class_names)
    rows: Any = data.test_data[-1]
    model, frozen = load(ckpt), Classifier(build_clip("starft-mini", "mini"), data.class_names, data.templates)
    said = model.with_classes(KINDS, data.templates).logits(torch.stack([row["image"] for row in rows])).argmax(dim=1)
    right = [int(label) == int(one) for label, one in zip(rows.labels, said, strict=True)]
    assert not all(right)
    fake.write_samples(run, "groups", right, rows.groups or [], picture_of=range(len(right)))
    places = _in_the_report(str(ckpt), data, 12)
    assert [(place.set, place.path) for place in places] == [(p.set, f"test/groups/{p.index}") for p in places]
    assert 0 < len(places) <= right.count(False)
    assert all(not right[place.index] for place in places)
    (run / "audit").mkdir()
    found = keep_maps(run / "audit", data, model, frozen, [*places, places[0]])
    assert [item.index for item in found] == [place.index for place in places], "each once"
    for item in found:
        assert (item.label, item.prediction) == (KINDS[rows.labels[item.index]], KINDS[int(said[item.index])])
        assert item.frozen in KINDS
        kinds = ("plain", "tuned", "frozen")
        pictures = [audit_picture(run / "audit", item.set, str(item.index), kind).read_bytes() for kind in kinds]
        assert len({*pictures}) == 3
    write_maps(run / "audit", found)
    (gallery,) = gallery_of(find_runs([run])[0])
    assert all(len(sample["maps"]) == 2 for sample in gallery["samples"])
    write_maps(run / "audit", [Mistake(item.set, item.index, item.path, item.label, "owl") for item in found])
    (gallery,) = gallery_of(find_runs([run])[0])
    assert not any(sample["maps"] for sample in gallery["samples"]), "another model's maps"
    assert places_of(data, "nowhere", [0]) == []


def write_maps(folder: Path, maps: list[Mistake]) -> None:
    """Write the part of slices.json that a gallery reads."""
    told = {"schema_version": 1, "verdict": "", "pools": [], "maps": [vars(item) for item in maps]}
    (folder / "slices.json").write_text(json.dumps(told))
