"""Models that weights are about to fill, without the random numbers that they would replace."""

import math
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

DRAWS = ("normal_", "uniform_", "kaiming_uniform_")
"""What draws weights: methods of tensors, and the functions of `torch.nn.init` that a mode is told of before them."""


class Undrawn(TorchFunctionMode):
    """While it is on, what would be drawn is NaN, so that a look for NaN finds what weights didn't fill.

    Drawing takes longer than all else of building a large model.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Fill with NaN in the place of drawing; leave any other function as it is."""
        given = kwargs or {}
        if getattr(func, "__name__", "") not in DRAWS:
            return func(*args, **given)
        drawn: Tensor = args[0] if args else given["tensor"]
        drawn.detach().fill_(math.nan)
        return drawn
