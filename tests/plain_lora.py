"""LoRA the plain way: weights with their updates in them, and by the chain rule what the updates' gradients must be."""

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn

from starft.clip import ClipEncoder
from starft.clip.lora import MARK, LoRA, add_updates, freeze_base, named_updates


def adapted(clip: ClipEncoder, lora: LoRA) -> ClipEncoder:
    """Return a copy of a model with updates that aren't 0, as after some steps."""
    student = ClipEncoder(deepcopy(clip.model), clip.tokenize, clip.trim)
    freeze_base(student.model)
    add_updates(student.model, lora, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in student.model.named_parameters():
            if name.endswith(".up"):
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.05)
    return student.to(clip.model.logit_scale.dtype)


def pairs(model: nn.Module) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Yield the name of each weight that has an update, with its up (O, R) and down (R, I)."""
    weights = dict(model.named_parameters())
    for name, up in weights.items():
        if name.endswith(".up"):
            yield name.removesuffix(".up").replace(".lora.", "."), up, weights[f"{name.removesuffix('.up')}.down"]


def merged(clip: ClipEncoder, student: ClipEncoder, lora: LoRA) -> ClipEncoder:
    """Return a copy of the model that the student was made of, with the student's updates added to its weights."""
    plain = ClipEncoder(deepcopy(clip.model), clip.tokenize, clip.trim)
    with torch.no_grad():
        for name, up, down in pairs(student.model):
            plain.model.get_parameter(name).add_(lora.alpha / lora.rank * up @ down)
    return plain


def expected_gradients(plain: ClipEncoder, student: ClipEncoder, lora: LoRA) -> dict[str, tuple[Tensor, Tensor]]:
    """Return what the gradients of each up and down must be, from those of the merged weights."""
    scale = lora.alpha / lora.rank
    result = {}
    for name, up, down in pairs(student.model):
        gradient = plain.model.get_parameter(name).grad
        assert gradient is not None, f"{name} is read by nothing"
        result[name] = (scale * gradient @ down.T, scale * up.T @ gradient)
    return result


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's weights with their updates in them, by the names that they have without."""
    state = {name: value for name, value in model.state_dict().items() if MARK not in name}
    for name, update in named_updates(model):
        state[name] = state[name] + update.whole().detach()
    return state
