"""Weights of which each process holds a part, as FSDP cuts them; whole tensors pass through all of this unchanged.

A part stands in a ``DTensor``, which knows its whole. What works value by value works on the parts alone.
"""

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor


def is_sharded(module: nn.Module) -> bool:
    """Return whether a module has weights that are in parts.

    Args:
        module: Any.
    """
    return any(isinstance(parameter, DTensor) for parameter in module.parameters())


def part(values: Tensor) -> Tensor:
    """Return what this process holds of a tensor: the same memory.

    Args:
        values: In parts, or whole.
    """
    return values.to_local() if isinstance(values, DTensor) else values


def whole_on_first(values: Tensor) -> Tensor:
    """Return the whole of a tensor on the first process's host; to the others, of one in parts, nothing.

    All processes must ask.

    Args:
        values: In parts, or whole.
    """
    if not isinstance(values, DTensor):
        return values
    whole: Tensor = values.full_tensor().detach()
    return whole.cpu() if dist.get_rank() == 0 else whole.new_empty(0, device="cpu")


def cut_as(values: Tensor, weight: Tensor) -> Tensor:
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
    cut = [part(gradient) for gradient in gradients if isinstance(gradient, DTensor)]
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
