"""Building models: names, tags, config files, weight files, and every way they can be wrong."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import open_clip
import pytest
import torch
from architectures import write
from safetensors.torch import save_file
from torch import nn

from starft.clip import ClipEncoder, build_clip
from starft.clip.undrawn import Undrawn
from starft.errors import ConfigError, WeightsError

TINY = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny-build.json"
    path.write_text(json.dumps(TINY), encoding="utf-8")
    return path


def state(clip: ClipEncoder) -> dict[str, torch.Tensor]:
    return {key: value.clone().contiguous() for key, value in clip.model.state_dict().items()}


def sentence(error: type[Exception], model: str | Path, pretrained: str | Path | None) -> str:
    """Return what building says, which must be one line."""
    with pytest.raises(error) as caught:
        build_clip(str(model), None if pretrained is None else str(pretrained))
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


def gone(*_: Any, **__: Any) -> Any:
    raise URLError("[Errno -3] Temporary failure in name resolution\nsecond line")


# what works


def test_a_config_file_is_a_model(config: Path) -> None:
    clip = build_clip(str(config), None)
    assert isinstance(clip.model, open_clip.CLIP)
    assert not any(module.training for module in clip.model.modules())
    assert {parameter.dtype for parameter in clip.parameters()} == {torch.float32}
    assert clip.encode_image(torch.zeros(2, 3, 16, 16)).shape == (2, 8)
    assert clip.encode_text(["a duck.", "x " * 50]).shape == (2, 8)
    assert clip.tokenize(["a duck."]).shape == (1, 16)
    assert clip.trim
    assert not build_clip(str(config), None, trim=False).trim


def test_null_means_random_weights_without_a_word(config: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        one, two = state(build_clip(str(config), None)), state(build_clip(str(config), None))
    assert not torch.equal(one["token_embedding.weight"], two["token_embedding.weight"])
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_local_weight_file(config: Path, tmp_path: Path, suffix: str) -> None:
    weights, path = state(build_clip(str(config), None)), tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save(weights, path)
    else:
        save_file(weights, path)
    loaded = state(build_clip(str(config), str(path)))
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[key], value) for key, value in weights.items())


def test_a_local_folder_with_config_and_weights(config: Path, tmp_path: Path) -> None:
    weights = state(build_clip(str(config), None))
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY}), encoding="utf-8")
    save_file(weights, tmp_path / "open_clip_model.safetensors")
    loaded = state(build_clip(f"local-dir:{tmp_path}", "openai"))
    assert all(torch.equal(loaded[key], value) for key, value in weights.items())


@pytest.mark.parametrize(
    ("model", "tag", "quick"),
    [
        ("ViT-B-16", "openai", True),
        ("ViT-B-16", "laion2b_s34b_b88k", False),
        ("ViT-B-32", "OpenAI", True),
        ("ViT-B-32", None, False),
    ],
)
def test_quick_gelu_follows_the_tag(monkeypatch: pytest.MonkeyPatch, model: str, tag: str | None, quick: bool) -> None:
    """OpenAI's weights were trained with another GELU; without it they lose accuracy in silence."""
    asked: list[tuple[str, dict[str, Any]]] = []
    made = nn.Linear(1, 1)

    def create(name: str, **options: Any) -> nn.Module:
        asked.append((name, options))
        made.preprocess_cfg = {"size": 32}  # type: ignore[assignment]
        return made

    monkeypatch.setattr(open_clip, "create_model", create)
    build_clip(model, tag)
    assert len(asked) == 1
    name, options = asked[0]
    assert (name, options["pretrained"], options["force_quick_gelu"]) == (model, tag, quick)


def test_the_level_of_the_root_logger_comes_back(config: Path) -> None:
    root = logging.getLogger()
    before = root.level
    build_clip(str(config), None)
    assert root.level == before
    sentence(WeightsError, "local-dir:/nowhere/at/all", None)
    assert root.level == before


# names and tags


def test_an_unknown_model_is_told_with_its_nearest_names() -> None:
    text = sentence(ConfigError, "ViT-B16", "openai")
    assert text.startswith("There is no model 'ViT-B16'. Did you mean ")
    assert "ViT-B-16" in text
    assert "local-dir:PATH" in text


def test_an_unknown_model_like_no_other() -> None:
    assert "Did you mean" not in sentence(ConfigError, "qqqqqqqq", None)


def test_an_unknown_tag_is_told_with_its_nearest_and_all_there_are() -> None:
    text = sentence(ConfigError, "ViT-B-16", "opnai")
    assert text.startswith("'opnai' is neither a file nor a tag of weights for ViT-B-16. Did you mean openai")
    tags = re.search(r"Its tags: (.*)\.", text)
    assert tags is not None
    assert tags[1].split(", ") == open_clip.list_pretrained_tags_by_model("ViT-B-16")


def test_the_embedded_worlds_have_three_tags() -> None:
    text = sentence(ConfigError, "starft-mini", "min")
    assert "Did you mean mini or mini_weak?" in text
    assert text.endswith("Its tags: mini, mini_weak, mini_looks.")


def test_a_weight_file_that_does_not_exist(config: Path, tmp_path: Path) -> None:
    text = sentence(ConfigError, config, tmp_path / "missing.pt")
    assert str(tmp_path / "missing.pt") in text
    assert text.endswith("Its tags: none.")


# config files


@pytest.mark.parametrize("content", ["", '{"embed_dim": 8', '{"embed_dim": 8,}', "\x00"])
def test_a_config_that_is_no_json(config: Path, content: str) -> None:
    config.write_text(content, encoding="utf-8")
    assert sentence(ConfigError, config, None).startswith(f"The model config {config} can't be read: ")


def test_a_config_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    assert "No such file" in sentence(ConfigError, path, None)
    path.write_bytes(b"\xff\xfe\xfa")
    assert "can't be read" in sentence(ConfigError, path, None)
    path.unlink()
    path.mkdir()
    assert "Is a directory" in sentence(ConfigError, path, None)


@pytest.mark.parametrize(
    ("content", "missing"),
    [
        ({"embed_dim": 8, "vision_cfg": {}}, "text_cfg"),
        ({}, "embed_dim, vision_cfg, text_cfg"),
        ([], "embed_dim, vision_cfg, text_cfg"),
        (3, "embed_dim, vision_cfg, text_cfg"),
        (None, "embed_dim, vision_cfg, text_cfg"),
        ("embed_dim vision_cfg text_cfg", "embed_dim, vision_cfg, text_cfg"),
    ],
)
def test_a_config_that_lacks_keys(config: Path, content: object, missing: str) -> None:
    config.write_text(json.dumps(content), encoding="utf-8")
    assert f"{config} lacks {missing};" in sentence(ConfigError, config, None)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("tiny-key", {"vision_cfg": TINY["vision_cfg"] | {"wdth": 16}}),
        ("tiny-type", {"vision_cfg": TINY["vision_cfg"] | {"width": "wide"}}),
        ("tiny-heads", {"text_cfg": TINY["text_cfg"] | {"heads": 3}}),
        ("tiny-zero", {"text_cfg": TINY["text_cfg"] | {"heads": 0}}),
    ],
)
def test_a_config_that_makes_no_model(tmp_path: Path, name: str, changes: dict[str, Any]) -> None:
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(TINY | changes), encoding="utf-8")
    assert sentence(WeightsError, path, None).startswith(f"The model {name} with weights None can't be loaded: ")


def test_a_config_with_the_name_of_another_model_is_refused(config: Path, tmp_path: Path) -> None:
    """Open_clip knows models by name: without this, the file would be passed over in silence."""
    path = tmp_path / "ViT-B-32.json"
    path.write_text(json.dumps(TINY), encoding="utf-8")
    text = sentence(ConfigError, path, None)
    assert "differs from the model 'ViT-B-32'" in text
    assert "rename the file" in text
    build_clip(str(config), None)
    (tmp_path / "other").mkdir()
    same = tmp_path / "other" / config.name
    same.write_text(config.read_text(encoding="utf-8"), encoding="utf-8")
    build_clip(str(same), None)
    same.write_text(json.dumps(TINY | {"embed_dim": 4}), encoding="utf-8")
    assert f"differs from the model '{config.stem}'" in sentence(ConfigError, same, None)


# weight files


def truncated(path: Path, weights: dict[str, torch.Tensor]) -> None:
    torch.save(weights, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def truncated_safetensors(path: Path, weights: dict[str, torch.Tensor]) -> None:
    save_file(weights, path)
    path.write_bytes(path.read_bytes()[:-1])


def wrong_shape(path: Path, weights: dict[str, torch.Tensor]) -> None:
    torch.save(weights | {"text_projection": torch.zeros(8, 7)}, path)


def lacking(path: Path, weights: dict[str, torch.Tensor]) -> None:
    torch.save({key: value for key, value in weights.items() if key != "text_projection"}, path)


def superfluous(path: Path, weights: dict[str, torch.Tensor]) -> None:
    torch.save(weights | {"extra": torch.zeros(1)}, path)


def empty_dict(path: Path, weights: dict[str, torch.Tensor]) -> None:
    torch.save({}, path)


def a_list(path: Path, weights: dict[str, torch.Tensor]) -> None:
    torch.save(list(weights.values()), path)


def with_code(path: Path, weights: dict[str, torch.Tensor]) -> None:
    torch.save({"state_dict": weights, "callback": print}, path)


def garbage(path: Path, weights: dict[str, torch.Tensor]) -> None:
    path.write_bytes(b"\x00garbage" * 100)


def empty(path: Path, weights: dict[str, torch.Tensor]) -> None:
    path.write_bytes(b"")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "write"),
    [
        (".pt", truncated),
        (".pt", wrong_shape),
        (".pt", lacking),
        (".pt", superfluous),
        (".pt", empty_dict),
        (".pt", a_list),
        (".pt", with_code),
        (".pt", garbage),
        (".pt", empty),
        (".safetensors", truncated_safetensors),
        (".safetensors", garbage),
        (".safetensors", empty),
        (".npz", garbage),
    ],
)
def test_weight_files_that_do_not_load(
    config: Path, tmp_path: Path, suffix: str, write: Callable[[Path, dict[str, torch.Tensor]], None]
) -> None:
    path = tmp_path / f"weights{suffix}"
    write(path, state(build_clip(str(config), None)))
    assert sentence(WeightsError, config, path).startswith(f"The weights {path} don't load into this model: ")


def test_weights_take_the_place_of_what_would_be_drawn(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    expected = state(build_clip(str(config), None))
    torch.save(expected, path)
    filled = state(build_clip(str(config), str(path)))
    assert filled.keys() == expected.keys()
    assert all(torch.equal(filled[name], values) for name, values in expected.items())


@pytest.mark.parametrize(
    "left", ["visual.conv1.weight", "token_embedding.weight", "transformer.resblocks.0.mlp.c_fc.weight"]
)
def test_what_weights_do_not_fill_is_told(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    """Such a file of big_vision is loaded array by array, by open_clip's own code."""
    path = tmp_path / "weights.npz"
    path.write_bytes(b"")
    given = {
        name: torch.ones_like(values) for name, values in state(build_clip(str(config), None)).items() if name != left
    }
    load = lambda model, path: model.load_state_dict(given, strict=False)  # noqa: E731
    monkeypatch.setattr(open_clip.factory, "load_checkpoint", load)
    assert sentence(WeightsError, config, path) == (
        f"The weights {path} can't be used: {left} holds a NaN or an infinity; give others."
    )


class Noisy(nn.Module):
    """Draws a parameter, a buffer that isn't saved, and one of a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(3))
        nn.init.normal_(self.weight)
        self.register_buffer("noise", torch.empty(3).normal_(), persistent=False)
        self.fixed = nn.Parameter(torch.empty(3))
        nn.init.normal_(self.fixed, generator=torch.Generator().manual_seed(0))


def test_what_no_weights_replace_is_drawn() -> None:
    with Undrawn():
        made = Noisy()
    assert made.weight.isnan().all()
    assert made.get_buffer("noise").isfinite().all()
    torch.testing.assert_close(made.fixed.detach(), torch.randn(3, generator=torch.Generator().manual_seed(0)))


def test_weights_of_another_model(config: Path, tmp_path: Path) -> None:
    other, path = tmp_path / "tiny-other.json", tmp_path / "other.pt"
    other.write_text(json.dumps(TINY | {"embed_dim": 4}), encoding="utf-8")
    torch.save(state(build_clip(str(other), None)), path)
    assert str(path) in sentence(WeightsError, config, path)


# the network


def test_a_tag_out_of_reach(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(open_clip.factory, "download_pretrained", gone)
    text = sentence(WeightsError, "ViT-B-16", "openai")
    assert "The model ViT-B-16 with weights 'openai' can't be loaded: " in text
    assert "Temporary failure in name resolution" in text
    assert "a local weight file" in text
    assert "local-dir:PATH" in text
    assert caplog.records == [], "the sentence alone is enough"


def test_a_hub_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_clip.factory, "download_pretrained_from_hf", gone)
    text = sentence(WeightsError, "hf-hub:org/name", None)
    assert "The model hf-hub:org/name with weights None can't be loaded: " in text
    assert "Temporary failure in name resolution" in text
    assert "local-dir:PATH" in text


def test_a_hub_that_gives_the_config_and_not_the_weights(
    config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Open_clip goes on with random weights then, and only logs it."""
    hub = tmp_path / "open_clip_config.json"
    hub.write_text(json.dumps({"model_cfg": TINY}), encoding="utf-8")

    def download(model_id: str, filename: str | None = None, **_: Any) -> str:
        if filename == hub.name:
            return str(hub)
        return str(gone())

    monkeypatch.setattr(open_clip.factory, "download_pretrained_from_hf", download)
    assert "could not be loaded" in sentence(WeightsError, "hf-hub:org/name", None)


def test_a_folder_without_weights(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY}), encoding="utf-8")
    assert "could not be loaded" in sentence(WeightsError, f"local-dir:{tmp_path}", None)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert str(tmp_path / "no") in sentence(WeightsError, f"local-dir:{tmp_path / 'no'}", None)


def test_a_tokenizer_out_of_reach(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_clip, "get_tokenizer", gone)
    assert "Temporary failure in name resolution" in sentence(WeightsError, config, None)


@pytest.mark.slow
def test_weights_that_dont_fit_are_told_by_key(config: Path, tmp_path: Path) -> None:
    weights = state(build_clip(str(config), None))
    path = tmp_path / "mine.pt"
    torch.save(weights | {"token_embedding.weight": torch.zeros(5, 8)}, path)
    told = sentence(WeightsError, config, path)
    assert "token_embedding.weight is [5, 8] in the file and [49408, 8] in the model" in told
    torch.save({key: value for key, value in weights.items() if key != "text_projection"}, path)
    assert "missing key text_projection, so perhaps" in sentence(WeightsError, config, path)
    path.write_bytes(b"\x00garbage" * 100)
    assert sentence(WeightsError, config, path).endswith(
        "it isn't a weight file that can be read safely; give safetensors or a state dict."
    )


def test_sizes_of_a_model_config_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "impossible.json"
    path.write_text(json.dumps(TINY | {"vision_cfg": {"image_size": -3}}), encoding="utf-8")
    assert "has vision_cfg.image_size -3; it must be at least 1." in sentence(ConfigError, path, None)


@pytest.mark.slow
def test_random_weights_of_coca_are_all_drawn(tmp_path: Path) -> None:
    """open_clip leaves the decoder's projection as the memory was: any number, not a number, too."""
    config = write(tmp_path, "coca")
    models = []
    for _ in range(2):
        torch.manual_seed(0)
        models.append(build_clip(str(config), None).model.text_decoder.text_projection)
    assert torch.equal(*models)
    assert 0 < models[0].std() < 1
