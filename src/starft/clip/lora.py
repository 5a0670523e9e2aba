"""LoRA on any CLIP of open_clip: its options, which weights get an update, and the sum of both as plain weights.

Not by peft (0.21): of CLIP's ResNets it leaves queries, keys and values of the attention pool without a gradient, and
says nothing, since these are read and never called; CoCa's pooler it refuses; text projections that are layers it
breaks; a packed projection it sums before each step, so that the weight's own gradient is computed and two copies of it
are held, and knows no dropout there; weights get other names; and it brings accelerate and transformers along.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from open_clip.modified_resnet import AttentionPool2d
from open_clip.transformer import Attention, QuickGELU, ResidualAttentionBlock
from torch import Tensor, nn

from starft.clip.encoder import text_tower_of
from starft.clip.low_rank import (
    LowRank,
    LowRankAttention,
    add_to_output,
    forget_sums,
    note_source,
    put_beside,
    sum_weights,
    updates_of,
)
from starft.clip.towers import before_last_blocks
from starft.errors import ConfigError

Layer = Literal["attention", "mlp"]
MARK = ".lora."
"""Stands in the name of an update where its weight's name has a dot."""
SCALE = "logit_scale"
"""What is trained beside updates."""


@dataclass(frozen=True)
class LoRA:
    """Train low-rank updates in the place of the weights, which stay frozen and are the twin's too.

    Args:
        kind: The only one there is.
        rank: Rank of each update.
        alpha: The update counts alpha / rank times.
        dropout: Share of the inputs that an update doesn't see at a step.
        towers: Which towers get updates.
        layers: Which layers: those of attention, those of the MLPs, or both.
        blocks: In all blocks, or, as in ``last 4``, in the last ones of each tower and what comes behind them.
        base_precision: Precision of the frozen weights: same as all others, or ``bf16``, half the memory. The towers
            compute in bfloat16 then.
    """

    kind: Literal["lora"] = "lora"
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    towers: list[Literal["image", "text"]] = field(default_factory=lambda: ["image", "text"])
    layers: list[Layer] = field(default_factory=lambda: ["attention", "mlp"])
    blocks: str = "all"
    base_precision: Literal["same", "bf16"] = "same"

    def __post_init__(self) -> None:
        """Refuse what no model could make sense of."""
        if self.rank < 1:
            raise ConfigError(f"rank of model.adapter must be at least 1; got {self.rank}.")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ConfigError(f"alpha of model.adapter must be a finite number above 0; got {self.alpha}.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout of model.adapter must lie in [0, 1); got {self.dropout}.")
        if self.blocks != "all" and not re.fullmatch(r"last [1-9]\d*", self.blocks):
            raise ConfigError(f"blocks of model.adapter must be all, or such as last 4; got {self.blocks!r}.")
        if not (self.towers and self.layers):
            raise ConfigError("towers and layers of model.adapter must name one at least; leave them out for all.")
        for name, given in (("towers", self.towers), ("layers", self.layers)):
            if len({*given}) < len(given):
                raise ConfigError(f"{name} of model.adapter must name each one once; got {', '.join(given)}.")

    @property
    def scale(self) -> float:
        """Factor on each update."""
        return self.alpha / self.rank


def freeze_base(model: Any) -> None:
    """Freeze all weights but the logit scale.

    Args:
        model: Any open_clip model.
    """
    for name, weight in model.named_parameters():
        weight.requires_grad_(name == SCALE)


def add_updates(model: Any, lora: LoRA, seed: int) -> None:
    """Give a model's weights updates, which are 0 as yet.

    Args:
        model: Any open_clip model.
        lora: Which weights, and of what rank.
        seed: Of the draw.

    Raises:
        ConfigError: A tower has none of these layers, or a weight is smaller than the rank.
    """
    missing = set(lora.layers)
    for tower in lora.towers:
        layers = [item for item in _weights(model, tower, lora.blocks) if item.layer in lora.layers]
        if not layers:
            raise ConfigError(
                f"layers of model.adapter is {lora.layers}, and the {tower} tower ({_kind(model, tower)}) has none "
                "that it knows there; give other layers, or leave the tower out of towers."
            )
        missing -= {item.layer for item in layers}
        for item in layers:
            _add(item, lora)
        for part in _root(model, tower).modules():
            if isinstance(part, nn.LayerNorm | nn.GELU | QuickGELU):
                part.register_forward_hook(note_source)
    if missing:
        raise ConfigError(
            f"layers of model.adapter names {', '.join(missing)}, and the {' and '.join(lora.towers)} tower "
            f"({', '.join(_kind(model, tower) for tower in lora.towers)}) has none; leave it out."
        )
    draw(model, seed)


def draw(model: nn.Module, seed: int) -> None:
    """Let all updates begin anew.

    Args:
        model: With updates.
        seed: Of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    for _, update in named_updates(model):
        update.draw(generator)


def named_updates(model: nn.Module) -> Iterator[tuple[str, LowRank]]:
    """Yield the updates, each with the name of its weight.

    Args:
        model: Any.
    """
    for path, part in model.named_modules():
        for name, update in updates_of(part).items():
            yield f"{path}.{name}" if path else name, update


@torch.no_grad()
def merge(model: nn.Module, lora: LoRA, state: Mapping[str, Tensor]) -> None:
    """Put updates that were saved into the weights of the model that they were trained on.

    Args:
        model: As it was pre-trained.
        lora: As the updates were made.
        state: Their numbers, by their names in a model; and those of other weights that were trained.
    """
    if lora.base_precision == "bf16":
        round_matrices(model)
    for name, value in state.items():
        if name.endswith(".up"):
            weight = model.get_parameter(name.removesuffix(".up").replace(MARK, "."))
            weight.add_(lora.scale * value.to(weight) @ state[f"{name.removesuffix('.up')}.down"].to(weight))
        elif MARK not in name:
            model.get_parameter(name).copy_(value)


@torch.no_grad()
def round_matrices(model: nn.Module, store: bool = False) -> None:
    """Round the matrices of a model's layers to bfloat16: nearly all of its weights.

    Args:
        model: Any open_clip model.
        store: Hold them so, too, in half the memory.
    """
    for part in model.modules():
        for name, weight in part.named_parameters(recurse=False):
            if weight.ndim == 2 and name.endswith("weight") and not isinstance(part, nn.Embedding):
                weight.data = weight.data.bfloat16() if store else weight.data.bfloat16().to(weight.dtype)


@dataclass(frozen=True)
class _Weight:
    """A matrix of a tower: where it is, what it is for, and which module reads it in place of calling its layer."""

    part: nn.Module
    name: str
    path: str
    layer: Layer
    reader: nn.Module | None


def _weights(model: Any, tower: str, blocks: str) -> Iterator[_Weight]:
    """Yield the matrices of a tower's attention and of its blocks' MLPs."""
    root = _root(model, tower)
    last = blocks.removeprefix("last ")
    left_out = {id(weight) for weight in before_last_blocks(model, tower, int(last))} if last != "all" else set()
    for path, part in root.named_modules():
        own = re.search("attn|attention|token_mixer", path.lower()) is not None
        if not own and not re.search(r"\.\d+\.", f".{path}."):
            continue  # stems and heads
        layer: Layer = "attention" if own and not re.search(r"mlp|intermediate", path) else "mlp"
        reader = _reader(root, path, part) if path else None
        multiplies = isinstance(part, nn.Linear | nn.MultiheadAttention | Attention)
        for name, weight in part.named_parameters(recurse=False):
            matrix = multiplies and weight.ndim == 2 and name.endswith("weight")
            if matrix and id(weight) not in left_out:
                yield _Weight(part, name, path, layer, reader)


def _root(model: Any, tower: str) -> nn.Module:
    root: nn.Module = model.visual if tower == "image" else text_tower_of(model).transformer
    return root


def _reader(root: nn.Module, path: str, part: nn.Module) -> nn.Module | None:
    """Return the module that reads a part's weights; None where the part is called, or computes its update itself."""
    owner = root.get_submodule(path.rpartition(".")[0])
    if isinstance(part, Attention | nn.MultiheadAttention):
        return None if _is_plain(part, owner) else part
    if isinstance(owner, nn.MultiheadAttention):
        block = root.get_submodule(path.rpartition(".")[0].rpartition(".")[0])
        return None if _is_plain(owner, block) else owner
    # timm's BEiT and EVA give q and v biases of their own, and the weight of the layer to a function
    reads = isinstance(owner, AttentionPool2d) or getattr(owner, "q_bias", None) is not None
    return owner if reads else None


def _is_plain(attention: nn.Module, owner: nn.Module) -> bool:
    """Return whether this is the self-attention of one of open_clip's plain blocks."""
    return type(attention) is nn.MultiheadAttention and isinstance(owner, ResidualAttentionBlock)


def _add(item: _Weight, lora: LoRA) -> None:
    weight = item.part.get_parameter(item.name)
    where = f"{item.path}.{item.name}"
    if lora.rank > min(weight.shape):
        raise ConfigError(f"rank of model.adapter must be at most {min(weight.shape)} for {where}; got {lora.rank}.")
    if lora.dropout and item.reader is not None:
        raise ConfigError(
            f"dropout of model.adapter must be 0 here, for {type(item.reader).__name__} reads {where} and has no place "
            f"for it; got {lora.dropout}."
        )
    put_beside(item.part, item.name, LowRank(weight, lora.rank, lora.scale, lora.dropout, item.reader is not None))
    if item.reader is not None:
        if sum_weights not in item.reader._forward_pre_hooks.values():
            item.reader.register_forward_pre_hook(sum_weights)
            item.reader.register_forward_hook(forget_sums, always_call=True)
    elif isinstance(item.part, nn.MultiheadAttention):
        item.part.__class__ = LowRankAttention
    else:
        item.part.register_forward_hook(add_to_output)


def _kind(model: Any, tower: str) -> str:
    """Return what a tower is, in a word."""
    root = _root(model, tower)
    return type(getattr(root, "trunk", root)).__name__
