"""Image size and normalisation come from the model: from its tag, its folder, or what its architecture's tags share."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from starft.clip import build_clip, image_preprocessing
from starft.clip.preprocessing import shared_preprocessing
from starft.errors import ConfigError
from starft.training.module import FinetuneModule
from starft.types import ImagePreprocessing, PreprocessingModel

TINY = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}
HALF = (0.5, 0.5, 0.5)


def test_the_embedded_world_has_64_pixels() -> None:
    module = FinetuneModule(model_name="starft-mini", pretrained="mini")
    assert isinstance(module, PreprocessingModel)
    assert module.preprocessing == ImagePreprocessing(size=(64, 64))


def folder(path: Path, **preprocess: Any) -> str:
    """Write a model folder as open_clip's own export does."""
    config = {"model_cfg": TINY, "preprocess_cfg": preprocess}
    (path / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    source = path / "source.json"
    source.write_text(json.dumps(TINY), encoding="utf-8")
    state = build_clip(str(source), None).model.state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, path / "open_clip_model.safetensors")
    return f"local-dir:{path}"


def test_a_folder_tells_its_own(tmp_path: Path) -> None:
    name = folder(
        tmp_path,
        size=[384, 384],
        mean=[0.1, 0.2, 0.3],
        std=[0.4, 0.5, 0.6],
        interpolation="bilinear",
        resize_mode="longest",
        fill_color=127,
    )
    assert image_preprocessing(build_clip(name, None).model) == ImagePreprocessing(
        size=(16, 16),  # the tower's own; a config that tells another one can't be followed
        mean=(0.1, 0.2, 0.3),
        std=(0.4, 0.5, 0.6),
        interpolation="bilinear",
        resize_mode="longest",
        fill_color=127,
    )


def test_a_folder_that_tells_nothing_has_clips(tmp_path: Path) -> None:
    assert image_preprocessing(build_clip(folder(tmp_path), None).model) == ImagePreprocessing(size=(16, 16))


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"interpolation": "random"}, "interpolation of the model's preprocess_cfg must be one of bicubic, bilinear, "),
        ({"resize_mode": "tile"}, "resize_mode of the model's preprocess_cfg must be one of shortest, longest, squash"),
        ({"mean": [0.5]}, "preprocess_cfg .* can't be used: not enough values"),
        ({"mode": "L"}, "preprocess_cfg .* can't be used: mode must be RGB;"),
    ],
)
def test_a_folder_that_tells_nonsense(tmp_path: Path, told: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        build_clip(folder(tmp_path, **told), None)


def test_an_architectures_tags_agree_or_say_nothing() -> None:
    assert shared_preprocessing("ViT-B-16-SigLIP") == {
        "mean": HALF,
        "std": HALF,
        "interpolation": "bicubic",
        "resize_mode": "squash",
    }
    assert shared_preprocessing("ViT-B-16")["mean"] == ImagePreprocessing().mean
    assert shared_preprocessing("ViT-H-14") == {}, "DFN squashes, LAION crops"
    assert shared_preprocessing("ViT-S-16") == {}, "no weights are known"


def test_random_weights_take_what_the_tags_share(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    model: Any = torch.nn.Linear(1, 1)
    model.visual = SimpleNamespace(preprocess_cfg={"size": 8}, image_size=8)

    def create(name: str, **options: Any) -> torch.nn.Module:
        asked.append(options)
        return cast(torch.nn.Module, model)

    monkeypatch.setattr(open_clip, "create_model", create)
    monkeypatch.setattr(open_clip, "get_tokenizer", lambda name: None)
    build_clip("ViT-B-16-SigLIP", None)
    build_clip("ViT-B-16-SigLIP", "webli")  # open_clip reads its tag
    assert [options["force_preprocess_cfg"] for options in asked] == [shared_preprocessing("ViT-B-16-SigLIP"), None]
