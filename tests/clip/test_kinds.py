"""Every kind of model: built, trained a step with StarFT, saved, loaded, the same logits; captions cut exactly."""

import json
from pathlib import Path
from typing import Any

import lightning as L
import open_clip
import pytest
import torch
from architectures import KINDS, write
from architectures import weights as weights_of
from open_clip.hf_model import HFTextEncoder
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from fakes.quiet_trainer import trainer
from starft.clip import CaptionRuler, ClipEncoder, build_clip, zero_shot_head
from starft.losses import SpuriosityAlignment
from starft.losses.objectives import Contrastive, CrossEntropy
from starft.training.module import FinetuneModule
from starft.types import Batch, EvalSet

NAMES = ("duck", "gull", "crow")
ROWS = 3
CAPTIONS = ["a photo of a duck on the lake at night .", "a gull .", "crow", ""]


class Noise(Dataset[Batch]):
    """Pictures of the size that the model asks for."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, index: int) -> Batch:
        image = torch.randn(3, *self.size, generator=torch.Generator().manual_seed(index))
        return Batch(image=image, label=torch.tensor(index % len(NAMES)), index=torch.tensor(index))


class NoiseData(L.LightningDataModule):
    class_names = NAMES
    templates = ("a photo of a {}.",)
    val_sets: tuple[EvalSet, ...] = ()
    test_sets: tuple[EvalSet, ...] = ()
    predict_sets: tuple[EvalSet, ...] = ()

    def train_dataloader(self) -> DataLoader[Batch]:
        assert self.trainer is not None
        module = self.trainer.lightning_module
        assert isinstance(module, FinetuneModule)
        return DataLoader(Noise(module.preprocessing.size), batch_size=ROWS)


def step(module: FinetuneModule, precision: Any = "32-true") -> L.Trainer:
    """Train one step."""
    made = trainer(precision=precision, max_steps=1)
    made.fit(module, datamodule=NoiseData())
    assert made.global_step == 1
    return made


def starft(config: Path, weights: Path, **given: Any) -> FinetuneModule:
    """Build the module with StarFT on the contrastive objective."""
    defaults: dict[str, Any] = {
        "objective": Contrastive(),
        "regularizers": [SpuriosityAlignment(weight=0.5, schedule="constant")],
        "pool": "mini_scenes",
        "lr": 1e-3,
        "warmup_steps": 0,
    }
    return FinetuneModule(model_name=str(config), pretrained=str(weights), **defaults | given)


def pictures(module: FinetuneModule) -> Tensor:
    return torch.stack([Noise(module.preprocessing.size)[index]["image"] for index in range(3)])


def logits(module: FinetuneModule) -> Tensor:
    """Class logits as `predict` has them."""
    clip = module.clip.eval()
    with torch.no_grad():
        head = module.linear_head
        if head is None:
            head = clip.logit_scale * zero_shot_head(clip, module.class_names, module.templates)
        return clip.encode_image(pictures(module)) @ head.T


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def config(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp(kind), kind)


@pytest.fixture(scope="module")
def weights(config: Path) -> Path:
    return weights_of(config)


@pytest.fixture
def clip(config: Path, weights: Path) -> ClipEncoder:
    return build_clip(str(config), str(weights))


def same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal to the last bit; CoCa's decoder comes with a matrix that nobody has filled."""
    return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


# Built as it should be


@pytest.mark.slow
def test_it_is_open_clips_own(kind: str, clip: ClipEncoder) -> None:
    model = clip.model
    classes = {"vit": open_clip.CLIP, "resnet": open_clip.CLIP, "coca": open_clip.CoCa}
    assert type(model) is classes.get(kind, open_clip.CustomTextCLIP)
    towers = {"resnet": ModifiedResNet, "siglip": TimmModel, "timm": TimmModel}
    assert isinstance(model.visual, towers.get(kind, open_clip.transformer.VisionTransformer))
    assert isinstance(getattr(model, "text", None), HFTextEncoder) == (kind == "hf")
    assert (model.logit_bias is not None) == (kind == "siglip")
    quick = [part for part in model.modules() if isinstance(part, open_clip.transformer.QuickGELU)]
    assert len(quick) == (5 if kind == "vit" else 0), "two towers of 3 and 2 blocks"


@pytest.mark.slow
def test_tokenizer_and_context_are_the_models(kind: str, config: Path, clip: ClipEncoder) -> None:
    tokens = clip.tokenize(CAPTIONS)
    assert tokens.shape == (4, 16)
    ruler = CaptionRuler(str(config))
    # a start, the words and the full stop, an end; CLIP's own has no other tokens here
    assert (ruler.context, ruler.tokens(CAPTIONS)) == (
        16,
        [13 if kind != "siglip" else 12, 5 - (kind == "siglip"), 3, 2],
    )
    own = {"siglip": 1, "hf": 2}.get(kind, 0)
    assert tokens[-1, -1] == own, "the id of the padding"


# Cut captions are the same captions


def plain(clip: ClipEncoder, captions: list[str]) -> Tensor:
    """Encode at full length in open_clip's own code."""
    return F.normalize(clip.model.encode_text(clip.tokenize(captions)), dim=-1)


@pytest.mark.slow
def test_features_are_those_at_full_length(kind: str, clip: ClipEncoder) -> None:
    clip.double()
    lengths: list[int] = []
    model = clip.model
    tower = model.text if hasattr(model, "text") else model
    tower.transformer.register_forward_pre_hook(
        lambda module, inputs, named: lengths.append((inputs[0] if inputs else named["input_ids"]).shape[1]),
        with_kwargs=True,
    )
    for captions in (CAPTIONS[1:2], CAPTIONS[:3]):
        torch.testing.assert_close(clip.encode_text(captions), plain(clip, captions), rtol=1e-10, atol=1e-10)
    cut = kind in ("vit", "resnet", "timm")
    full = 17 if kind == "coca" else 16  # a class token comes on top
    rows = [row[: row.index(max(row)) + 1] for row in clip.tokenize(CAPTIONS[:3]).tolist()]
    held = [len({tuple(row[: end + 1]) for row in some for end in range(len(row))}) for some in (rows[1:2], rows)]
    longest = [5, 16, 13, 16]  # of transformers' tower, which masks its padding
    assert lengths == (longest if kind == "hf" else [held[0], 16, held[1], 16] if cut else [full] * 4)


# A step, a checkpoint, the same model


@pytest.mark.slow
def test_trained_saved_and_loaded(kind: str, config: Path, weights: Path, tmp_path: Path) -> None:
    module = starft(config, weights)
    before = {name: value.clone() for name, value in module.clip.model.state_dict().items()}
    made = step(module)
    moved = {name for name, value in module.clip.model.state_dict().items() if not same(value, before[name])}
    unread = {name for name in before if name == "logit_bias" or name.startswith("text_decoder.")}
    trained = {name for name, _ in module.clip.model.named_parameters()} - unread
    assert bool(unread) == (kind in ("siglip", "coca"))
    assert not moved & unread
    # Adam moves all that has a gradient; keys' biases drop out of a softmax, and BERT's types of words are one
    assert len(trained - moved) <= len(trained) // 10, sorted(trained - moved)
    assert {name for name in trained - moved if "bias" not in name and "embed" not in name} == set()

    path = tmp_path / "last.ckpt"
    made.save_checkpoint(path)
    held = torch.load(path, weights_only=True)
    assert not any(name.startswith("twin.") for name in held["state_dict"])
    assert len(held["optimizer_states"][0]["state"]) == len(trained)
    loaded = FinetuneModule.load_from_checkpoint(path, map_location="cpu")
    assert torch.equal(logits(loaded), logits(module))
    twin = loaded.twin.model.state_dict()
    assert all(same(value, before[name]) for name, value in twin.items())
    assert json.loads(config.read_text(encoding="utf-8")), "the config is still there"


@pytest.mark.slow
def test_a_step_in_bfloat16(kind: str, config: Path, weights: Path) -> None:
    if kind not in ("vit", "siglip"):
        return
    module = starft(config, weights, gradient_checkpointing=True)
    whole = starft(config, weights)
    made = step(module, precision="bf16-mixed")
    exact = step(whole)
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}
    loss, expected = (float(each.callback_metrics["train/loss"]) for each in (made, exact))
    assert loss != expected, "nothing was rounded"
    assert loss == pytest.approx(expected, rel=0.05)


# SigLIP's bias


@pytest.mark.slow
def test_a_bias_shared_by_all_logits_drops_out_of_every_softmax(kind: str, clip: ClipEncoder) -> None:
    """So no loss here gives it a gradient, and predictions are the same with and without it."""
    if kind != "siglip":
        return
    clip.double()
    tokens = clip.tokenize(CAPTIONS[:3])
    images = torch.randn(3, 3, 160, 160, dtype=torch.float64)
    with torch.no_grad():
        theirs, _ = clip.model.get_logits(images, tokens)
        scale = clip.model.logit_scale.exp()
        ours = scale * clip.encode_image(images) @ clip.encode_text(CAPTIONS[:3]).T
    torch.testing.assert_close(theirs - ours, torch.full((3, 3), -10.0, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(theirs.softmax(dim=1), ours.softmax(dim=1), rtol=1e-6, atol=0)
    torch.testing.assert_close(theirs.softmax(dim=0), ours.softmax(dim=0), rtol=1e-6, atol=0)


@pytest.mark.slow
def test_cross_entropy_on_a_linear_head(kind: str, config: Path, weights: Path) -> None:
    """The text tower isn't read, so it is frozen: the run is the same to the last bit as if it weren't."""
    if kind not in ("vit", "siglip"):
        return
    runs = []
    for thaw in (False, True):
        torch.manual_seed(0)
        module = starft(config, weights, objective=CrossEntropy(), regularizers=[], head="linear", pool=None)
        text = [p for name, p in module.clip.model.named_parameters() if not name.startswith("visual.")]
        assert not any(parameter.requires_grad for parameter in text)
        for parameter in text if thaw else ():
            parameter.requires_grad_(True)
        step(module)
        runs.append(module.state_dict())
    assert all(same(value, runs[1][name]) for name, value in runs[0].items())
    assert isinstance(module.linear_head, nn.Parameter)
