"""Learning-rate schedule and parameter groups of the fine-tuning recipe.

Paper: StarFT (Kim et al., IJCAI 2025, arXiv 2505.13232), whose recipe is that of FLYP (Goyal et al., 2023,
arXiv 2212.00638): AdamW, weight decay on every parameter, linear warm-up, cosine to 0. Deviations: none known.
"""

import math
from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.optim import AdamW

from starft.distributed import local_part
from starft.errors import ConfigError

MOST_DECAY = 1000
"""Of AdamW; recipes have 0 to 1."""
FUSED = ("cpu", "cuda")
"""Devices for which torch has had a fused AdamW since the oldest version that is supported."""


def warmup_cosine(step: int, warmup_steps: int, total_steps: int, restart: int = 0) -> float:
    """Return the factor on the peak learning rate at an optimizer step.

    Linear warm-up, ``(step + 1) / warmup_steps``, so that the first step already moves the weights; then
    ``(1 + cos(pi * (step - warmup_steps) / (total_steps - warmup_steps))) / 2``, which is 1 right after the warm-up and
    would be 0 at ``total_steps``; from there on it stays 0. A warm-up longer than the run is cut off by the end of the
    run, and the peak is never reached.

    Args:
        step: Optimizer steps made so far; the first step is 0.
        warmup_steps: Length of the warm-up; 0 for none.
        total_steps: Length of the run, warm-up included.
        restart: The step before which all this ends, and where it begins anew for the rest of the run; 0 for none.

    Raises:
        ConfigError: If one of the first three is negative.

    Example:
        >>> [round(warmup_cosine(step, warmup_steps=2, total_steps=6), 3) for step in range(7)]
        [0.5, 1.0, 1.0, 0.854, 0.5, 0.146, 0.0]
    """
    for name, value in (("step", step), ("warmup_steps", warmup_steps), ("total_steps", total_steps)):
        if value < 0:
            raise ConfigError(f"{name} must be at least 0, got {value}.")
    step, total_steps = (step, restart) if step < restart else (step - restart, total_steps - restart)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if step >= total_steps:
        return 0.0
    # Here warmup_steps <= step < total_steps, so the divisor is positive.
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def check_recipe(
    lr: float, weight_decay: float, warmup_steps: int, betas: tuple[float, float], layer_decay: float
) -> None:
    """Refuse settings of the optimizer that can't be used.

    Args:
        lr: Peak learning rate.
        weight_decay: Of AdamW.
        warmup_steps: Length of the warm-up.
        betas: Decay rates of the two moments.
        layer_decay: Factor on the learning rate from block to block.

    Raises:
        ConfigError: One of them is out of its range.
    """
    if not (math.isfinite(lr) and lr >= 0):
        raise ConfigError(f"lr must be a finite number, at least 0; got {lr}.")
    if not (math.isfinite(weight_decay) and weight_decay >= 0):
        raise ConfigError(f"weight_decay must be a finite number, at least 0; got {weight_decay}.")
    if weight_decay > MOST_DECAY:
        raise ConfigError(f"weight_decay must be at most {MOST_DECAY}; got {weight_decay}.")
    if warmup_steps < 0:
        raise ConfigError(f"warmup_steps must be at least 0; got {warmup_steps}.")
    if not (len(betas) == 2 and all(0 <= beta < 1 for beta in betas)):
        raise ConfigError(f"betas must be two numbers in [0, 1); got {list(betas)}.")
    if not 0 < layer_decay <= 1:
        raise ConfigError(f"layer_decay must lie in (0, 1], where 1 is none; got {layer_decay}.")


def plan_notes(warmup_steps: int, total_steps: int, images: int, batch_size: int) -> list[str]:
    """Return what a person should know of a run's length before it starts, a sentence each; nothing where all is well.

    Args:
        warmup_steps: Length of the warm-up.
        total_steps: Length of the run, warm-up included.
        images: Training images.
        batch_size: Images a step, on all devices.
    """
    notes: list[str] = []
    do = "lower model.warmup_steps or the batch size, or train longer."
    if warmup_steps > total_steps:
        notes.append(
            f"The warm-up is {warmup_steps} steps, the run {total_steps}: the learning rate "
            f"never reaches its peak; {do}"
        )
    elif 2 * warmup_steps > total_steps:
        notes.append(f"The warm-up is {warmup_steps} of the run's {total_steps} steps, more than half; {do}")
    left = images % batch_size
    if 10 * left > images:
        notes.append(
            f"Each epoch leaves out {left} of the {images} training images, as only whole batches of {batch_size} are "
            "trained on (others each time); a smaller batch size leaves out fewer."
        )
    return notes


def adamw(
    groups: list[dict[str, Any]], lr: float, betas: tuple[float, float] = (0.9, 0.999), clips_mixed: bool = False
) -> AdamW:
    """Return AdamW, fused where the device has that: the same numbers but for rounding, and faster on a CPU, too.

    Args:
        groups: Of `parameter_groups`, on the device that they are trained on; ``rate`` is a factor on ``lr``.
        lr: Peak learning rate.
        betas: Decay rates of the two moments.
        clips_mixed: Whether gradients are clipped in mixed precision, which Lightning refuses for a fused optimizer.
    """
    parameters = [parameter for group in groups for parameter in group["params"]]
    fused = not clips_mixed and all(parameter.device.type in FUSED for parameter in parameters)
    groups = [{**group, "lr": lr * group.get("rate", 1.0)} for group in groups]
    return _AdamW(groups, lr=lr, betas=betas, fused=fused)


class _AdamW(AdamW):
    """Steps on each process's part of a weight that is in parts: the same numbers, and one kernel beside whole ones."""

    def _init_group(self, *given: Any) -> bool:
        result: bool = super()._init_group(*given)  # type: ignore[no-untyped-call]
        for tensors in given:
            if isinstance(tensors, list):
                tensors[:] = map(local_part, tensors)
        return result


def parameter_groups(
    model: nn.Module,
    weight_decay: float,
    decay_one_dimensional: bool = True,
    rates: Mapping[nn.Parameter, float] | None = None,
) -> list[dict[str, Any]]:
    """Return the trainable parameters of a model as groups for `adamw`: one for each weight decay and rate.

    A parameter that is shared between modules is listed once. A group that would be empty is left out.

    Args:
        model: Where the parameters are; those with ``requires_grad`` off, as a frozen twin's are, are left out.
        weight_decay: Decay of the parameters that are decayed.
        decay_one_dimensional: True decays every parameter, the paper's recipe. False leaves vectors and scalars
            (biases, norms, the class embedding, the logit scale) without decay, in groups of their own.
        rates: Factors on the learning rate; 1 for parameters that aren't in it.

    Raises:
        ConfigError: If ``weight_decay`` is negative or not finite, or if nothing in the model is trainable.

    Example:
        >>> groups = parameter_groups(nn.Linear(3, 2), weight_decay=0.1, decay_one_dimensional=False)
        >>> [(group["weight_decay"], [tuple(p.shape) for p in group["params"]]) for group in groups]
        [(0.1, [(2, 3)]), (0.0, [(2,)])]
    """
    if not (math.isfinite(weight_decay) and weight_decay >= 0):
        raise ConfigError(f"weight_decay must be a finite number of at least 0, got {weight_decay}.")
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise ConfigError(
            f"{type(model).__name__} has no trainable parameter: each one is frozen. Leave at least one unfrozen."
        )
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for decays in (True, False):
        for parameter in trainable:
            if (decay_one_dimensional or parameter.ndim >= 2) == decays:
                key = weight_decay if decays else 0.0, (rates or {}).get(parameter, 1.0)
                groups.setdefault(key, []).append(parameter)
    return [{"params": group, "weight_decay": decay, "rate": rate} for (decay, rate), group in groups.items()]
