"""`starft.load`: a ready classifier from a checkpoint alone, and what it says of images."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from PIL import Image
from torch import Tensor

import starft
from clip import architectures
from fakes import checkpoints
from starft import load
from starft.data.images import BadImageError
from starft.errors import ConfigError, WeightsError
from starft.runs.checkpoints import KEY, check_checkpoint

pytestmark = pytest.mark.slow

NAMES = checkpoints.NAMES


def picture(seed: int, size: tuple[int, int] = (80, 64)) -> Image.Image:
    pixels = torch.randint(256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(seed))
    return Image.fromarray(pixels.to(torch.uint8).numpy())


@pytest.fixture(scope="module")
def model(checkpoint: Path) -> starft.inference.classifier.Classifier:
    return load(checkpoint, device="cpu")


@pytest.fixture(scope="module")
def by_open_clip(checkpoint: Path) -> tuple[Any, Any, Any]:
    """Model, transform and tokenizer made by open_clip alone, with the checkpoint's weights."""
    made, _, transform = open_clip.create_model_and_transforms("starft-mini", load_weights=False)
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    made.load_state_dict({key.removeprefix("clip.model."): v for key, v in state.items() if key.startswith("clip.")})
    return made.eval(), transform, open_clip.get_tokenizer("starft-mini")


def zero_shot(made: Any, tokenizer: Any, names: tuple[str, ...], pixels: Tensor) -> Tensor:
    """Probabilities (N, C) by open_clip's own zero-shot code."""
    head = open_clip.build_zero_shot_classifier(made, tokenizer, names, ["a photo of a {}.", "a sketch of a {}."])
    with torch.no_grad():
        features = made.encode_image(pixels, normalize=True)
        return (made.logit_scale.exp() * features @ head).softmax(dim=-1)


def test_it_says_what_open_clip_says(model: Any, by_open_clip: tuple[Any, Any, Any]) -> None:
    made, transform, tokenizer = by_open_clip
    images = [picture(seed) for seed in range(5)]
    pixels = torch.stack([transform(image) for image in images])
    assert model.class_names == NAMES
    for names, mine in (
        (NAMES, model),
        (("cat", "a dog", "owl", "lake"), model.with_classes(["cat", "a dog", "owl", "lake"])),
    ):
        theirs = zero_shot(made, tokenizer, names, pixels)
        found = mine.predict(images, batch_size=2)
        for row, prediction in zip(theirs.tolist(), found, strict=True):
            want = sorted(zip(names, row, strict=True), key=lambda pair: -pair[1])
            assert [name for name, _ in prediction.top] == [name for name, _ in want]
            assert [p for _, p in prediction.top] == pytest.approx([p for _, p in want], abs=1e-5)
            assert (prediction.label, prediction.probability) == prediction.top[0]
    with torch.no_grad():
        assert torch.allclose(model.encode(images), made.encode_image(pixels, normalize=True), atol=1e-6)
        text = made.encode_text(tokenizer(["a duck.", "on a lake"]), normalize=True)
    assert torch.allclose(model.encode_text(["a duck.", "on a lake"]), text, atol=1e-6)
    assert model.encode_text("a duck.").shape == (1, 96)


def test_the_trained_head_scores_where_there_is_one(linear_checkpoint: Path) -> None:
    model = load(linear_checkpoint, device="cpu")
    head = torch.load(linear_checkpoint, weights_only=True)["state_dict"]["linear_head"]
    images = [picture(seed) for seed in range(3)]
    want = (model.encode(images) @ head.T).softmax(dim=-1)
    found = model.predict(images, top_k=1)
    assert [one.label for one in found] == [NAMES[place] for place in want.argmax(dim=-1)]
    assert [one.probability for one in found] == pytest.approx(want.max(dim=-1).values.tolist(), abs=1e-5)
    assert all(len(one.top) == 1 for one in found)
    same_names = model.with_classes(NAMES).predict(images, top_k=1)
    assert [one.probability for one in same_names] != pytest.approx([one.probability for one in found], abs=1e-3)
    assert "linear head" in repr(model)


def test_paths_pictures_and_tensors_are_one(model: Any, tmp_path: Path) -> None:
    image = picture(7)
    image.save(tmp_path / "a.png")
    turned = image.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 270 degrees
    turned.save(tmp_path / "b.png", exif=exif)
    kinds = [
        image,
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        model.preprocess(image),
        Image.open(tmp_path / "b.png"),
    ]
    features = model.encode(kinds)
    assert torch.equal(features, features[:1].expand(5, -1))
    assert torch.equal(model.encode(image), model.encode(torch.stack([model.preprocess(image)])))
    assert torch.equal(model.encode(image), model.encode(model.preprocess(image)))
    assert len(model.predict(str(tmp_path / "a.png"))) == 1
    assert model.encode([]).shape == (0, 96)
    assert model.predict([]) == []


@pytest.mark.parametrize("kind", ["vit", "resnet", "siglip", "coca"])
def test_the_checkpoint_alone_builds_its_model(kind: str, tmp_path: Path) -> None:
    config = architectures.write(tmp_path / "gone", kind)
    module = checkpoints.write(tmp_path / "last.ckpt", str(config), None)
    config.unlink()
    model = load(tmp_path / "last.ckpt", device="cpu")
    pixels = torch.randn(2, 3, *model.preprocessing.size, generator=torch.Generator().manual_seed(0))
    assert model.preprocessing == module.preprocessing
    with torch.no_grad():
        assert torch.allclose(model.encode(pixels), module.clip.encode_image(pixels), atol=1e-6)
        assert torch.allclose(model.encode_text(["a duck."]), module.clip.encode_text(["a duck."]), atol=1e-6)


def test_how_a_tag_wants_its_model_is_in_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI's weights want the quick GELU and their own colours, whatever the architecture says."""
    config = architectures.write(tmp_path / "tagged", "resnet")
    weights = architectures.weights(config)
    told = {"file": str(weights), "quick_gelu": True, "mean": (0.1, 0.2, 0.3), "interpolation": "bilinear"}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag: told)
    monkeypatch.setattr(open_clip.factory, "get_pretrained_cfg", lambda name, tag: told)
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda cfg, cache_dir: cfg["file"])
    module = checkpoints.write(tmp_path / "last.ckpt", str(config), "some-tag")
    monkeypatch.undo()
    model = load(tmp_path / "last.ckpt", device="cpu")
    assert model.preprocessing == module.preprocessing
    assert (model.preprocessing.mean, model.preprocessing.interpolation) == ((0.1, 0.2, 0.3), "bilinear")
    assert torch.allclose(model.encode_text(["a duck."]), module.clip.encode_text(["a duck."]).detach(), atol=1e-6)
    assert "QuickGELU" in repr(model.clip.model)


def test_mistakes_are_told_in_one_sentence(model: Any, tmp_path: Path, checkpoint: Path) -> None:
    for top_k in (0, 4):
        with pytest.raises(ConfigError, match=rf"are 3 classes, so 1 to 3 can be listed; .* is {top_k}\."):
            model.predict([], top_k=top_k)
    with pytest.raises(ConfigError, match="batch_size must be at least 1; got 0"):
        model.predict(picture(0), batch_size=0)
    with pytest.raises(ConfigError, match=r"must be float \(3, 64, 64\).*got uint8 \(3, 9, 9\)"):
        model.predict(torch.zeros(3, 9, 9, dtype=torch.uint8))
    with pytest.raises(ConfigError, match="white level"):
        model.predict(Image.new("F", (9, 9)))
    with pytest.raises(BadImageError, match=r"nope.png can't be read: it doesn't exist"):
        model.predict(tmp_path / "nope.png")
    for names, told in (
        ("a,b", "must be a list"),
        ([], "two at least"),
        (["a", " "], "none empty"),
        (["a", "a"], "'a' is there twice"),
    ):
        with pytest.raises(ConfigError, match=told):
            model.with_classes(names)
    for templates in ("a {}", [], ["a photo"], ["{} {}"]):
        with pytest.raises(ConfigError, match="Templates must be a list of texts"):
            model.with_classes(["a", "b"], templates)
    with pytest.raises(ConfigError, match="The device 'gpu' can't be used here"):
        load(checkpoint, device="gpu")
    with pytest.raises(WeightsError, match=r"nope.ckpt doesn't exist"):
        load(tmp_path / "nope.ckpt")
    with pytest.raises(WeightsError, match=r"isn't an export that can be loaded, starft.json is missing"):
        load(tmp_path)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    last.touch()
    for folder in (tmp_path / "run", last.parent):
        for use in (load, check_checkpoint):
            with pytest.raises(WeightsError) as caught:
                use(folder)
            assert str(caught.value) == f"{folder} is a folder; give the checkpoint in it, such as {last}."
    last.with_name("best.ckpt").touch()
    with pytest.raises(WeightsError, match=r"such as .*best.ckpt\.$"):
        load(tmp_path / "run")


def changed(checkpoint: Path, path: Path, change: Any) -> Path:
    held = torch.load(checkpoint, weights_only=True)
    torch.save(change(held), path)
    return path


def test_foreign_and_damaged_checkpoints_are_told_in_one_sentence(checkpoint: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.ckpt"
    bad.write_bytes(checkpoint.read_bytes()[:5000])
    with pytest.raises(WeightsError, match=r"bad.ckpt can't be read: it is damaged"):
        load(bad)

    def without(*keys: str) -> Any:
        return lambda held: {key: value for key, value in held.items() if key not in keys}

    with pytest.raises(WeightsError, match=r"bad.ckpt isn't a checkpoint of starft"):
        load(changed(checkpoint, bad, without(KEY)))
    with pytest.raises(WeightsError, match=r"bad.ckpt isn't a checkpoint of starft"):
        load(changed(checkpoint, bad, lambda held: held | {KEY: {"head": "text"}}))
    with pytest.raises(WeightsError, match=r"bad.ckpt isn't a checkpoint of starft"):
        load(changed(checkpoint, bad, without("state_dict")))
    with pytest.raises(WeightsError, match="of an earlier starft and doesn't tell how to build its model"):
        load(changed(checkpoint, bad, lambda held: held | {KEY: held[KEY] | {"config": {}}}))
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    del state["clip.model.text_projection"]
    with pytest.raises(WeightsError, match=r"don't fit their own description: missing key text_projection"):
        load(changed(checkpoint, bad, lambda held: held | {"state_dict": state}))


def test_importing_starft_loads_no_torch_and_knows_load() -> None:
    code = "import starft, sys; assert 'torch' not in sys.modules; print(*sorted(starft.__all__)); starft.nope"
    environment = os.environ | {"PYTHONPATH": str(Path(starft.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout == "Classifier FinetuneModule StarftError __version__ callbacks data load losses mini\n"
    assert done.stderr.endswith("AttributeError: module 'starft' has no attribute 'nope'\n")
