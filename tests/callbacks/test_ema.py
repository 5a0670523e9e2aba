"""The moving average of a run with an adapter: that of its merged weights, in validation, checkpoints and readers."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

import plain_lora
from starft import load
from starft.__main__ import main
from starft.callbacks import WeightEMA
from starft.clip.lora import LoRA, named_updates
from starft.files.shipped import shipped
from starft.losses import SpuriosityAlignment
from starft.losses.objectives import CrossEntropy
from starft.mini import MiniWorld
from starft.runs.checkpoint_files import WholeCheckpointIO
from starft.runs.checkpoints import RAW, fingerprint
from starft.training.averaging import read_member, read_weights
from starft.training.module import FinetuneModule

DECAY = 0.75
CONFIG = shipped("lightning_configs") / "mini" / "starft_lora.yaml"
DATA = {"train_size": 24, "val_size": 12, "batch_size": 12}


class Watch(L.Callback):
    """Notes the merged weights after each step, and with what features they are validated."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []
        self.validated: list[tuple[dict[str, Tensor], Tensor]] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.steps.append(weights(pl_module))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        self.steps.append(weights(pl_module))

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.validated.append((weights(pl_module), pl_module.clip.encode_image(pixels()).clone()))


def weights(module: FinetuneModule) -> dict[str, Tensor]:
    assert module.linear_head is not None
    merged = {f"clip.model.{name}": value for name, value in plain_lora.merged_state(module.clip.model).items()}
    return {name: value.detach().clone() for name, value in (*merged.items(), ("linear_head", module.linear_head))}


def pixels() -> Tensor:
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def averaged_run(folder: Path, goes_on: Path | None = None, **options: Any) -> tuple[Watch, FinetuneModule]:
    """Train for three epochs of two steps; the updates of the image tower's first block are frozen."""
    L.seed_everything(0, verbose=False)
    own = {"adapter": LoRA(rank=4, alpha=6), "freeze_image_blocks": 1, "lr": 1e-2, "pool": "mini_scenes"}
    module = FinetuneModule(
        CrossEntropy(), "starft-mini", "mini", head="linear", warmup_steps=0,
        regularizers=[SpuriosityAlignment(1.0, "constant")], **own | options,
    )  # fmt: skip
    watch = Watch()
    keep = ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=3, logger=False, num_sanity_val_steps=0, log_every_n_steps=1,
        callbacks=[WeightEMA(DECAY), watch, keep], plugins=[WholeCheckpointIO()],
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, datamodule=MiniWorld(**DATA), ckpt_path=goes_on)
    return watch, module


def assert_near(ours: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert ours.keys() - {"head_bias"} == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=1e-6)


def test_updates_are_averaged_where_nothing_else_is_trained() -> None:
    module = FinetuneModule(CrossEntropy(), "starft-mini", "mini", adapter=LoRA(rank=4))
    module.clip.model.logit_scale.requires_grad_(False)
    ema, trainer = WeightEMA(DECAY), SimpleNamespace(global_step=0)
    ema.on_train_start(trainer, module)
    updates = [update for _, update in named_updates(module.clip.model)]
    with torch.no_grad():
        for update in updates:
            update.up.add_(1)
    steps = [update.whole() for update in updates]
    trainer.global_step = 1
    ema.on_train_batch_end(trainer, module, None, None, 0)
    ema.on_validation_start(trainer, module)
    for update, step in zip(updates, steps, strict=True):
        torch.testing.assert_close(update.whole(), (1 - DECAY) * step)


@pytest.mark.slow
def test_of_an_adapter_the_merged_weights_are_averaged(tmp_path: Path) -> None:
    """Against an average by hand of the merged weights after each step; the average of the factors would be another."""
    watch, module = averaged_run(tmp_path / "whole")
    average, after = watch.steps[0], [watch.steps[0]]
    for step in watch.steps[1:]:
        average = {name: DECAY * value + (1 - DECAY) * step[name] for name, value in average.items()}
        after.append(average)
    far = "clip.model.visual.transformer.resblocks.2.mlp.c_proj.weight"
    assert (after[-1][far] - watch.steps[-1][far]).abs().max() > 1e-3
    assert fingerprint(module.twin.state_dict()) == module.twin_fingerprint
    assert_near(weights(module), after[-1])
    for epoch, (validated, features) in enumerate(watch.validated):
        assert_near(validated, after[2 * epoch + 2])
        path = tmp_path / "whole" / f"epoch={epoch}.ckpt"
        assert_near(read_weights(read_member(path)), after[2 * epoch + 2])
        torch.testing.assert_close(load(path, "cpu").features(pixels()), features, rtol=0, atol=1e-5)

    checkpoint = torch.load(tmp_path / "whole" / "epoch=2.ckpt", weights_only=True)
    again = FinetuneModule(CrossEntropy(), **checkpoint["hyper_parameters"])
    again.on_load_checkpoint(checkpoint)
    again.load_state_dict(checkpoint["state_dict"])
    assert_near(weights(again), after[-1])
    assert fingerprint(again.twin.state_dict()) == module.twin_fingerprint
    raw = {name for name in checkpoint[RAW] if ".lora." in name}
    assert {checkpoint[RAW][name].shape[name.endswith(".up")] for name in raw} == {4}
    dense = sum(update.up.shape[0] * update.down.shape[1] for _, update in named_updates(module.clip.model))
    assert (tmp_path / "whole" / "epoch=2.ckpt").stat().st_size < 1.35 * 4 * dense, "each identity is there once"


@pytest.mark.slow
def test_a_run_goes_on_to_the_last_bit(tmp_path: Path) -> None:
    watch, _ = averaged_run(tmp_path / "whole")
    continued, _ = averaged_run(tmp_path / "parts", tmp_path / "whole" / "epoch=0.ckpt")
    for here, there in zip(continued.steps, watch.steps[2:], strict=True):
        assert all(torch.equal(value, there[name]) for name, value in here.items())
    ends = [torch.load(tmp_path / folder / "epoch=2.ckpt", weights_only=True) for folder in ("whole", "parts")]
    for part in ("state_dict", RAW):
        assert ends[0][part].keys() == ends[1][part].keys()
        assert all(torch.equal(value, ends[1][part][name]) for name, value in ends[0][part].items())
    sizes = [(tmp_path / folder / "epoch=2.ckpt").stat().st_size for folder in ("whole", "parts")]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01), "identities are shared again"


@pytest.mark.slow
def test_every_command_reads_the_average(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a run from the command line: test, export, the soup of best and last, and half way from the start."""
    run, config = tmp_path / "run", tmp_path / "ema.yaml"
    ema = "{class_path: starft.callbacks.WeightEMA, init_args: {decay: 0.5}}"
    config.write_text(CONFIG.read_text("utf-8").replace("trainer:\n", f"trainer:\n  callbacks: [{ema}]\n", 1), "utf-8")
    words = [f"--config={config}", *(f"--data.init_args.{key}={value}" for key, value in DATA.items())]
    words += [
        "--data.init_args.test_size=12",
        "--trainer.enable_progress_bar=false",
        "--trainer.max_epochs=2",
        "--trainer.check_val_every_n_epoch=1",
    ]
    words += ["--model.lr=0.01", "--model.warmup_steps=0", f"--trainer.default_root_dir={run}"]
    assert main(["fit", *words]) == 0
    last = run / "checkpoints" / "last.ckpt"
    assert RAW in torch.load(last, weights_only=True)
    assert main(["test", *words, f"--ckpt_path={last}"]) == 0
    expected = load(last, "cpu").features(pixels())
    assert main(["export", str(last), "--format=open_clip", f"--to={tmp_path / 'exported'}"]) == 0
    torch.testing.assert_close(load(tmp_path / "exported", "cpu").features(pixels()), expected, rtol=0, atol=1e-5)
    start = read_weights(read_member(last))
    for out, command in (
        ("half.ckpt", ["interpolate", f"--ckpt_path={last}", "--alpha=1"]),
        ("soup.ckpt", ["soup", f"--ckpt_paths={last},{run / 'checkpoints' / 'best.ckpt'}"]),
    ):
        assert main([*command, f"--out={tmp_path / out}"]) == 0
        assert read_weights(read_member(tmp_path / out)).keys() == start.keys()
    assert all(
        torch.equal(value, start[name]) for name, value in read_weights(read_member(tmp_path / "half.ckpt")).items()
    )
    capsys.readouterr()
