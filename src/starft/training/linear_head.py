"""The linear head trained without exp(logit_scale) in it, as in Lipsum-FT's code.

There the head u starts from the zero-shot head, and logits are ``s * f . u`` with the fixed ``s = exp(logit_scale)``;
here the head is ``h = s u``, and logits are ``f . h``. AdamW's step on u, in terms of h, is a step of AdamW on h with s
times the learning rate, and weight decay and epsilon divided by s: gradients differ by the factor s, which cancels in
Adam's ratio. So only the optimizer knows of it, and a checkpoint, an export or a soup is as any other. Deviation:
``trainer.gradient_clip_val`` sees the gradient with respect to h; the paper doesn't clip.
"""

from collections.abc import Sequence
from typing import Any

from torch import nn

from starft.errors import ConfigError

EPSILON = 1e-8
"""Of AdamW."""


def check_head(head: str, head_start: str, unscaled: bool) -> None:
    """Refuse options of the linear head where there is none.

    Args:
        head: ``text`` or ``linear``.
        head_start: ``zero_shot`` or ``probe``.
        unscaled: ``unscaled_head``.

    Raises:
        ConfigError: One of them is set, and the head is another.
    """
    for option, is_set in (("head_start probe", head_start == "probe"), ("unscaled_head", unscaled)):
        if is_set and head != "linear":
            raise ConfigError(f"{option} is for the linear head; the head is {head!r}, set head to linear.")


def with_unscaled_head(groups: Sequence[dict[str, Any]], head: nn.Parameter, scale: float) -> list[dict[str, Any]]:
    """Return an optimizer's groups with the linear head in one of its own, trained as if unscaled.

    Args:
        groups: Of `parameter_groups`.
        head: The linear head, scaled.
        scale: What it is scaled by, exp(logit_scale) of the pre-trained model.
    """
    others: list[dict[str, Any]] = []
    for group in groups:
        rest = [parameter for parameter in group["params"] if parameter is not head]
        if rest:
            others.append({**group, "params": rest})
        if len(rest) < len(group["params"]):
            decay = group["weight_decay"] / scale
            others.append({"params": [head], "weight_decay": decay, "rate": scale, "eps": EPSILON / scale})
    return others
