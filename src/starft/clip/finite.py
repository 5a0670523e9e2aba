"""NaN and infinity: noticed in a loss, in weights and in predictions before anything is made of them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from starft.distributed import gather_objects, local_part, max_over_processes
from starft.errors import NotFiniteError


@torch.no_grad()
def first_not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """Return the name of the first tensor that holds a NaN or an infinity; None where all numbers are finite.

    A sum keeps both, takes no memory and a tenth of the time of a look at each number; where one isn't finite, which
    large numbers may make so too, each is looked at. The device is waited for once. Of weights in parts, only this
    process's are looked at.

    Args:
        tensors: Names and tensors, of any type; whole numbers are always finite.
    """
    wide = [(name, local_part(values)) for name, values in tensors if values.is_floating_point() and values.numel()]
    if not wide:
        return None
    device = wide[0][1].device
    sums = torch.stack([values.sum().isfinite().to(device) for _, values in wide]).tolist()
    suspects = (item for item, finite in zip(wide, sums, strict=True) if not finite)
    return next((name for name, values in suspects if not values.isfinite().all()), None)


def tensors_in(held: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield every tensor in nested mappings and sequences, named by its place.

    Args:
        held: Such as an optimizer's state.
        name: Of the whole.
    """
    if isinstance(held, Tensor):
        yield name, held
    elif isinstance(held, Mapping):
        for key, value in held.items():
            yield from tensors_in(value, f"{name}.{key}" if name else str(key))
    elif isinstance(held, list | tuple):
        for number, value in enumerate(held):
            yield from tensors_in(value, f"{name}.{number}")


def first_message_of_any_process(message: str) -> str:
    """Return the first message that a process has; "" where none has one. All processes must ask.

    Args:
        message: This process's; "" for none.
    """
    if not max_over_processes(int(bool(message))):
        return ""
    return next(filter(None, gather_objects(message)))


class LossWatch:
    """Remembers the losses of the latest steps, on their device, until somebody asks whether they are finite."""

    def __init__(self) -> None:
        self._recent: list[tuple[int, dict[str, Tensor]]] = []

    def note(self, step: int, losses: Mapping[str, Tensor]) -> None:
        """Remember the losses of a step; nothing waits for the device.

        Args:
            step: Its number, counted from 1.
            losses: Scalars by name, without a graph.
        """
        self._recent.append((step, dict(losses)))

    def first(self) -> tuple[int, str, float] | None:
        """Return step, name and value of the first loss that isn't finite, and forget what was noted."""
        noted = [(step, name, value) for step, losses in self._recent for name, value in losses.items()]
        self._recent = []
        if not noted:
            return None
        values = torch.stack([value.float() for _, _, value in noted]).tolist()
        for (step, name, _), value in zip(noted, values, strict=True):
            if value - value != 0:  # NaN and both infinities
                return step, name, value
        return None


def check_loss(watch: LossWatch, advice: str) -> None:
    """Stop a training whose loss isn't a finite number any more, in all processes.

    Args:
        watch: Its losses since the last time.
        advice: What to try, a sentence's end.

    Raises:
        NotFiniteError: A loss is NaN or infinite.
    """
    result = watch.first()
    step, name, value = result or (0, "", 0.0)
    message = first_message_of_any_process(f"In step {step} the loss of {name} is {value}" if result else "")
    if message:
        raise NotFiniteError(f"{message}, so training stops and saves nothing of it; {advice}.")


def check_features(features: Tensor) -> None:
    """Refuse to fit or to choose anything by features that aren't finite numbers.

    Args:
        features: Of some images.

    Raises:
        NotFiniteError: One is NaN or infinite.
    """
    if not features.isfinite().all():
        raise NotFiniteError(
            "The model's features of an image aren't finite; check its weights and pixels, or set trainer.precision to "
            "bf16-mixed or 32-true."
        )


def check_weights(tensors: Iterable[tuple[str, Tensor]], where: str, advice: str) -> None:
    """Refuse to save or to score weights that aren't finite numbers, in all processes.

    Args:
        tensors: Names and weights.
        where: Of what they are, such as ``after step 7``; "" where that is plain.
        advice: What to try, a sentence's end.

    Raises:
        NotFiniteError: One holds a NaN or an infinity.
    """
    name = first_not_finite(tensors)
    message = first_message_of_any_process(f"{name} holds a NaN or an infinity{where}" if name else "")
    if message:
        raise NotFiniteError(f"The model can't be used: {message}; {advice}.")
