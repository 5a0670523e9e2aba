"""Mixed precision: towers in 16 bits, logits and losses in 32; the optimizer's fused form where it may be."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.plugins.precision import MixedPrecision
from torch import nn
from torch.nn import functional as F

from starft.captions.pool_files import load_pools
from starft.captions.sampler import CaptionSampler
from starft.cli.fit import main
from starft.evaluation.evaluator import Evaluator
from starft.losses import CarFT, SpuriosityAlignment
from starft.losses.base import Term
from starft.losses.context import Progress, StepContext
from starft.losses.functional import contrastive_loss, spuriosity_alignment
from starft.losses.objectives import Contrastive, CrossEntropy
from starft.mini import MiniWorld
from starft.training.module import FinetuneModule
from starft.training.optim import adamw
from starft.types import EvalSet

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / "lightning_configs" / "mini"
HALVES = [torch.bfloat16, torch.float16]


@pytest.fixture(scope="module")
def module() -> FinetuneModule:
    """The tiny CLIP with a linear head, at the highest scale that CLIP allows, its student moved away from its twin."""
    made = FinetuneModule(CrossEntropy(), "starft-mini", "mini", "linear", regularizers=[SpuriosityAlignment()])
    made.describe(MiniWorld().class_names, ("a photo of a {}.",))
    made.pool = load_pools("mini_scenes")
    made.captions = CaptionSampler(made.class_names, made.templates, made.pool, 0)
    torch.manual_seed(0)
    with torch.no_grad():
        for weights in made.clip.parameters():
            weights.add_(torch.randn_like(weights), alpha=0.01)
        for clip in (made.clip, made.twin):
            clip.model.logit_scale.fill_(torch.log(torch.tensor(100.0)))
    return made


@pytest.fixture
def ctx(module: FinetuneModule) -> StepContext:
    module._host_labels = [0, 3, 3, 7, 11, 2]
    images = torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    batch: Any = {"image": images, "label": torch.tensor(module._host_labels), "index": torch.arange(6)}
    return module._context(batch, Progress(0, 10, 0, 2))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("term", [CrossEntropy(), Contrastive(), SpuriosityAlignment(), CarFT()], ids=repr)
def test_a_loss_is_that_of_its_features_in_float32(
    ctx: StepContext, module: FinetuneModule, term: Term, dtype: torch.dtype
) -> None:
    """Were a logit rounded to 16 bits anywhere behind the features, the loss would differ in the third digit."""
    with torch.autocast("cpu", dtype=dtype):
        loss = term(ctx)
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    module.zero_grad()
    loss.backward()
    for name, weights in module.named_parameters():
        assert weights.grad is None or torch.isfinite(weights.grad).all(), name
    again = term(ctx)  # the features are there, and autocast is off
    assert loss > 1e-3
    torch.testing.assert_close(loss, again, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_the_towers_do_run_in_16_bits(ctx: StepContext, module: FinetuneModule, dtype: torch.dtype) -> None:
    seen: set[torch.dtype] = set()
    hooks = [
        layer.register_forward_hook(lambda _, inputs, output: seen.add(output.dtype))
        for clip in (module.clip, module.twin)
        for layer in clip.modules()
        if isinstance(layer, nn.Linear) and layer.weight.shape[0] > layer.weight.shape[1]
    ]
    with torch.autocast("cpu", dtype=dtype):
        contrastive_loss(ctx.image_features, ctx.text_features, 1.0)
        spuriosity_alignment(
            ctx.image_features,
            ctx.spurious_features,
            ctx.teacher().image_features,
            ctx.teacher().spurious_features,
            100.0,
        )
    for hook in hooks:
        hook.remove()
    assert seen == {dtype}


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_class_logits_of_an_evaluation_are_float32(dtype: torch.dtype) -> None:
    """Two classes whose logits differ by less than 16 bits tell apart."""
    near = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 1e-4]]), dim=-1)
    encoder: Any = SimpleNamespace(encode_text=lambda captions: near, logit_scale=torch.tensor(100.0))
    evaluator = Evaluator([EvalSet("near", ("one", "other"), ("{}",))])
    with torch.autocast("cpu", dtype=dtype):
        evaluator.prepare(encoder, (), None)
        logits = evaluator.logits(0, torch.tensor([[0.0, 1.0]]))
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, torch.tensor([[0.0, 0.01]]), rtol=1e-5, atol=1e-7)


# the optimizer


@pytest.mark.parametrize(("device", "fused"), [("cpu", True), ("meta", False)])
def test_adamw_is_fused_where_torch_has_that(device: str, fused: bool) -> None:
    groups = [{"params": [nn.Parameter(torch.zeros(2, device=device))], "weight_decay": 0.0}]
    assert adamw(groups, 0.1).defaults["fused"] is fused


@pytest.mark.parametrize(
    ("clip_val", "mixed", "fused"), [(None, False, True), (1.0, False, True), (None, True, True), (1.0, True, False)]
)
def test_adamw_is_fused_unless_lightning_forbids_it(
    module: FinetuneModule, clip_val: float | None, mixed: bool, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins = [MixedPrecision("bf16-mixed", "cpu")] if mixed else None
    trainer = L.Trainer(gradient_clip_val=clip_val, plugins=plugins, accelerator="cpu", logger=False, barebones=False)
    monkeypatch.setattr(type(trainer), "estimated_stepping_batches", 10)
    monkeypatch.setattr(module, "_trainer", trainer)
    made: Any = module.configure_optimizers()
    assert made["optimizer"].param_groups[0]["fused"] is fused


def test_fused_steps_are_those_of_the_plain_form() -> None:
    weights = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ends = []
    for fused in (True, False):
        one = nn.Parameter(weights.clone())
        optimizer = adamw([{"params": [one], "weight_decay": 0.1}], 0.1, clips_mixed=not fused)
        assert optimizer.defaults["fused"] is fused
        for _ in range(5):
            optimizer.zero_grad()
            (one**2).sum().backward()
            optimizer.step()
        ends.append(one.detach())
    torch.testing.assert_close(*ends, rtol=1e-12, atol=1e-14)


@pytest.mark.slow
def test_gradients_are_clipped_in_mixed_precision(tmp_path: Path) -> None:
    words = ["fit", f"--config={CONFIGS / 'starft_ce.yaml'}", "--trainer.max_steps=1", "--trainer.precision=bf16-mixed"]
    words += ["--trainer.gradient_clip_val=1.0", f"--trainer.default_root_dir={tmp_path}"]
    words += ["--data.init_args.train_size=12", "--data.init_args.val_size=12", "--data.init_args.batch_size=12"]
    assert main([*words, "--trainer.limit_val_batches=0", "--trainer.enable_progress_bar=false"]).trainer.global_step
