"""Every method's step and evaluation on a GPU that isn't there.

Fake tensors have a device and a shape, and no numbers: an operation that mixes devices fails, and so does one that
would wait for the device to read a number of it.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode, unset_fake_temporarily
from torchmetrics import Metric

from starft.cli.fit import build
from starft.clip import ClipEncoder, encoder
from starft.evaluation.evaluator import merge_logits
from starft.evaluation.sample_metrics import accept
from starft.losses import LipsumFT
from starft.losses.context import Progress
from starft.training.module import FinetuneModule

pytestmark = pytest.mark.slow

CONFIGS = sorted((Path(__file__).parents[2] / "lightning_configs" / "mini").glob("*.yaml"))
AS_CE = ("dfr", "ema", "group_balanced", "jtt", "layer_decay", "lp_ft")
"""Their step is that of ce.yaml: they differ in data, callbacks, learning rates or where the head starts."""
TRAINED = [path for path in CONFIGS if path.stem not in ("zeroshot", "pretrain", *AS_CE)]
IMAGES, EPOCH = 4, 12
THERE = "lazy:0"
"""As good as cuda:0, and autograd asks no driver for it."""


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    """Compute with fake tensors, but for what is done on the host: token ids, how captions share them, random texts."""

    def on_host(work: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(work)
        def real(*given: Any, **named: Any) -> Any:
            with unset_fake_temporarily():
                return work(*given, **named)

        return real

    monkeypatch.setattr(encoder, "_packed", on_host(encoder._packed))
    monkeypatch.setattr(LipsumFT, "draw", on_host(LipsumFT.draw))
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # a real device's alone
    there_is_one = torch.cuda.is_available()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there_is_one)  # each fake operation looks for a driver
    monkeypatch.setattr(ClipEncoder, "_tokenized", on_host(ClipEncoder._tokenized))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        yield mode


def whole(config: Path, folder: Path) -> FinetuneModule:
    """Return a config's module as it is when training starts."""
    words = [f"--trainer.default_root_dir={folder}", "--trainer.accelerator=cpu"]
    few = ["--data.init_args.train_size=12", "--data.init_args.val_size=12", "--data.init_args.test_size=12"]
    cli = build(["fit", f"--config={config}", *words, *few])
    cli.trainer._data_connector.attach_data(cli.model, datamodule=cli.datamodule)
    cli.model.trainer = cli.trainer
    cli.datamodule.setup("fit")
    cli.model.setup("fit")
    assert isinstance(cli.model, FinetuneModule)
    return cli.model


def moved(module: FinetuneModule) -> None:
    """Put fake weights on the GPU in the place of the real ones; a tensor that is held twice stays one."""
    found: dict[int, Any] = {}
    for part in module.modules():
        if isinstance(part, Metric):
            part.to(THERE)
        for held in (part._parameters, part._buffers):
            for name, value in held.items():
                if value is not None:
                    there = found.setdefault(id(value), torch.empty_like(value, device=THERE))
                    parameter = isinstance(value, torch.nn.Parameter)
                    held[name] = torch.nn.Parameter(there, value.requires_grad) if parameter else there


def batch_of(module: FinetuneModule, device: str = THERE) -> Any:
    labels = torch.zeros(IMAGES, dtype=torch.int64, device=device)
    image = torch.zeros(IMAGES, 3, *module.preprocessing.size, device=device)
    return {"image": image, "label": labels, "group": labels, "index": labels}


@pytest.mark.parametrize("config", TRAINED, ids=lambda path: path.stem)
def test_a_step(config: Path, fake: FakeTensorMode, tmp_path: Path) -> None:
    with unset_fake_temporarily():
        module = whole(config, tmp_path)
    moved(module)
    module._host_labels = [0, 1, 0, 1]
    progress = Progress(step=1, total_steps=EPOCH, epoch=0, total_epochs=2)
    ctx = module._context(batch_of(module), progress)
    active = [(term.weight_at(progress), term) for _, term in module._active_terms()]
    total = sum((weight * term(ctx) for weight, term in active if weight > 0), torch.zeros((), device=THERE))
    total.backward()
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    assert {str(parameter.grad.device) for parameter in trained if parameter.grad is not None} == {THERE}
    assert total.shape == ()
    for teacher in module._followers():
        teacher.follow(module.clip, module.linear_head, EPOCH, EPOCH)


@pytest.mark.parametrize("head", ["flyp", "ce"])
def test_an_evaluation(head: str, fake: FakeTensorMode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before its first batch an evaluation looks whether weights are finite, and waits for that once; then never."""
    with unset_fake_temporarily():
        module = whole(next(path for path in TRAINED if path.stem == head), tmp_path).eval()
        module.on_validation_epoch_start()
        for which in range(len(module._evaluator().eval_sets)):
            module.validation_step(
                batch_of(module, "cpu"), 0, which
            )  # once, torchmetrics looks which metrics are alike
    moved(module)
    monkeypatch.setattr(module, "check_finite", lambda: None)
    module.on_validation_epoch_start()
    for which in range(len(module._evaluator().eval_sets)):
        module.validation_step(batch_of(module), 0, which)
        found = module.predict_step(batch_of(module), 0, which)
        assert {str(value.device) for value in found.values()} == {THERE}


def test_labels_that_are_merged_and_predictions_that_are_accepted(fake: FakeTensorMode) -> None:
    logits, labels = torch.zeros(IMAGES, 3, device=THERE), torch.zeros(IMAGES, dtype=torch.int64, device=THERE)
    assert str(merge_logits(logits, [[0, 1], [2]]).device) == THERE
    assert str(accept(labels, labels, [[0], [0, 1]]).device) == THERE


def test_what_this_would_find(fake: FakeTensorMode) -> None:
    there, here = torch.zeros(3, device=THERE), torch.zeros(3)
    with pytest.raises(RuntimeError, match="to be on the same device"):
        there + here
    with pytest.raises(DataDependentOutputException):
        there.sum().item()


def test_a_linear_head_starts_where_the_model_is_trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not on the CPU, where the captions of many classes take minutes."""
    monkeypatch.setattr(SingleDeviceStrategy, "root_device", torch.device("meta"))
    module = whole(next(path for path in TRAINED if path.stem == "starft_ce"), tmp_path)
    assert module.linear_head is not None
    assert module.linear_head.device.type == "meta"
