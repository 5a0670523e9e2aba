"""ONNX files of towers that torch's exporter finds hard: attention is written out, or one sentence tells.

That onnxruntime then gets the same features of Hiera is a part of the campaign `make test-models`.
"""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from starft.clip import build_clip
from starft.errors import WeightsError
from starft.exporting import onnx_file
from starft.inference.classifier import Classifier


@pytest.fixture
def model() -> Classifier:
    """The embedded model with a small Hiera, whose attention has five dimensions, in its image tower."""
    clip = build_clip("starft-mini", "mini")
    clip.model.visual.extra = timm.create_model("hiera_tiny_224", img_size=64, embed_dim=8, stages=(1, 1), q_pool=1)
    return Classifier(clip, ("duck", "gull"), ("a photo of a {}.",), None)


def fused(model: Classifier) -> set[bool]:
    return {part.fused_attn for part in model.clip.modules() if hasattr(part, "fused_attn")}


def test_attention_is_written_out_while_it_is_exported(
    model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[set[bool]] = []

    def export(*given: Any, **options: Any) -> None:
        seen.append(fused(model))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch.onnx, "export", export)
    assert fused(model) == {True}
    with pytest.raises(OSError, match="No space left on device"):
        onnx_file.write_onnx(model, tmp_path)
    assert seen == [{False}]
    assert fused(model) == {True}


def test_what_the_exporter_doesnt_know_is_told_in_a_sentence(
    model: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(*given: Any, **options: Any) -> None:
        try:
            raise AssertionError("no  ONNX function\nfor aten.eigvals")
        except AssertionError as error:
            raise RuntimeError("Failed to export.\nNext steps:\n- debug the error") from error

    monkeypatch.setattr(torch.onnx, "export", export)
    with pytest.raises(WeightsError) as raised:
        onnx_file.write_onnx(model, tmp_path)
    assert str(raised.value) == (
        "torch's exporter can't write this model as ONNX (no ONNX function for aten.eigvals); "
        "take the format open_clip."
    )
