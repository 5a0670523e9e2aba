"""`starft export`: what other programs read of an export is what the checkpoint says, to 1e-5."""

import json
import re
from pathlib import Path

import numpy as np
import onnxruntime
import open_clip
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from clip import architectures
from fakes import checkpoints
from starft import load
from starft.__main__ import main
from starft.data.images import ORIENTATION
from starft.exporting import folder as folders
from starft.inference.classifier import Classifier
from starft.runs.checkpoints import KEY

pytestmark = pytest.mark.slow

TEXTS = ["a photo of a duck.", "A Gull  on a lake", "two crows & an owl's nest, at night"]
NAMES = checkpoints.NAMES


def picture(size: tuple[int, int]) -> Image.Image:
    generator = torch.Generator().manual_seed(size[0])
    return Image.fromarray(torch.randint(256, (*size[::-1], 3), generator=generator).to(torch.uint8).numpy())


def pixels_for(model: Classifier, count: int = 3) -> Tensor:
    return torch.randn(count, 3, *model.preprocessing.size, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with the quick GELU, a context of 16 and colours of its own."""
    folder = tmp_path_factory.mktemp("quick")
    path = folder / "last.ckpt"
    checkpoints.write(path, str(architectures.write(folder / "model", "vit")), None)
    held = torch.load(path, weights_only=True)
    held[KEY]["config"]["preprocess_cfg"] |= {
        "mean": [0.5, 0.4, 0.3],
        "std": [0.1, 0.2, 0.3],
        "interpolation": "bilinear",
    }
    torch.save(held, path)
    return path


@pytest.fixture(params=["mini", "quick", "linear"])
def any_checkpoint(request: pytest.FixtureRequest, checkpoint: Path, linear_checkpoint: Path, quick: Path) -> Path:
    paths: dict[str, Path] = {"mini": checkpoint, "quick": quick, "linear": linear_checkpoint}
    return paths[request.param]


def export(path: Path, to: Path, form: str) -> Classifier:
    assert main(["export", str(path), f"--to={to}", f"--format={form}"]) == 0
    return load(path, "cpu")


def card_says(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Run each snippet of a card beside its folder on a turned picture; return what it prints, in words."""
    monkeypatch.chdir(folder.parent)
    image = picture((90, 70))
    exif = image.getexif()
    exif[ORIENTATION] = 6
    image.save("photo.jpg", exif=exif)
    text = (folder / "README.md").read_text(encoding="utf-8")
    capsys.readouterr()
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(code, "card", "exec"), {"__name__": "__main__"})
    return capsys.readouterr().out.split()


@torch.no_grad()
def test_open_clip_reads_its_folder(
    any_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = export(any_checkpoint, tmp_path / "out", "open_clip")
    name, probability, *_ = card_says(tmp_path / "out", monkeypatch, capsys)
    (expected,) = ours.predict("photo.jpg")
    assert (name, float(probability)) == (expected.label, pytest.approx(expected.probability, abs=1e-4))
    theirs, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'out'}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'out'}")
    theirs.eval()
    pixels = pixels_for(ours)
    logits, _ = theirs.get_logits(pixels, tokenizer(TEXTS))
    mine = ours.clip.logit_scale * ours.encode(pixels) @ ours.encode_text(TEXTS).T
    assert torch.allclose(logits, mine, rtol=0, atol=1e-5)
    image = picture((90, 70))
    assert torch.equal(transform(image), ours.preprocess(image))
    assert tuple(transform.transforms[-1].mean) == ours.preprocessing.mean
    again = load(tmp_path / "out", "cpu")
    assert again.class_names == ours.class_names == NAMES
    assert torch.allclose(again.logits(pixels), ours.logits(pixels), rtol=0, atol=1e-5)
    new = [one.with_classes(["sun", "rain"]).logits(pixels) for one in (again, ours)]
    assert torch.allclose(*new, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_tokenizer_of_its_own_goes_along(tmp_path: Path) -> None:
    config = architectures.write(tmp_path / "own-tokens", "siglip")
    checkpoints.write(tmp_path / "last.ckpt", str(config), None)
    ours = export(tmp_path / "last.ckpt", tmp_path / "out", "open_clip")
    tokens = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'out'}")(TEXTS)
    assert torch.equal(tokens, ours.clip.tokenize(TEXTS))
    text = ours.encode_text(TEXTS)
    (tmp_path / "own-tokens" / "tokens").rename(tmp_path / "gone")
    assert torch.allclose(load(tmp_path / "out", "cpu").encode_text(TEXTS), text, atol=1e-6)


@torch.no_grad()
def test_transformers_reads_its_clip(any_checkpoint: Path, tmp_path: Path) -> None:
    ours = export(any_checkpoint, tmp_path / "out", "hf")
    theirs = transformers.CLIPModel.from_pretrained(tmp_path / "out").eval()
    processor = transformers.CLIPProcessor.from_pretrained(tmp_path / "out")
    length = ours.clip.tokenize.context_length  # type: ignore[attr-defined]
    inputs = processor(text=TEXTS, return_tensors="pt", padding="max_length", truncation=True)
    assert inputs["input_ids"].shape[1] == length
    pixels = pixels_for(ours)
    logits = theirs(**inputs, pixel_values=pixels).logits_per_image
    mine = ours.clip.logit_scale * ours.encode(pixels) @ ours.encode_text(TEXTS).T
    assert torch.allclose(logits, mine, rtol=0, atol=1e-5)
    image = picture(ours.preprocessing.size)
    prepared = processor(images=image, return_tensors="pt")["pixel_values"][0]
    assert torch.allclose(prepared, ours.preprocess(image), atol=1e-5)
    larger = picture((150, 90))
    prepared = processor(images=larger, return_tensors="pt")["pixel_values"][0]
    grey = 1 / 255 / min(ours.preprocessing.std)
    assert (prepared - ours.preprocess(larger)).abs().mean() < grey, "resizing may round to another grey level"


@pytest.mark.parametrize("kind", ["resnet", "siglip", "coca"])
def test_what_transformers_lacks_is_refused(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints.write(tmp_path / "last.ckpt", str(architectures.write(tmp_path / f"refused-{kind}", kind)), None)
    assert main(["export", str(tmp_path / "last.ckpt"), f"--to={tmp_path / 'out'}", "--format=hf"]) == 2
    what = {"resnet": "an image tower of the kind ModifiedResNet", "siglip": "the parts of CustomTextCLIP"}
    told = what.get(kind, "the parts of CoCa")
    said = capsys.readouterr().err
    assert said == f"starft: transformers has no CLIP with {told}; take the format open_clip or onnx.\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@torch.no_grad()
def test_onnxruntime_gets_the_same_logits(
    linear_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = export(linear_checkpoint, tmp_path / "out", "onnx")
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx", providers=["CPUExecutionProvider"])
    for count in (1, 5):
        pixels = pixels_for(ours, count)
        features, logits = session.run(None, {"image": pixels.numpy()})
        np.testing.assert_allclose(features, ours.encode(pixels).numpy(), rtol=0, atol=1e-5)
        np.testing.assert_allclose(logits, ours.logits(pixels).numpy(), rtol=0, atol=1e-5)
    about = json.loads((tmp_path / "out" / "starft.json").read_text(encoding="utf-8"))
    assert about["class_names"] == list(NAMES)
    assert about["preprocessing"]["mean"] == list(ours.preprocessing.mean)
    name, probability = card_says(tmp_path / "out", monkeypatch, capsys)
    (expected,) = ours.predict("photo.jpg")
    assert (name, float(probability)) == (expected.label, pytest.approx(expected.probability, abs=1e-4))


@torch.no_grad()
@pytest.mark.parametrize("linear", [True, False])
def test_the_head_alone(linear: bool, checkpoint: Path, linear_checkpoint: Path, tmp_path: Path) -> None:
    ours = export(linear_checkpoint if linear else checkpoint, tmp_path / "out", "head")
    head = load_file(tmp_path / "out" / "head.safetensors")["head"]
    pixels = pixels_for(ours)
    assert torch.allclose(ours.encode(pixels) @ head.T, ours.logits(pixels), rtol=0, atol=1e-5)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "head.safetensors",
        "starft.json",
        "README.md",
        "SHA256SUMS",
    }


def test_nothing_is_overwritten_and_nothing_half_is_left(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    export(checkpoint, out, "head")  # empty is free
    modes = {path.stat().st_mode & 0o777 for path in out.iterdir()}
    assert len(modes) == 1, "one who may read the one may read all"
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    for to in (out, out / "README.md"):
        assert main(["export", str(checkpoint), f"--to={to}"]) == 2
        assert capsys.readouterr().err == f"starft: {to} holds something already; move it away or give another --to.\n"
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before

    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folders.Path, "replace", full)
    assert main(["export", str(checkpoint), f"--to={tmp_path / 'other'}", "--format=head"]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
@torch.no_grad()
def test_open_clip_finds_the_accuracy_of_starft_test(tmp_path: Path) -> None:
    """A run on the embedded world, scored by open_clip's own zero-shot code."""
    from starft.mini import MiniWorld  # noqa: PLC0415

    run = tmp_path / "run"
    sizes = {"train_size": 24, "val_size": 12, "test_size": 60, "batch_size": 12}
    common = ["--config=mini/starft", f"--trainer.default_root_dir={run}", "--trainer.max_epochs=1"]
    common += ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--model.warmup_steps=1"]
    common += [f"--data.init_args.{name}={size}" for name, size in sizes.items()]
    last = run / "checkpoints" / "last.ckpt"
    assert main(["fit", *common]) == 0
    assert main(["test", *common, f"--ckpt_path={last}"]) == 0
    export(last, tmp_path / "out", "open_clip")
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))["eval_sets"]
    name = f"local-dir:{tmp_path / 'out'}"
    model, _, _ = open_clip.create_model_and_transforms(name)
    tokenizer = open_clip.get_tokenizer(name)
    data = MiniWorld(**sizes)
    data.setup("test")
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    for eval_set, pictures in zip(data.test_sets, data.test_data, strict=True):
        head = open_clip.build_zero_shot_classifier(model.eval(), tokenizer, eval_set.class_names, eval_set.templates)
        batch = [pictures[at] for at in range(len(pictures))]
        features = model.encode_image(torch.stack([row["image"] for row in batch]), normalize=True)
        right = (features @ head).argmax(dim=-1) == torch.stack([row["label"] for row in batch])
        accuracy = float(right.double().mean())
        assert accuracy == pytest.approx(results[eval_set.name]["metrics"]["acc"], abs=1e-6)
        assert f"| {eval_set.name} | {len(pictures)} | {100 * accuracy:.1f} (" in text
