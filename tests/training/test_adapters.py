"""LoRA in a run: one set of base weights, checkpoints of what is trained, and what reads them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

import plain_lora
from fakes import checkpoints
from fakes.quiet_trainer import trainer
from starft import load
from starft.__main__ import main
from starft.clip.lora import LoRA, named_updates
from starft.errors import ConfigError, WeightsError
from starft.losses import KD, L2SP, SpuriosityAlignment
from starft.losses.functional import spuriosity_alignment
from starft.losses.objectives import Contrastive, CrossEntropy
from starft.mini import MiniWorld
from starft.mini.world import HOMES
from starft.runs.checkpoints import KEY, fingerprint
from starft.training.averaging import interpolate, pretrained_weights, read_member, read_weights
from starft.training.module import FinetuneModule

SMALL = LoRA(rank=4, alpha=8)
MINI = Path(__file__).parents[2] / "lightning_configs" / "mini"
DATA = ["train_size=24", "val_size=12", "test_size=12", "batch_size=12"]
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
WORDS = [*(f"--data.init_args.{option}" for option in DATA), *QUIET, "--trainer.check_val_every_n_epoch=1"]


def build(**options: Any) -> FinetuneModule:
    own = {"model_name": "starft-mini", "pretrained": "mini", "warmup_steps": 0, "lr": 1e-2, "adapter": SMALL}
    return FinetuneModule(**own | options)


def fitted(module: FinetuneModule, *callbacks: L.Callback, **options: Any) -> L.Trainer:
    made = trainer(None, 2, *callbacks, **options)
    made.fit(module, datamodule=MiniWorld(train_size=24, val_size=12, batch_size=12))
    return made


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FinetuneModule]:
    """A checkpoint of updates that aren't 0, and the module that it is of."""
    path = tmp_path_factory.mktemp("adapters") / "last.ckpt"
    return path, checkpoints.write(path, adapter=SMALL)


def pixels() -> Tensor:
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
def test_updates_and_the_scale_are_trained_and_the_base_is_held_once() -> None:
    module = build(objective=Contrastive(), regularizers=[SpuriosityAlignment(1.0)], pool="mini_scenes")
    before = fingerprint(module.twin.state_dict())
    fitted(module)
    assert fingerprint(module.twin.state_dict()) == before == module.twin_fingerprint
    trained = {name for name, weight in module.named_parameters() if weight.requires_grad}
    assert all(".lora." in name or name == "clip.model.logit_scale" for name in trained)
    assert all(update.up.any() for _, update in named_updates(module.clip.model)), "each is moved"
    places = {weight.data_ptr() for weight in module.parameters()}
    own = sum(weight.numel() for weight in module.clip.parameters())
    assert sum(weight.numel() for weight in module.parameters()) == own + 1, "the twin's logit scale"
    assert len(places) == len(list(module.clip.parameters())) + 1


def test_a_checkpoint_holds_what_is_trained_and_names_its_base(written: tuple[Path, FinetuneModule]) -> None:
    path, module = written
    checkpoint = torch.load(path, weights_only=True)
    assert {name for name in checkpoint["state_dict"] if ".lora." not in name} == {"clip.model.logit_scale"}
    assert checkpoint[KEY]["twin"] == module.twin_fingerprint
    assert (checkpoint[KEY]["adapter"]["rank"], checkpoint[KEY]["pretrained"]) == (4, "mini")
    assert path.stat().st_size < 250_000


@pytest.mark.slow
def test_the_loaded_model_is_the_trained_one(written: tuple[Path, FinetuneModule], tmp_path: Path) -> None:
    path, module = written
    model = load(path, "cpu")
    with torch.no_grad():
        images, texts = module.clip.encode_image(pixels()), module.clip.encode_text(["a duck", "a gull on a lake"])
        start = module.twin.encode_image(pixels())
    assert main(["export", str(path), f"--to={tmp_path / 'export'}"]) == 0
    for whole in (model, load(tmp_path / "export", "cpu")):
        torch.testing.assert_close(whole.features(pixels()), images, rtol=0, atol=1e-5)
        torch.testing.assert_close(whole.encode_text(["a duck", "a gull on a lake"]), texts, rtol=0, atol=1e-5)
    assert (start - images).abs().max() > 1e-3
    again = build()
    checkpoint = torch.load(path, weights_only=True)
    again.on_load_checkpoint(checkpoint)
    again.load_state_dict(checkpoint["state_dict"])
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in again.state_dict().items())


@pytest.mark.slow
def test_of_another_base_or_adapter_a_checkpoint_is_refused(
    written: tuple[Path, FinetuneModule], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = written
    for options, sentence in (
        (
            {"pretrained": None},
            r"trained from other pre-trained weights than this config loads \(mini, and here None\)",
        ),
        ({"adapter": None}, "The checkpoint has model.adapter kind lora, rank 4, .* asks for null; give its own"),
        ({"adapter": LoRA(rank=8, alpha=8)}, "has model.adapter rank 4, and the config asks for rank 8; give its own"),
    ):
        with pytest.raises(WeightsError, match=sentence):
            build(**options).on_load_checkpoint(torch.load(path, weights_only=True))
    changed = build()
    changed.twin_fingerprint = "another"
    with pytest.raises(WeightsError, match=r"than this config loads \(mini, which have changed\); give the same"):
        changed.on_load_checkpoint(torch.load(path, weights_only=True))
    monkeypatch.setattr("starft.runs.adapted.fingerprint", lambda state: "another")
    with pytest.raises(WeightsError, match="adapters of other pre-trained weights than starft-mini with mini has now"):
        load(path, "cpu")


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["same", "bf16"])
def test_a_base_of_random_weights_is_in_the_checkpoint(precision: Any, tmp_path: Path) -> None:
    """Nobody could build it again: each time it is another one."""
    path = tmp_path / "last.ckpt"
    module = checkpoints.write(path, pretrained=None, adapter=LoRA(rank=4, base_precision=precision))
    expected = plain_lora.merged_state(module.clip.model)
    torch.manual_seed(1)
    averaged = read_weights(read_member(path))
    for state in (
        load(path, "cpu").clip.model.state_dict(),
        {name.removeprefix("clip.model."): value for name, value in averaged.items()},
    ):
        assert state.keys() == expected.keys()
        assert all(torch.allclose(value, expected[name].float(), atol=1e-6) for name, value in state.items())


def test_a_base_that_a_callback_thaws_is_refused() -> None:
    class Thaw(L.Callback):
        def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
            pl_module.clip.model.visual.requires_grad_(True)

    with pytest.raises(ConfigError, match=r"has thawed visual\..* is the twin's, too, and must stay as it is; leave"):
        fitted(build(objective=Contrastive()), Thaw(), max_steps=1)


@pytest.mark.slow
def test_averages_are_of_merged_weights(written: tuple[Path, FinetuneModule]) -> None:
    path, module = written
    member = read_member(path)
    middle = interpolate(pretrained_weights(member), read_weights(member), 0.5)
    start, end = module.twin.model.state_dict(), plain_lora.merged_state(module.clip.model)
    assert {f"clip.model.{name}" for name in end} == middle.keys()
    for name, value in end.items():
        torch.testing.assert_close(middle[f"clip.model.{name}"], (start[name] + value) / 2, rtol=0, atol=1e-6)


def test_a_teacher_follows_the_merged_weights() -> None:
    module = build(objective=Contrastive(), regularizers=[KD(teacher="weighted")])
    (teacher,) = module._followers()
    with torch.no_grad():
        for _, update in named_updates(module.clip.model):
            update.up.normal_()
    start, student = module.twin.model.state_dict(), plain_lora.merged_state(module.clip.model)
    teacher.follow(module.clip, None, 1, 4)
    share = teacher.rule.share(1, 4)  # type: ignore[union-attr]
    for name, value in teacher.model.state_dict().items():
        torch.testing.assert_close(value, start[name].lerp(student[name], share), rtol=0, atol=1e-5)


def test_l2_sp_is_the_distance_of_the_merged_weights() -> None:
    module = build()
    with torch.no_grad():
        for _, update in named_updates(module.clip.model):
            update.up.normal_(std=0.1)
        module.clip.model.logit_scale += 1
    start, end = module.twin.model.state_dict(), plain_lora.merged_state(module.clip.model)
    expected = sum((end[name] - start[name]).double().square().sum() for name in end)
    ctx: Any = SimpleNamespace(clip=module.clip, twin=module.twin)
    assert L2SP()(ctx).item() == pytest.approx(float(expected), rel=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert L2SP()(ctx).item() == pytest.approx(float(expected), rel=1e-5), "in float32, whatever the trainer does"


def test_a_restart_draws_the_updates_anew_and_alike() -> None:
    module = build()
    first = {name: value.clone() for name, value in module.clip.state_dict().items()}
    with torch.no_grad():
        for weight in (weight for weight in module.clip.parameters() if weight.requires_grad):
            weight.add_(1)
    module.restart()
    assert all(torch.equal(value, first[name]) for name, value in module.clip.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"adapter": LoRA(rank=4, base_precision="bf16")}, {"adapter": None}])
def test_a_twin_in_bfloat16_is_near(options: dict[str, Any]) -> None:
    """A bfloat16 has 8 digits of 2: a step of 2^-9 in each number, of which cosines keep some hundredths."""
    twin = "same" if options["adapter"] is not None else "bf16"
    module, plain = build(**options, twin_precision=twin), build(adapter=None)
    assert module.twin_fingerprint == plain.twin_fingerprint, "that of the weights as they are named"
    matrices = [w for name, w in module.twin.model.named_parameters() if name.endswith(("c_fc.weight", "proj.weight"))]
    assert {matrix.dtype for matrix in matrices} == {torch.bfloat16}
    ours, theirs = (item.twin.encode_image(pixels()) for item in (module, plain))
    assert ours.dtype == torch.float32
    assert 0 < (ours - theirs).norm(dim=1).max() < 0.05
    fitted(module, max_steps=1)
    if options["adapter"] is not None:
        assert all(weight.dtype == torch.float32 for weight in module.parameters() if weight.requires_grad)


def test_a_twin_in_bfloat16_moves_the_alignment_by_what_the_docs_say() -> None:
    """Of a student whose weights moved by 3 %; docs/adapters.md says by less than a tenth."""
    losses = {}
    for precision in ("same", "bf16"):
        torch.manual_seed(0)
        module = build(adapter=None, twin_precision=precision)
        with torch.no_grad():
            for weight in module.clip.parameters():
                weight.mul_(1 + 0.03 * torch.randn_like(weight))
            images = torch.randn(12, 3, 64, 64, generator=torch.Generator().manual_seed(1))
            names = list(HOMES)
            captions = [f"a photo of a {name} in a {scene}." for name, scene in zip(names, HOMES.values(), strict=True)]
            ours = module.clip.encode_image(images), module.clip.encode_text(captions)
            theirs = module.twin.encode_image(images), module.twin.encode_text(captions)
            scale = module.twin.model.logit_scale.exp()
            losses[precision] = float(spuriosity_alignment(*ours, *theirs, scale))
    assert 0 < abs(losses["bf16"] - losses["same"]) < 0.1 * losses["same"], losses


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"adapter": LoRA(rank=4, towers=["image"]), "freeze_image_tower": True},
            "updates in the image tower, and freeze_image_tower true leaves nothing to train",
        ),
        ({"twin_precision": "bf16"}, "with model.adapter the twin has the student's own weights; set it to same"),
        (
            {"adapter": LoRA(rank=4, towers=["text"]), "objective": CrossEntropy(), "head": "linear"},
            "No update of model.adapter is trained",
        ),
    ],
)
def test_what_leaves_nothing_to_train_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        build(**options)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("--model.adapter.rank=0", "rank of model.adapter must be at least 1; got 0."),
        ("--model.adapter.blocks=first", "blocks of model.adapter must be all, or such as last 4; got 'first'."),
        ("--model.adapter.layers=[conv]", "conv"),
    ],
)
def test_a_command_refuses_bad_options_in_one_sentence(
    word: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["fit", f"--config={MINI / 'lora.yaml'}", *WORDS, word, f"--trainer.default_root_dir={tmp_path / 'run'}"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_goes_on_to_the_last_bit_and_its_averages_are_tested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over a stop in the first of two epochs, with dropout; then WiSE-FT's middle is tested by the run's own config."""
    words = ["fit", f"--config={MINI / 'starft_lora.yaml'}", *WORDS, "--trainer.max_epochs=2"]
    words.append("--model.adapter.dropout=0.1")
    states = []
    for name, options in (("whole", [[]]), ("parts", [["--trainer.max_steps=1"], []])):
        run = tmp_path / name
        last = run / "checkpoints" / "last.ckpt"
        for more in options:
            going_on = [f"--ckpt_path={last}"] if last.is_file() else []
            assert main([*words, f"--trainer.default_root_dir={run}", *more, *going_on]) == 0
        checkpoint = torch.load(last, weights_only=True)
        assert checkpoint["global_step"] == 4
        moments = [moment for state in checkpoint["optimizer_states"][0]["state"].values() for moment in state.values()]
        states.append([*checkpoint["state_dict"].values(), *moments])
    assert all(torch.equal(one, other) for one, other in zip(*states, strict=True))
    middle = tmp_path / "middle.ckpt"
    assert main(["interpolate", f"--ckpt_path={last}", "--alpha=0.5", f"--out={middle}"]) == 0
    test = ["test", f"--config={MINI / 'starft_lora.yaml'}", *WORDS, f"--trainer.default_root_dir={tmp_path / 'test'}"]
    assert main([*test, f"--ckpt_path={middle}"]) == 0
    whole = load(middle, "cpu").clip.model.state_dict()
    module = build(adapter=LoRA())
    checkpoint = torch.load(middle, weights_only=True)
    module.on_load_checkpoint(checkpoint)
    module.load_state_dict(checkpoint["state_dict"])
    assert all(torch.equal(value, whole[name]) for name, value in module.clip.model.state_dict().items())
