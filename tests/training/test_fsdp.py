"""Two processes that hold a part of each weight do what one does that holds all."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.loops import utilities
from test_devices import last, logged, on_two, stop_and_go_on, words
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel

from fakes.processes import launched, together
from starft.__main__ import main
from starft.callbacks import DFR, JTT, WeightEMA
from starft.cli.fit import build
from starft.clip.lora import LoRA
from starft.distributed import clip_norm, is_sharded, local_part, rank, world_size
from starft.errors import ConfigError
from starft.losses import L2SP
from starft.training.fsdp import FullySharded, check, leave_to_fsdp, shard
from starft.training.module import FinetuneModule
from starft.training.optim import adamw, parameter_groups
from test_distributed import LABELS, Step, made

pytestmark = pytest.mark.slow


DOUBLE = "--trainer.precision=64-true"


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process on the joined batches, in float64.

    Of float32's rounding Adam makes whole updates where a true gradient is 0, as the alignment's is at the first step.
    """
    folder = tmp_path_factory.mktemp("alone") / "run"
    assert main(words("fit", folder, 12, DOUBLE)) == 0
    return folder


def fit(folder: Path) -> int:
    return main(on_two("fit", folder, DOUBLE, overlay="fsdp"))


@pytest.fixture(scope="module")
def parted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of two processes."""
    made = tmp_path_factory.mktemp("apart")
    assert launched(2, fit, made / "processes", made / "run") == [0, 0]
    return made / "run"


def test_every_step_and_the_checkpoint_are_those_of_one_process(one: Path, parted: Path) -> None:
    """Losses, weights and moments; keys, shapes and types of an ordinary checkpoint; of DDP see test_devices.py."""
    expected, got = logged(one), logged(parted)
    assert len(expected["train/loss"]) == 4
    assert got.keys() == expected.keys()
    for name in ("train/loss", "train/cross_entropy"):
        assert got[name] == pytest.approx(expected[name], rel=1e-6), name
    alone, apart = (torch.load(last(folder), weights_only=True) for folder in (one, parted))
    assert apart.keys() == alone.keys()
    assert apart["starft"] == alone["starft"]
    close(apart["state_dict"], alone["state_dict"])
    (alone,), (apart,) = (held["optimizer_states"] for held in (alone, apart))
    assert apart["param_groups"] == alone["param_groups"]
    assert apart["state"].keys() == alone["state"].keys()
    assert len(alone["state"]) == 86
    for at, moments in alone["state"].items():
        close(apart["state"][at], moments)


def close(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert [type(value) for value in got.values()] == [Tensor] * len(got)
    assert {k: (v.shape, v.dtype) for k, v in got.items()} == {k: (v.shape, v.dtype) for k, v in expected.items()}
    for name, value in expected.items():
        assert (got[name] - value).norm() <= 1e-6 * value.norm() + 1e-9, name


def test_one_device_tests_and_continues_it(parted: Path, tmp_path: Path) -> None:
    given = f"--ckpt_path={last(parted)}"
    assert main(words("test", tmp_path / "run", 12, DOUBLE, given)) == 0
    assert main(words("fit", tmp_path / "longer", 12, DOUBLE, given, "--trainer.max_epochs=3")) == 0
    assert torch.load(last(tmp_path / "longer"), weights_only=True)["global_step"] == 6


def test_what_it_cannot_do_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cli = build(words("fit", tmp_path / "run", 12, "--trainer.gradient_clip_val=1"))
    module, trainer = cli.model, cli.trainer
    module.trainer = trainer
    check(module)
    image_tower = module.clip.model.visual
    cases: list[tuple[Any, str, Any, str]] = [
        (module.clip, "micro_batch_size", 4, "FSDP can't train with model.micro_batch_size; leave it out, or lay"),
        (module, "adapter", LoRA(), "can't train with model.adapter; "),
        (module.twin, "in_bfloat16", True, "can't train with model.twin_precision bf16; "),
        (image_tower, "_compiled_call_impl", print, "can't train with model.compile; "),
        (module, "head_start", "probe", "can't train with model.head_start probe; "),
        (trainer, "gradient_clip_algorithm", "value", "can't train with trainer.gradient_clip_algorithm value; "),
        (trainer.precision_plugin, "scaler", object(), "can't train with a trainer.precision of fp16; "),
        (trainer, "callbacks", [WeightEMA()], "can't train with WeightEMA; "),
        (trainer, "callbacks", [JTT(1, 5)], "can't train with JTT; "),
        (trainer, "callbacks", [DFR()], "can't train with DFR; "),
    ]
    for owner, name, value, told in cases:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value, raising=False)
            with pytest.raises(ConfigError, match=f"{told}.*common/ddp over the config instead"):
                check(module)
    check(module)
    module.terms["l2_sp"] = L2SP()
    with pytest.raises(ConfigError, match="can't train with L2SP; "):
        check(module)
    module.terms["l2_sp"] = L2SP(weight=0)
    module.clip.model.visual = torch.nn.Linear(2, 2)
    with pytest.raises(ConfigError, match="the image tower of starft-mini is of another kind; lay common/ddp over"):
        check(module)


@pytest.mark.parametrize(
    ("strategy", "name"),
    [
        ("fsdp", "fsdp"),
        ("model_parallel", "model_parallel"),
        ("deepspeed_stage_3", "deepspeed_stage_3"),
        ("{class_path: ModelParallelStrategy}", "lightning.pytorch.strategies.ModelParallelStrategy"),
    ],
)
def test_strategies_of_others_are_refused(
    strategy: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(words("fit", run, 12, f"--trainer.strategy={strategy}")) == 2
    told = capsys.readouterr().err
    assert f"trainer.strategy is {name}, which isn't known to give the gradients of one device here" in told
    assert "lay --config common/fsdp over the config, otherwise common/ddp with model.micro_batch_size." in told
    assert not run.exists()


def as_on_gpus(folder: Path) -> tuple[list[int], str]:
    """Stop and go on, with Lightning in inference mode where it evaluates; gloo alone keeps it from that.

    Before that, be refused: in both processes, without a trace.
    """
    assert main(on_two("fit", folder, "--model.micro_batch_size=4", overlay="fsdp")) == 2
    assert not folder.exists() or rank() > 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utilities, "dist", SimpleNamespace(get_backend=lambda: "nccl"))
        return stop_and_go_on(folder, DOUBLE, overlay="fsdp")


def test_a_run_goes_on_to_the_last_bit(parted: Path, tmp_path: Path) -> None:
    """In float64 too, whose last digits Lightning would drop on reading."""
    run, two = tmp_path / "run", parted
    found = launched(2, as_on_gpus, tmp_path / "processes", run)
    assert [statuses for statuses, _ in found] == [[143, 3, 0], [0, 3, 0]]
    ended, expected = (torch.load(last(folder), weights_only=True) for folder in (run, two))
    assert ended["global_step"] == expected["global_step"] == 4
    assert [name for name, value in expected["state_dict"].items() if not value.equal(ended["state_dict"][name])] == []
    assert logged(run)["train/loss"] == logged(two)["train/loss"]


def whole(values: Tensor) -> Tensor:
    return (values.full_tensor() if hasattr(values, "full_tensor") else values).detach().clone()


def steps(head: str, recompute: bool) -> dict[str, Any]:
    """Two steps: their values and gradients, the weights and teachers behind them, and how much was held of each."""
    module: FinetuneModule = made(head)
    if head == "linear":
        del module.terms["l2_sp"]
    if recompute:
        module.clip.model.set_grad_checkpointing(True)
    model: Any = Step(module)
    if world_size() > 1:
        shard(module, init_device_mesh("cpu", (world_size(),)))
        leave_to_fsdp(model)
        model = DistributedDataParallel(model)
    groups = parameter_groups(module, 0.1)
    optimizer = adamw(groups, 1e-3)
    found: dict[str, Any] = {
        "held": sum(local_part(p).numel() for name, p in module.named_parameters() if ".resblocks." in name)
    }
    for number, case in enumerate(("uneven", "apart")):
        labels = LABELS[case]
        images = torch.randn(len(labels), 3, 64, 64, generator=torch.Generator().manual_seed(number)).double()
        rows = range(rank(), len(labels), world_size())
        for term in module._terms():
            term.start({"a": 10, "b": 4, "c": 1, "d": 7})
        total, values = model([labels[row] for row in rows], images[list(rows)])
        total.backward()
        named = dict(module.named_parameters())
        found |= {f"{case} {name}": value.detach() for name, value in values.items()}
        found |= {f"{case} by {name}": whole(p.grad) for name, p in named.items() if p.requires_grad}
        if is_sharded(module) and case == "apart":
            clip_norm(module.parameters(), 0.5)
        elif case == "apart":
            torch.nn.utils.clip_grad_norm_(module.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
        for teacher in module._followers():
            teacher.follow(module.clip, module.linear_head, number + 1, 10)
    if world_size() > 1:
        again = FullySharded()
        again._lightning_module = module
        with pytest.raises(ConfigError, match="weights are in parts since it was trained with FSDP; build it anew"):
            again.model_to_device()
    found |= {f"after {name}": whole(p) for name, p in module.state_dict().items() if isinstance(p, Tensor)}
    return found if rank() == 0 else {"held": found["held"]}  # the rest is whole in each process


def both() -> dict[str, dict[str, Any]]:
    return {head: steps(head, recompute=head == "text") for head in ("text", "linear")}


def test_two_steps_on_parts_are_those_of_a_process_alone(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = both()
    torch.set_num_threads(threads)
    first, second = together(2, both, tmp_path)
    for head, one in expected.items():
        got = first[head]
        assert got.keys() == one.keys()
        assert got["held"] == second[head]["held"] == one["held"] / 2
        for name in set(got) - {"held"}:
            apart = (got[name] - one[name]).norm()
            assert apart <= 1e-5 * one[name].norm() + 1e-9, f"{head} {name}: {apart} of {one[name].norm()}"
