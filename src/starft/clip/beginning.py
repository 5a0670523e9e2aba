"""The first blocks of a tower, computed once for several models that have them in common.

Blocks follow each other, so all that a tower makes of an image or a caption depends on what comes out of any one of
them alone. Where student and teachers have the same frozen blocks, these are computed once, and each goes on from
there: same features, same gradients.

`compute` lets a tower run as it always does, up to the last block of the beginning. `given` lets each part of the
beginning answer with what that was, whatever it is called with, so a tower's own code goes on from it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from open_clip.transformer import VisionTransformer
from timm.models import VisionTransformer as TimmVisionTransformer
from torch import Tensor, nn

from starft.clip.low_rank import LowRank

Tower = Literal["image", "text"]


@dataclass(frozen=True)
class Beginning:
    """The first blocks of a tower.

    Args:
        tower: ``image`` or ``text``.
        stem: Names of the weights before them.
        blocks: Names of their modules, in order; what the last one returns is all that the rest of the tower reads.
        share: What part of the tower's blocks they are.
    """

    tower: Tower
    stem: tuple[str, ...]
    blocks: tuple[str, ...]
    share: float

    def weights(self, model: nn.Module) -> Iterator[Tensor]:
        """Yield the weights and statistics of stem and blocks in a model, without updates of low rank."""
        yield from (model.get_parameter(name) for name in self.stem)
        updates = {id(weight) for update in self.updates(model) for weight in update.parameters()}
        for block in map(model.get_submodule, self.blocks):
            yield from (weight for weight in block.parameters() if id(weight) not in updates)
            yield from block.buffers()

    def updates(self, model: nn.Module) -> list[LowRank]:
        """Return the updates that an adapter has put into the blocks."""
        blocks = map(model.get_submodule, self.blocks)
        return [part for block in blocks for part in block.modules() if isinstance(part, LowRank)]


class _Reached(Exception):  # noqa: N818  # no error: the way out of a tower
    def __init__(self, value: Any) -> None:
        self.value = value


@torch.no_grad()
def compute(beginning: Beginning, model: nn.Module, encode: Callable[[], Any]) -> Any:
    """Return what comes out of a beginning, without a graph.

    Args:
        beginning: Of a tower of the model.
        model: Any open_clip model.
        encode: Lets that tower encode something; it is left where the beginning ends.
    """

    def leave(part: nn.Module, inputs: Any, output: Any) -> None:
        raise _Reached(output)

    hook = model.get_submodule(beginning.blocks[-1]).register_forward_hook(leave)
    try:
        encode()
    except _Reached as reached:
        return reached.value
    finally:
        hook.remove()
    raise AssertionError(f"{beginning.blocks[-1]} wasn't called")


@contextmanager
def given(beginning: Beginning, model: Any, value: Any) -> Iterator[None]:
    """Let a tower go on from what `compute` returned; what it is called with says how many rows there are, no more.

    Args:
        beginning: Of a tower of the model.
        model: Any open_clip model.
        value: What came out of the beginning.
    """
    answers: list[tuple[nn.Module, str]] = [(model.get_submodule(name), "forward") for name in beginning.blocks]
    trunk = getattr(model.visual, "trunk", model.visual)
    if beginning.tower == "image" and isinstance(trunk, VisionTransformer):  # nor are patches made, where that is known
        answers.append((trunk, "_embeds"))
    elif beginning.tower == "image" and type(trunk) is TimmVisionTransformer:
        answers += [(trunk.patch_embed, "forward"), (trunk, "_pos_embed")]
    for part, name in answers:
        vars(part)[name] = lambda *inputs, **named: value  # stands before the method of the class
    try:
        yield
    finally:
        for part, name in answers:
            del vars(part)[name]
