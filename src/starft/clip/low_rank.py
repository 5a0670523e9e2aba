"""A trained update of low rank beside a frozen weight: ``W + alpha / rank * up @ down``, W itself left alone.

Paper: LoRA (Hu et al., ICLR 2022, arXiv 2106.09685), equation 3. Deviations: none known; a packed projection of
queries, keys and values gets one update, as in peft.

An update stands as ``part.lora[weight]`` in the part whose weight it belongs to, and changes no other name. A linear
layer that is called gets it as a hook; `LowRankAttention` computes it beside torch's packed projection. Elsewhere a
module reads the weights of its parts and calls nothing (CLIP's attention pool, CoCa's pooler, timm's BEiT and EVA):
there the sum is made before each call.

What a frozen layer is given needn't be kept for its gradient, but its update's ``down`` asks for it. It comes from a
norm or an activation, which keep their own inputs: it is made of these again. Of a block of a vision transformer 10
times the tokens are kept then, and 16 times without.
"""

import math
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

SOURCE = "_starft_source"
"""Where a tensor has what it was made of, and by which layer."""


class LowRank(nn.Module):
    """The update of one weight.

    Args:
        weight: The frozen weight (O, I).
        rank: Rank of the update, at most the smaller of O and I.
        scale: Factor on the update.
        dropout: Share of the inputs that the update doesn't see at a step.
        read: Whether the weight is read, in place of its layer being called.
    """

    def __init__(self, weight: Tensor, rank: int, scale: float, dropout: float, read: bool = False) -> None:
        super().__init__()
        self.scale, self.dropout, self.read = scale, dropout, read
        wide = torch.promote_types(weight.dtype, torch.float32)
        self.down = nn.Parameter(torch.empty(rank, weight.shape[1], dtype=wide, device=weight.device))
        self.up = nn.Parameter(torch.empty(weight.shape[0], rank, dtype=wide, device=weight.device))

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> None:
        """Begin anew: ``down`` is drawn as a linear layer is, ``up`` is 0, and so is the update.

        Args:
            generator: On the host; the same one gives the same numbers on any device.
        """
        bound = 1 / math.sqrt(self.down.shape[1])
        self.down.copy_(torch.empty(self.down.shape).uniform_(-bound, bound, generator=generator))
        self.up.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Return the update of a layer's output (..., O) for its input (..., I)."""
        if self.dropout:
            x = F.dropout(x, self.dropout, self.training)
        source = getattr(x, SOURCE, None)
        low: Tensor = F.linear(x, self.down) if source is None else _Product.apply(x, self.down, *source)
        return F.linear(low * self.scale, self.up)

    def _load_from_state_dict(self, state_dict: Mapping[str, Tensor], prefix: str, *rest: Any) -> None:
        """Take the rank of what is loaded: an average of updates is of any."""
        rank = len(state_dict.get(f"{prefix}down", self.down))
        if rank != len(self.down):
            self.up.data = self.up.data.new_empty(len(self.up), rank)
            self.down.data = self.down.data.new_empty(rank, self.down.shape[1])
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def whole(self) -> Tensor:
        """Return the update of the weight (O, I)."""
        return self.scale * self.up @ self.down

    def squared_norm(self) -> Tensor:
        """Return the sum of the squares of `whole`, a scalar, from matrices of rank by rank."""
        up, down = self.up.float(), self.down.float()
        with torch.autocast(up.device.type, enabled=False):
            return self.scale**2 * ((up.T @ up) * (down @ down.T)).sum()


class _Product(torch.autograd.Function):
    """``x @ down.T``, where x isn't kept for the way back but made anew of its own source, which is kept anyway."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, down: Tensor, source: Tensor, part: nn.Module) -> Tensor:
        ctx.save_for_backward(source, down)
        ctx.part, ctx.dtype, device = part, x.dtype, x.device.type
        under = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        ctx.autocast = (device, torch.get_autocast_dtype(device)) if under else None
        return F.linear(x, down)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        source, down = ctx.saved_tensors
        with torch.autocast(*ctx.autocast) if ctx.autocast is not None else nullcontext():
            x = ctx.part.forward(source)
            of_down = gradient.flatten(0, -2).T @ x.flatten(0, -2)
            of_x = (gradient @ down).to(ctx.dtype) if ctx.needs_input_grad[0] else None
        return of_x, of_down.to(down.dtype), None, None


def note_source(part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    """Hook of a frozen norm or activation, whose input is kept for its own gradient: its output needn't be, too."""
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        setattr(output, SOURCE, (inputs[0], part))


class LowRankAttention(nn.MultiheadAttention):
    """Self-attention whose packed projection has an update; computed as torch computes it, to rounding."""

    lora: nn.ModuleDict

    def forward(  # type: ignore[override]  # open_clip's blocks ask for no more
        self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = False, attn_mask: Tensor | None = None
    ) -> tuple[Tensor, None]:
        """Return what the tokens (B, L, W), or (L, B, W) as the layer was built, see in each other; no weights.

        Args:
            query: The tokens.
            key: The same.
            value: The same.
            need_weights: Must be false.
            attn_mask: Added to the logits: (L, L) or (B * heads, L, L); None for none.
        """
        x = query if self.batch_first else query.transpose(0, 1)
        packed = F.linear(x, self.in_proj_weight, self.in_proj_bias).add_(self.lora["in_proj_weight"](x))
        heads = packed.view(*packed.shape[:2], 3, self.num_heads, self.head_dim)
        queries, keys, values = heads.permute(2, 0, 3, 1, 4)
        if attn_mask is not None and attn_mask.ndim == 3:
            attn_mask = attn_mask.view(-1, self.num_heads, *attn_mask.shape[1:])
        seen = F.scaled_dot_product_attention(queries, keys, values, attn_mask)
        answer = self.out_proj(seen.transpose(1, 2).flatten(2))
        return answer if self.batch_first else answer.transpose(0, 1), None


def updated_weight(part: nn.Module, name: str) -> Tensor:
    """Return a weight of a part with its update, where it has one.

    Args:
        part: Any layer.
        name: Of its weight.
    """
    weight: Tensor = part._parameters[name]  # type: ignore[assignment]
    update = updates_of(part).get(name)
    return weight if update is None else weight + update.whole()


def updates_of(part: nn.Module) -> dict[str, LowRank]:
    """Return the updates of a part's own weights, by the names of these.

    Args:
        part: Any layer.
    """
    modules = part._modules.get("lora")
    return dict(modules.items()) if isinstance(modules, nn.ModuleDict) else {}  # type: ignore[arg-type]


def put_beside(part: nn.Module, name: str, update: LowRank) -> None:
    """Give a weight an update.

    Args:
        part: The layer.
        name: Of its weight.
        update: Of that shape.
    """
    part.lora = nn.ModuleDict({**updates_of(part), name: update})


def add_to_output(part: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """Hook of a linear layer that is called: its output and the update's."""
    update: Tensor = updates_of(part)["weight"](inputs[0])
    return output.add_(update)


def sum_weights(owner: nn.Module, inputs: Any) -> None:
    """Hook before a module that reads weights, its own or its children's: what it reads is weight and update."""
    for part, name in _read(owner):
        vars(part)[name] = updated_weight(part, name)  # stands before the parameter, which stays where it is


def forget_sums(owner: nn.Module, inputs: Any, output: Any) -> None:
    """Hook behind it."""
    for part, name in _read(owner):
        vars(part).pop(name, None)


def _read(owner: nn.Module) -> list[tuple[nn.Module, str]]:
    parts = (owner, *owner.children())
    return [(part, name) for part in parts for name, update in updates_of(part).items() if update.read]
