"""Every public call of a loaded model, with what it can't take: one sentence that names what it takes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from starft import load
from starft.__main__ import main
from starft.errors import ConfigError
from starft.inference.classifier import Classifier

ARRAY = np.zeros((8, 8, 3), np.uint8)
NOT_IMAGES: dict[str, Any] = {
    "array": ARRAY,
    "stacked arrays": ARRAY[None],
    "list of arrays": [ARRAY],
    "list with a null": [None],
    "null": None,
    "number": 3,
    "bytes": b"\xff\xd8",
    "mapping": {"a.jpg": 0},
    "number tensor": torch.tensor(1.0),
    "whole numbers": torch.zeros(3, 64, 64, dtype=torch.uint8),
    "channels last": torch.zeros(64, 64, 3),
    "five axes": torch.zeros(1, 1, 3, 64, 64),
    "class": Image.Image,
}


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> Classifier:
    return load(checkpoint, "cpu")


def refused(call: Callable[..., Any], *given: Any, **named: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*given, **named)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert len(text) < 300
    return text


@pytest.mark.parametrize("images", NOT_IMAGES.values(), ids=NOT_IMAGES)
@pytest.mark.parametrize("method", ["predict", "encode"])
def test_what_is_no_image(model: Classifier, method: str, images: Any) -> None:
    text = refused(getattr(model, method), images)
    assert "PIL image" in text or "float (3, 64, 64)" in text


def test_an_array_is_told_what_to_do(model: Classifier) -> None:
    assert "got a numpy.ndarray (8, 8, 3). Give Image.fromarray(array)" in refused(model.predict, ARRAY)
    assert "got a numpy.ndarray (8, 8, 3). Give Image.fromarray(array)" in refused(model.preprocess, ARRAY)
    assert model.predict([Image.fromarray(ARRAY)])[0].label in model.class_names


@pytest.mark.parametrize("value", [0, -1, 2.0, "8", True, None, [1]])
def test_numbers_that_are_none(model: Classifier, value: Any) -> None:
    image = Image.fromarray(ARRAY)
    assert "batch_size must be" in refused(model.predict, image, batch_size=value)
    assert "batch_size must be" in refused(model.encode, image, batch_size=value)
    if value is not None:
        assert "top_k" in refused(model.predict, image, top_k=value)


@pytest.mark.parametrize("texts", [None, 3, b"duck", {"duck": 0}, [3], [None], ["duck", b"gull"], ARRAY])
def test_texts_that_are_none(model: Classifier, texts: Any) -> None:
    assert "Class names must be" in refused(model.with_classes, texts)
    if texts is not None:  # null takes those of training
        assert "Templates must be" in refused(model.with_classes, ["duck", "gull"], texts)
    assert "Captions must be" in refused(model.encode_text, texts)


def test_no_text_has_no_features(model: Classifier) -> None:
    assert model.encode_text([]).shape == (0, model.encode_text("duck").shape[1])


@pytest.mark.parametrize("pixels", [None, ARRAY, torch.zeros(3, 64, 64), torch.zeros(1, 3, 32, 32), "a.jpg"])
def test_pixels_that_are_none(model: Classifier, pixels: Any) -> None:
    for method in (model.features, model.logits):
        assert "Pixels must be a float tensor ('B', 3, 64, 64)" in refused(method, pixels)


@pytest.mark.parametrize("path", [None, 3, b"last.ckpt", ["last.ckpt"]])
def test_paths_that_are_none(path: Any) -> None:
    assert "takes the path of a checkpoint" in refused(load, path)


@pytest.mark.parametrize("device", [3.5, ["cpu"], "gpu", "cuda:x"])
def test_devices_that_are_none(checkpoint: Path, device: Any) -> None:
    assert "can't be used here" in refused(load, checkpoint, device)


def test_a_head_of_other_classes(model: Classifier) -> None:
    names = ("duck", "gull")
    assert "must be (C, D) for 2 classes" in refused(Classifier, model.clip, names, model.templates, torch.zeros(3, 8))


# One class is no question


def test_one_class_is_refused(
    model: Classifier, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "There is one class, 'dog', so that every image is of it" in refused(model.with_classes, ["dog"])
    Image.fromarray(ARRAY).save(tmp_path / "a.png")
    assert main(["predict", str(checkpoint), str(tmp_path / "a.png"), "--classes", "dog"]) == 2
    assert "There is one class, 'dog'" in capsys.readouterr().err
