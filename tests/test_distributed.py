"""N processes compute what one computes on the joined batch: each loss, and its gradient by every weight."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fakes.processes import together
from starft.captions.sampler import CaptionSampler
from starft.clip.lora import LoRA
from starft.distributed import (
    broadcast_from_first,
    gather,
    gather_objects,
    interleaved,
    is_own_row,
    max_over_processes,
    rank,
    rows_of_rank,
    world_size,
)
from starft.losses import KD, L2SP, CarFT, Carot, FeatureDistillation, LipsumFT, ReCalCon, SpuriosityAlignment, Tracer
from starft.losses.base import Term
from starft.losses.context import Progress
from starft.losses.group_dro import GroupDRO
from starft.losses.objectives import Contrastive, CrossEntropy
from starft.losses.teachers import ExponentialAverage
from starft.mini import MiniWorld
from starft.training.module import FinetuneModule

pytestmark = pytest.mark.slow

LABELS = {
    "uneven": [0, 3, 3, 7, 11, 2, 0],  # of 2 processes the last has a row less; of 4 too
    "apart": [0, 1, 2, 3, 0, 1, 2, 3],  # each process has one class, or two, and lacks the others
}


def _terms(head: str) -> list[Term]:
    if head != "linear":
        ema = ExponentialAverage(update_every=1)
        return [
            Contrastive(),
            CrossEntropy(label_smoothing=0.1),
            SpuriosityAlignment(0.5, "constant"),
            SpuriosityAlignment(0.7, "constant", masked=False),
            Carot(teacher=ema),
            Tracer(),
            ReCalCon(),
            KD(temperature=2.0),
        ]
    return [
        CrossEntropy(),
        GroupDRO(eta=0.5, adjustment=1.0),
        KD(),
        SpuriosityAlignment(0.5, "constant"),
        CarFT(contexts=["a photo of a {}.", "a sketch of a {}."]),
        LipsumFT(texts=5),
        FeatureDistillation(),
        L2SP(),
    ]


class Step(nn.Module):
    """One step of a module as DDP calls it: the weighted sum of all terms."""

    def __init__(self, module: FinetuneModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, labels: list[int], images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        self.module._host_labels = labels
        batch: Any = {"image": images, "label": torch.tensor(labels), "group": torch.tensor(labels) % 4}
        progress = Progress(3, 10, 0, 2)
        ctx = self.module._context(batch, progress)
        values = {name: term(ctx) for name, term in self.module._active_terms()}
        values["groups"] = ctx.groups.double() @ ctx.image_features[:, 0]  # what is read by group
        return torch.stack(list(values.values())).sum(), values


def made(head: Any) -> FinetuneModule:
    """A module whose student has moved away from its teachers, in float64."""
    objective, *regularizers = _terms(head)
    adapter, head = (LoRA(rank=4), "text") if head == "lora" else (None, head)
    module = FinetuneModule(
        objective, "starft-mini", "mini", head, regularizers=regularizers, pool="mini_scenes", adapter=adapter
    )
    module.double()  # what a teacher remembers, too
    module.describe(MiniWorld().class_names, ("a photo of a {}.", "a sketch of a {}."))
    module.captions = CaptionSampler(module.class_names, module.templates, module.pool, 0)
    noise = torch.Generator().manual_seed(5)
    for parameter in (*module.clip.parameters(), *([module.linear_head] if module.linear_head is not None else [])):
        if parameter.ndim and (adapter is None or parameter.requires_grad):
            size = parameter.data.std() or 0.1  # updates begin at 0
            parameter.data += 0.02 * torch.randn(parameter.shape, generator=noise) * size
    return module.double()


def step(module: FinetuneModule, model: nn.Module, case: str) -> dict[str, Any]:
    """Loss and gradients of one step, of each term as DDP's mean would make them, and of all by DDP itself."""
    labels = LABELS[case]
    images = torch.randn(len(labels), 3, 64, 64, generator=torch.Generator().manual_seed(1)).double()
    rows = range(rank(), len(labels), world_size())
    module.zero_grad()
    for term in module._terms():
        term.start({"a": 10, "b": 4, "c": 1, "d": 7})
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    total, values = model([labels[row] for row in rows], images[list(rows)])
    gradients = {}
    small = {name: p for name, p in trained.items() if "token_embedding" not in name}  # which is most of all weights
    for name, value in values.items() if case == "uneven" else ():  # once is enough, and takes its time
        own = torch.autograd.grad(value, [*small.values()], retain_graph=True, allow_unused=True)
        read = [(at, gradient) for at, gradient in zip(small, own, strict=True) if gradient is not None]
        total_gradient = torch.cat([gradient.flatten() for _, gradient in read])
        if dist.is_initialized():
            dist.all_reduce(total_gradient)
        parts = (total_gradient / world_size()).split([gradient.numel() for _, gradient in read])
        gradients |= {f"{name} by {at}": part for (at, _), part in zip(read, parts, strict=True)}
    total.backward()
    gradients |= {f"all by {name}": p.grad.flatten().clone() for name, p in trained.items()}
    kept = gradients if rank() == 0 else {}  # which all processes have alike
    return {"values": {name: value.detach() for name, value in values.items()}, "gradients": kept}


def steps(cases: list[tuple[str, str]]) -> dict[tuple[str, str], dict[str, Any]]:
    modules = {head: made(head) for head, _ in cases}
    models: dict[str, nn.Module] = {head: Step(module) for head, module in modules.items()}
    if world_size() > 1:
        models = {head: DistributedDataParallel(model) for head, model in models.items()}
    return {(head, case): step(modules[head], models[head], case) for head, case in cases}


CASES = [*((head, case) for head in ("text", "linear") for case in LABELS), ("lora", "apart")]
COMPARED = {2: CASES, 4: [("text", "apart"), ("linear", "uneven")]}


@pytest.fixture(scope="module")
def alone() -> dict[tuple[str, str], dict[str, Any]]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the processes have it
    found = steps(CASES)
    torch.set_num_threads(threads)
    return found


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], list[Any]]:
    """What all processes of a world found, computed when first asked for."""
    found: dict[int, list[Any]] = {}

    def of(world: int) -> list[Any]:
        if world not in found:
            found[world] = together(world, steps, tmp_path_factory.mktemp("joined"), COMPARED[world])
        return found[world]

    return of


@pytest.mark.parametrize(("world", "head", "case"), [(world, *case) for world in COMPARED for case in COMPARED[world]])
def test_n_processes_do_what_one_does(
    head: str, case: str, world: int, alone: dict[tuple[str, str], Any], joined: Callable[[int], list[Any]]
) -> None:
    one = alone[head, case]
    assert set(one["values"]) >= {"contrastive", "tracer", "carot"} if head != "linear" else {"l2_sp", "lipsum_ft"}
    moved = sum(bool(gradient.abs().sum() > 0) for gradient in one["gradients"].values())
    assert moved > (250 if case == "uneven" else 45), "there is something to compare"
    found = [processes[head, case] for processes in joined(world)]
    for got in found:
        assert got["values"].keys() == one["values"].keys()
        for name, value in one["values"].items():
            assert got["values"][name].item() == pytest.approx(value.item(), rel=1e-6, abs=1e-9), name
    assert found[0]["gradients"].keys() == one["gradients"].keys()
    for name, gradient in one["gradients"].items():
        apart = (found[0]["gradients"][name] - gradient).norm()
        assert apart <= 1e-5 * gradient.norm() + 1e-9, f"{name}: {apart} of {gradient.norm()}"


# The pieces


def pieces() -> dict[str, Any]:
    me, world = rank(), world_size()
    sizes = [2, 0, 3][:world]
    rows = torch.full((sizes[me], 2), float(me + 1), requires_grad=True)
    gathered = gather(rows, sizes)
    # each process weighs the rows differently: the gradients of all losses must reach a row's owner
    (gathered * (me + 1)).sum().backward()
    half = torch.ones(1, dtype=torch.bfloat16, requires_grad=True)
    (gather(half, [1] * world) * (1 + me / 128)).sum().backward()
    return {
        "gathered": gathered.detach(),
        "gradient": rows.grad,
        "labels": gather(torch.full((sizes[me],), me), sizes),
        "objects": gather_objects({"of": me}),
        "highest": max_over_processes(15 if me == 1 else 0),
        "first": broadcast_from_first(torch.tensor([float(me + 7)])),
        "half_gradient": half.grad,
        "owned": is_own_row(torch.arange(-1, 7)),
    }


def test_the_pieces_by_hand(tmp_path: Path) -> None:
    for me, found in enumerate(together(3, pieces, tmp_path)):
        assert found["gathered"].tolist() == [[1.0, 1.0]] * 2 + [[3.0, 3.0]] * 3
        assert found["gradient"].tolist() == [[6.0, 6.0]] * [2, 0, 3][me]
        assert found["labels"].tolist() == [0, 0, 2, 2, 2]
        assert found["objects"] == [{"of": 0}, {"of": 1}, {"of": 2}]
        assert found["highest"] == 15
        assert found["first"].tolist() == [7.0]
        assert found["half_gradient"].dtype == torch.bfloat16
        why = "3 + 3 / 128 to the nearest of bfloat16, and not sum by sum: 3.015625"
        assert found["half_gradient"].item() == 3.03125, why
        assert found["owned"].tolist() == [False, *(row % 3 == me for row in range(7))]


def test_a_process_alone_gets_back_what_it_gave() -> None:
    assert not dist.is_initialized()
    rows = torch.ones(2, requires_grad=True)
    assert gather(rows, [2]) is rows
    assert gather(rows, []) is rows
    assert broadcast_from_first(rows) is rows
    assert (world_size(), rank(), gather_objects("it"), max_over_processes(3)) == (1, 0, ["it"], 3)
    assert is_own_row(torch.arange(3)).all()


def test_rows_are_dealt_as_samplers_deal_them() -> None:
    assert interleaved([["a", "c", "e"], ["b", "d"]]) == ["a", "b", "c", "d", "e"]
    assert interleaved([[0, None], [], [1]]) == [0, 1, None], "a row may be null"
    assert [rows_of_rank([3, 0, 2], which) for which in range(3)] == [[0, 2, 4], [], [1, 3]]
    assert interleaved([]) == []
