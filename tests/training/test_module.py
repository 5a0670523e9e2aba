"""The module: its frozen twin, its head, its loss, its checkpoints."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import open_clip
import pytest
import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

from fakes.quiet_trainer import Recorder, trainer
from starft.cli.fit import main
from starft.clip import zero_shot_head
from starft.errors import ConfigError, WeightsError
from starft.losses import SpuriosityAlignment
from starft.losses.base import Term
from starft.losses.context import StepContext
from starft.losses.objectives import Contrastive, CrossEntropy
from starft.mini import MiniWorld
from starft.runs.checkpoints import fingerprint
from starft.training.module import FinetuneModule

NAMES = MiniWorld().class_names
TEMPLATES = ("a photo of a {}.", "a sketch of a {}.")
CONFIGS = Path(__file__).parents[2] / "lightning_configs" / "mini"


def build(**given: Any) -> FinetuneModule:
    return FinetuneModule(**{"model_name": "starft-mini", "pretrained": "mini", "warmup_steps": 0, "lr": 1e-3} | given)


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


def fit(module: FinetuneModule, epochs: int = 1, size: int = 24) -> tuple[L.Trainer, list[dict[str, float]]]:
    """Train on ``size / 12`` batches an epoch, without validation."""
    recorder = Recorder()
    made = trainer(None, epochs, recorder, log_every_n_steps=1)
    made.fit(module, datamodule=MiniWorld(train_size=size, val_size=12, batch_size=12))
    return made, recorder.steps


# The twin


def test_the_twin_stays_frozen_and_in_eval_mode() -> None:
    module = build()
    for model in (module, module.train(), module.eval().train(True)):
        assert not any(parameter.requires_grad for parameter in model.twin.parameters())
        assert not any(part.training for part in model.twin.modules())
        assert all(part.training for part in model.clip.modules())


@pytest.mark.parametrize("head", ["text", "linear"])
def test_the_optimizer_has_all_that_is_trained_and_nothing_of_the_twin(head: str) -> None:
    module = build(head=head, objective=CrossEntropy())
    twin = copied(module.twin.state_dict())
    made, _ = fit(module)
    held = {id(p) for group in made.optimizers[0].param_groups for p in group["params"]}
    trained = {name: id(p) for name, p in module.named_parameters() if p.requires_grad}
    assert held == set(trained.values())
    assert ("linear_head" in trained) == (head == "linear")
    assert not any(name.startswith("twin.") for name in trained)
    still = {name for name, p in module.clip.model.named_parameters() if not p.requires_grad}
    if head == "text":
        assert still == set()
    else:  # the text tower and the scale, which nothing reads
        assert {name for name, _ in module.clip.model.named_parameters() if not name.startswith("visual.")} == still
    assert all(torch.equal(value, twin[name]) for name, value in module.twin.state_dict().items())


def test_both_towers_and_the_scale_are_trained() -> None:
    module = build(objective=Contrastive())
    before = copied(module.clip.model.state_dict())
    fit(module)
    after = module.clip.model.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {"visual.conv1.weight", "visual.proj", "token_embedding.weight", "text_projection", "logit_scale"} <= moved
    still = {name for name, _ in module.clip.model.named_parameters()} - moved
    assert still == set()


def test_the_text_tower_rests_where_a_linear_head_is_trained() -> None:
    """Weight decay alone moves what gets no gradient; without it, nothing does."""
    module = build(objective=CrossEntropy(), head="linear", weight_decay=0.0)
    before = copied(module.clip.model.state_dict())
    fit(module)
    after = module.clip.model.state_dict()
    assert torch.equal(before["text_projection"], after["text_projection"])
    assert not torch.equal(before["visual.proj"], after["visual.proj"])


# The head


def test_the_linear_head_starts_as_zero_shot_head_times_scale() -> None:
    """Against the class captions encoded by open_clip alone."""
    module = build(head="linear", objective=CrossEntropy())
    module.describe(NAMES, TEMPLATES)
    model, tokenize = module.clip.model.eval(), open_clip.get_tokenizer("starft-mini")
    rows = []
    with torch.no_grad():
        for name in NAMES:
            captions = [f"a photo of a {name}.", f"a sketch of a {name}."]
            rows.append(F.normalize(model.encode_text(tokenize(captions)), dim=-1).mean(dim=0))
        expected = model.logit_scale.exp() * F.normalize(torch.stack(rows), dim=-1)
    assert module.linear_head is not None
    assert module.linear_head.requires_grad
    torch.testing.assert_close(module.linear_head.detach(), expected, rtol=1e-5, atol=1e-5)


def test_there_is_no_linear_head_with_the_text_head() -> None:
    module = build()
    module.describe(NAMES, TEMPLATES)
    assert module.linear_head is None
    assert "linear_head" not in module.state_dict()


# The loss


class Constant(Term):
    """A term whose value is known; counts how often it is computed."""

    def __init__(self, value: float, weight: float, schedule: Any = "constant") -> None:
        super().__init__(weight, schedule)
        self.value, self.calls = value, 0

    def forward(self, ctx: StepContext) -> Tensor:
        self.calls += 1
        return ctx.image_features.sum() * 0 + self.value


@pytest.mark.slow
def test_the_total_is_the_weighted_sum_of_terms_logged_by_name() -> None:
    terms: list[Term] = [SpuriosityAlignment(weight=0.5, schedule="step"), Constant(3.0, 2.0), Constant(5.0, 0.25)]
    _, steps = fit(build(objective=Contrastive(weight=1.5), regularizers=terms, pool="mini_scenes"), size=48)
    names = ["contrastive", "spuriosity_alignment", "constant", "constant_2"]
    expected = {"train/loss"} | {f"train/{name}{end}" for name in names for end in ("", "_weight")}
    assert [set(step) for step in steps] == [expected] * 4
    for number, step in enumerate(steps):
        weights = [1.5, 0.5 * (1 - number / 4), 2.0, 0.25]
        assert [step[f"train/{name}_weight"] for name in names] == pytest.approx(weights, rel=1e-6)
        assert (step["train/constant"], step["train/constant_2"]) == (3.0, 5.0)
        total = sum(weight * step[f"train/{name}"] for weight, name in zip(weights, names, strict=True))
        assert step["train/loss"] == pytest.approx(total, rel=1e-6)
    assert steps[1]["train/spuriosity_alignment"] > 0, "tuned and frozen model have parted by now"


@pytest.mark.slow
def test_a_term_of_weight_0_isnt_computed() -> None:
    never, first_epoch, always = Constant(1.0, 0.0), Constant(1.0, 2.0, "epoch"), Constant(1.0, 2.0)
    _, steps = fit(build(regularizers=[never, first_epoch, always]), epochs=2)
    assert (never.calls, first_epoch.calls, always.calls) == (0, 2, 4), "the last epoch has weight 0"
    assert not any("train/constant" in step for step in steps)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, where waiting for the device can be forbidden")
def test_a_step_never_waits_for_the_gpu() -> None:
    module = build(regularizers=[SpuriosityAlignment(weight=1.0, schedule="constant")], pool="mini_scenes")

    class Strict(L.Callback):
        """Warm caches in the first step, forbid waiting from the second on."""

        def on_train_batch_start(self, *args: Any) -> None:
            torch.cuda.set_sync_debug_mode("error" if args[3] > 0 else "default")

        def on_before_zero_grad(self, *args: Any) -> None:
            torch.cuda.set_sync_debug_mode("default")

    made = trainer(None, 1, Strict(), accelerator="gpu", devices=1)
    try:
        made.fit(module, datamodule=MiniWorld(train_size=48, val_size=12, batch_size=12))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert made.global_step == 4


@pytest.mark.slow
def test_a_step_reads_no_number_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU: nothing of the batch or of a tower is turned into a Python number inside the step.

    Token ids may be: they are on the host whatever the device.
    """
    module = build(regularizers=[SpuriosityAlignment(weight=1.0, schedule="constant")], pool="mini_scenes")
    step = FinetuneModule.training_step
    reads = ("item", "tolist", "numpy", "__float__", "__bool__")

    def watched(self: FinetuneModule, batch: Any, batch_idx: int) -> Tensor:
        self.log = self.log_dict = lambda *args, **kwargs: None  # type: ignore[method-assign]  # Lightning's own reads
        with monkeypatch.context() as patch:
            of_device = {given.untyped_storage().data_ptr() for given in batch.values()}
            for name in reads:
                patch.setattr(Tensor, name, _refuse(name, getattr(Tensor, name), of_device))
            return step(self, batch, batch_idx)

    monkeypatch.setattr(FinetuneModule, "training_step", watched)
    made, _ = fit(module)
    assert made.global_step == 2


def _refuse(name: str, read: Callable[..., Any], of_device: set[int]) -> Callable[..., Any]:
    def refuse(self: Tensor, *given: Any) -> Any:
        if self.dtype == torch.int64 and self.untyped_storage().data_ptr() not in of_device:
            return read(self, *given)
        raise AssertionError(f"Tensor.{name} waits for the device")

    return refuse


# What can't be used


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"lr": -1e-5}, r"lr must be a finite number, at least 0; got -1e-05\."),
        ({"lr": float("inf")}, r"lr must be a finite number, at least 0; got inf\."),
        ({"weight_decay": -0.1}, r"weight_decay must be a finite number, at least 0; got -0\.1\."),
        ({"weight_decay": float("nan")}, r"weight_decay must be a finite number, at least 0; got nan\."),
        ({"warmup_steps": -1}, r"warmup_steps must be at least 0; got -1\."),
        ({"betas": (0.9, 1.0)}, r"betas must be two numbers in \[0, 1\); got \[0\.9, 1\.0\]\."),
        ({"templates": ["a photo."]}, r"Each template must hold \{\} exactly once; got 'a photo\.'\."),
        ({"templates": ["{}", "{} and {}"]}, r"Each template must hold \{\} exactly once; got '\{\} and \{\}'\."),
        ({"templates": []}, r"templates must hold at least one caption template, or be null; got an empty list\."),
    ],
)
def test_bad_arguments_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=f"^{told}$"):
        build(**given)


def test_a_data_module_that_tells_too_little_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"LightningDataModule doesn't tell class_names, .* and predict_sets"):
        trainer(None, 1).fit(build(), datamodule=L.LightningDataModule())


def test_articles_of_class_names_and_of_own_templates_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Of the data's templates the check of the data tells."""
    data = SimpleNamespace(
        class_names=("a ferry", "boat"), templates=("a {}.",), val_sets=(), test_sets=(), predict_sets=()
    )
    trainer: Any = SimpleNamespace(
        datamodule=data,
        accumulate_grad_batches=1,
        callbacks=[],
        is_global_zero=True,
        strategy=None,
        world_size=1,
    )
    module = build(templates=["my {}", "the {}."])
    module._trainer = trainer
    module.setup("fit")
    told = capsys.readouterr().err
    assert told.partition(";")[0] == 'Note: An article stands twice in captions such as "the a ferry."'
    module.hparams["templates"], module.templates = None, data.templates
    module.setup("fit")
    assert capsys.readouterr().err == ""


# Checkpoints


def saved(module: FinetuneModule) -> dict[str, Any]:
    checkpoint: dict[str, Any] = {"state_dict": copied(module.state_dict())}
    module.on_save_checkpoint(checkpoint)
    return checkpoint


def test_the_twin_is_outside_the_checkpoint_and_refilled_on_load() -> None:
    module = build()
    module.describe(NAMES, TEMPLATES)
    checkpoint = saved(module)
    assert not any(name.startswith("twin.") for name in checkpoint["state_dict"])
    assert checkpoint["starft"] == {
        "model_name": "starft-mini",
        "head": "text",
        "class_names": list(NAMES),
        "templates": list(TEMPLATES),
        "config": module.clip.config,
        "twin": fingerprint(module.twin.state_dict()),
    }
    assert checkpoint["starft"]["config"]["model_cfg"]["embed_dim"] == 96
    fresh = build()
    fresh.on_load_checkpoint(checkpoint)
    fresh.load_state_dict(checkpoint["state_dict"], strict=True)
    assert (fresh.class_names, fresh.templates) == (NAMES, TEMPLATES)


def test_a_fingerprint_tells_values_and_names_apart() -> None:
    state = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(3)}
    assert fingerprint(state) == fingerprint(dict(reversed(state.items())))
    assert fingerprint(state) != fingerprint({"a": torch.tensor([1.0, 2.0000002]), "b": torch.tensor(3)})
    assert fingerprint(state) != fingerprint({"a": state["a"], "c": state["b"]})


def test_a_checkpoint_of_another_run_is_refused() -> None:
    module = build()
    module.describe(NAMES, TEMPLATES)
    checkpoint = saved(module)

    def refusal(target: FinetuneModule, **change: Any) -> str:
        held = checkpoint | {"starft": checkpoint["starft"] | change} | {"state_dict": dict(checkpoint["state_dict"])}
        with pytest.raises(WeightsError) as error:
            target.on_load_checkpoint(held)
        return str(error.value)

    assert refusal(module, model_name="ViT-B-16") == (
        "The checkpoint is of model ViT-B-16, the config asks for model starft-mini; give its own config."
    )
    assert refusal(module, head="linear") == (
        "The checkpoint is of head linear, the config asks for head text; give its own config."
    )
    assert refusal(build(pretrained=None)) == (
        "The checkpoint was trained from other pre-trained weights than this config loads; "
        "give the same model.pretrained as its run had."
    )
    with pytest.raises(WeightsError, match=r"^The checkpoint wasn't written by starft; give its weights as model\."):
        module.on_load_checkpoint({"state_dict": {}})


@pytest.mark.slow
@pytest.mark.parametrize("config", ["starft", "starft_ce"])
def test_a_checkpoint_alone_gives_the_same_logits(config: str, tmp_path: Path) -> None:
    """No config, no data: hyper-parameters, class names, templates and head are all in the file."""
    tiny = [
        "--data.init_args.train_size=24",
        "--data.init_args.val_size=12",
        "--data.init_args.batch_size=12",
        "--trainer.max_epochs=1",
        "--trainer.limit_val_batches=0",
        "--trainer.log_every_n_steps=1",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
        "--checkpoint.monitor=null",
    ]
    cli = main(["fit", f"--config={CONFIGS / config}.yaml", *tiny, f"--trainer.default_root_dir={tmp_path / 'run'}"])
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    held = torch.load(path, weights_only=True)
    hparams = {key: value for key, value in held["hyper_parameters"].items() if key != "_instantiator"}
    assert yaml.safe_load(yaml.safe_dump(hparams)) == hparams, "not plain YAML"
    assert not any(name.startswith("twin.") for name in held["state_dict"])

    loaded = FinetuneModule.load_from_checkpoint(path, map_location="cpu")
    assert loaded.class_names == NAMES
    assert loaded.templates == ("a photo of a {}.",)
    assert (loaded.lr, loaded.warmup_steps, loaded.head) == (cli.model.lr, cli.model.warmup_steps, cli.model.head)
    pictures = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for one, other in ((loaded.clip, cli.model.clip), (loaded.twin, cli.model.twin)):
            assert torch.equal(one.eval().encode_image(pictures), other.eval().encode_image(pictures))
            heads = [zero_shot_head(clip, loaded.class_names, loaded.templates) for clip in (one, other)]
            assert torch.equal(heads[0], heads[1])
        assert not torch.equal(loaded.clip.encode_image(pictures), loaded.twin.encode_image(pictures))
    if config == "starft_ce":
        assert loaded.linear_head is not None
        assert torch.equal(loaded.linear_head, cli.model.linear_head)
