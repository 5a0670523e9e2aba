"""What the processes of a run tell each other; a process alone gets back what it gave.

The world is asked for when a function is called: a module is built before the processes know each other.

Gradients are those of the *mean over processes* of their losses, which is what DDP's averaging makes of them. Where
each process computes the one loss of the joined batch from gathered rows, that mean is the loss, and every gradient is
the single process's, those of weights that a loss reads directly too (the logit scale, a head, a penalty): no factor of
the world size is left to be put in anywhere.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain, zip_longest
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed.tensor import DTensor, distribute_tensor

T = TypeVar("T")


def world_size() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return which of them this one is, counted from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def gather_objects(value: T) -> list[T]:
    """Return what each process gave, by rank; it goes from host to host, and no device is waited for.

    Args:
        value: Anything that can be pickled.
    """
    world = world_size()
    if world == 1:
        return [value]
    given: list[Any] = [None] * world
    dist.all_gather_object(given, value, group=_host_group(dist.group.WORLD))
    return given


def max_over_processes(number: int) -> int:
    """Return the highest number that a process gave; no device is waited for.

    Args:
        number: This process's.
    """
    if world_size() == 1:
        return number
    told = torch.tensor(number)
    dist.all_reduce(told, dist.ReduceOp.MAX, group=_host_group(dist.group.WORLD))
    return int(told)


@lru_cache(maxsize=1)
def _host_group(world: Any) -> Any:
    """Return a group of all processes that speaks without their devices, made once for each world."""
    return world if dist.get_backend(world) == "gloo" else dist.new_group(backend="gloo")


def gather(rows: Tensor, sizes: Sequence[int]) -> Tensor:
    """Return the rows of all processes, one process behind the other; gradients flow back to whose they are.

    Shapes: ``rows`` (n, ...), the result (n_0 + n_1 + ..., ...).

    Args:
        rows: This process's; their number may differ from the others'.
        sizes: How many rows each process has, by rank, as `gather_objects` tells; one entry or none is a process alone.
    """
    if len(sizes) < 2:
        return rows
    gathered: Tensor = _Gather.apply(rows, tuple(sizes))
    return gathered


def broadcast_from_first(values: Tensor) -> Tensor:
    """Return the first process's values, without a graph.

    Args:
        values: Of one shape in every process.
    """
    if world_size() == 1:
        return values
    told = values.detach().contiguous().clone()
    dist.broadcast(told, src=0)
    return told


def interleaved(shares: Sequence[Sequence[T]]) -> list[T]:
    """Return the joined batch in the order of a single process: the first row of each share, then the second of each.

    That is how samplers deal rows out, so a process alone with the joined batch has its rows in this order.

    Args:
        shares: What each process has, by rank.

    Example:
        >>> interleaved([[0, 2, 4], [1, 3]])
        [0, 1, 2, 3, 4]
    """
    nothing: Any = object()
    rows = chain.from_iterable(zip_longest(*shares, fillvalue=nothing))
    return [row for row in rows if row is not nothing]


def rows_of_rank(sizes: Sequence[int], which: int) -> list[int]:
    """Return where the rows of one process stand in the joined batch, as `interleaved` orders it.

    Args:
        sizes: How many rows each process has, by rank.
        which: The process.

    Example:
        >>> rows_of_rank([3, 2], 1)
        [1, 3]
    """
    return [
        at for at, owner in enumerate(interleaved([[item] * size for item, size in enumerate(sizes)])) if owner == which
    ]


def is_own_row(index: Tensor) -> Tensor:
    """Return which rows (n,) of an unshuffled set this process was dealt, and not only to fill its last batch.

    Args:
        index: Positions (n,) of the rows in their set, which is dealt out row by row, as torch's samplers do; -1 of a
            row that stands for none.
    """
    return (index >= 0) & (index % world_size() == rank())


def _summed(values: Tensor) -> Tensor:
    """Return the sum over processes in at least float32: sums of half precision would lose digits."""
    total = values.to(torch.promote_types(values.dtype, torch.float32), copy=True).contiguous()
    dist.all_reduce(total)
    return total.to(values.dtype)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: tuple[int, ...]) -> Tensor:
        ctx.sizes = sizes
        most = max(sizes)
        padded = rows.new_zeros(most, *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        start = sum(ctx.sizes[: dist.get_rank()])
        return _summed(grad)[start : start + ctx.sizes[dist.get_rank()]], None


# --- weights in parts -----------------------------------------------------------------------------------------------


def is_sharded(module: nn.Module) -> bool:
    """Return whether a module has weights that are in parts.

    Args:
        module: Any.
    """
    return any(isinstance(parameter, DTensor) for parameter in module.parameters())


def local_part(values: Tensor) -> Tensor:
    """Return what this process holds of a tensor: the same memory.

    Args:
        values: In parts, or whole.
    """
    return values.to_local() if isinstance(values, DTensor) else values


def gather_on_first(values: Tensor) -> Tensor:
    """Return the whole of a tensor on the first process's host; to the others, of one in parts, nothing.

    All processes must ask.

    Args:
        values: In parts, or whole.
    """
    if not isinstance(values, DTensor):
        return values
    whole: Tensor = values.full_tensor().detach()
    return whole.cpu() if dist.get_rank() == 0 else whole.new_empty(0, device="cpu")


def shard_like(values: Tensor, weight: Tensor) -> Tensor:
    """Return a whole tensor in parts as a weight's are, if it has the weight's shape.

    Args:
        values: Whole, the same in all processes.
        weight: In parts, or whole.
    """
    if not isinstance(weight, DTensor) or values.shape != weight.shape:
        return values
    return distribute_tensor(values.to(weight.device), weight.device_mesh, weight.placements)


@torch.no_grad()
def clip_norm(parameters: Iterable[nn.Parameter], limit: float) -> None:
    """Scale all gradients by one factor, so that their norm is at most ``limit``; as torch does it for whole ones.

    Args:
        parameters: Those that are trained.
        limit: Norm of all gradients taken together.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    cut = [local_part(gradient) for gradient in gradients if isinstance(gradient, DTensor)]
    uncut = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
    if not gradients:
        return
    nothing = torch.zeros((), device=gradients[0].device)
    of_parts, of_rest = (
        torch.stack([nothing, *map(torch.linalg.vector_norm, some)]).square().sum() for some in (cut, uncut)
    )
    dist.all_reduce(of_parts)
    factor = (limit / ((of_parts + of_rest).sqrt() + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(cut + uncut, factor)
