"""Layer-wise learning-rate decay: the nearer a block is to the input, the less it moves.

Source: BEiT (Bao et al., ICLR 2022, arXiv 2106.08254) and MAE (He et al., CVPR 2022, arXiv 2111.06377), after ELECTRA
(Clark et al., ICLR 2020, arXiv 2003.10555). Deviations: both towers decay, each from its own last block.
"""

from typing import Any

from torch import nn

from starft.clip.towers import tower_layers


def layer_rates(model: Any, decay: float) -> dict[nn.Parameter, float]:
    """Return the factor on the learning rate of each parameter in a tower's stem or blocks; others have none.

    Of a tower of L blocks, the last has ``decay``, the first ``decay ** L``, what comes before it ``decay ** (L + 1)``.
    Pooling, projections and heads have none, timm's either.

    Args:
        model: Any open_clip model.
        decay: In (0, 1]; 1 gives no factors.

    Raises:
        ConfigError: The blocks of a tower aren't known.
    """
    if decay == 1:
        return {}
    return {
        parameter: decay ** (len(layers) - depth)
        for layers in tower_layers(model, behind=False)
        for depth, layer in enumerate(layers)
        for part in layer
        if part is not None
        for parameter in ([part] if isinstance(part, nn.Parameter) else part.parameters())
    }
