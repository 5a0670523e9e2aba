"""Two processes that hold a part of each weight do what one does that holds all."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel

from fakes.processes import together
from starft.distributed import rank, world_size
from starft.finetune import FinetuneModule
from starft.optim import adamw, parameter_groups
from starft.shards import clip_norm, is_sharded, part
from starft.sharding import leave_to_fsdp, shard
from test_distributed import LABELS, Step, made

pytestmark = pytest.mark.slow


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
    found: dict[str, Any] = {"held": sum(part(p).numel() for name, p in module.named_parameters() if ".resblocks." in name)}
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
    return found | {f"after {name}": whole(p) for name, p in module.state_dict().items() if isinstance(p, Tensor)}


def both() -> dict[str, dict[str, Any]]:
    return {head: steps(head, recompute=head == "text") for head in ("text", "linear")}


def test_two_steps_on_parts_are_those_of_a_process_alone(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = both()
    torch.set_num_threads(threads)
    for found in together(2, both, tmp_path):
        for head, one in expected.items():
            got = found[head]
            assert got.keys() == one.keys()
            assert got["held"] == one["held"] / 2
            for name in set(got) - {"held"}:
                apart = (got[name] - one[name]).norm()
                print(head, name, apart.item(), one[name].norm().item()) if apart > 1e-6 * one[name].norm() else 0
                assert apart <= 1e-5 * one[name].norm() + 1e-9, f"{head} {name}: {apart} of {one[name].norm()}"
