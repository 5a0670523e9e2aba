"""Models that weights are about to fill, without the random numbers that they would replace."""

import math
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode

DRAWS = ("normal_", "uniform_", "kaiming_uniform_")
"""What draws weights: methods of tensors, and the functions of `torch.nn.init` that a mode is told of before them."""


class Undrawn(TorchFunctionMode):
    """While it is on, parameters that would be drawn are NaN, and so found where weights don't fill them.

    Drawing takes longer than all else of building a large model. Buffers are drawn all the same, as those that aren't
    saved stay, and so is what has a generator of its own.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Fill with NaN in the place of drawing; leave any other function as it is."""
        given = kwargs or {}
        if getattr(func, "__name__", "") in DRAWS and given.get("generator") is None:
            drawn = args[0] if args else given["tensor"]
            if isinstance(drawn, nn.Parameter):
                drawn.detach().fill_(math.nan)
                return drawn
        return func(*args, **given)
