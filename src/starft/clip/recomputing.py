"""Trade time for memory: keep a block's input only and compute the rest again on the way back."""

from typing import Any

import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import CustomResidualAttentionBlock
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from starft.clip.encoder import text_tower_of
from starft.errors import ConfigError

KEPT = "_statistics_of_the_first_pass"
"""Where a norm keeps its running statistics while it is computed again."""


def checkpoint_activations(model: Any) -> None:
    """Let both towers recompute activations: less memory, a third more time, the same training.

    Args:
        model: Any open_clip model.

    Raises:
        ConfigError: A tower can't.
    """
    visual, text = model.visual, text_tower_of(model)
    if isinstance(visual, ModifiedResNet):
        raise _no_checkpointing("CLIP's ResNets")
    if isinstance(visual, TimmModel):
        try:
            visual.trunk.set_grad_checkpointing(True)
        except (AssertionError, AttributeError, TypeError) as error:
            raise _no_checkpointing(f"timm's {type(visual.trunk).__name__}") from error
    else:
        visual.set_grad_checkpointing(True)
    if isinstance(text, HFTextEncoder):
        _checkpoint_transformers(text.transformer)
    else:
        text.transformer.grad_checkpointing = True
    for part in model.modules():
        if isinstance(part, CustomResidualAttentionBlock):
            part.register_forward_pre_hook(_drop_keys_and_values)
    update_statistics_once(model)


def update_statistics_once(model: nn.Module) -> None:
    """Let norms that keep running statistics leave them alone while activations are computed again.

    Their parameters don't depend on the statistics, so nothing but the predictions of the trained model would show it.
    Calling it again does nothing; it is needed where norms are replaced by others, as `trainer.sync_batchnorm` does.

    Args:
        model: One that recomputes activations.
    """
    for part in model.modules():
        if keeps_statistics(part) and _keep not in part._forward_pre_hooks.values():
            part.register_forward_pre_hook(_keep)
            part.register_forward_hook(_put_back, always_call=True)


def keeps_statistics(part: nn.Module) -> bool:
    """Return whether a layer keeps running statistics of the batches that it saw.

    Args:
        part: One layer.
    """
    return part._buffers.get("running_var") is not None


def mixes_images(part: nn.Module) -> bool:
    """Return whether a layer in training mode lets the images of a batch see each other.

    Args:
        part: One layer.
    """
    return isinstance(part, _BatchNorm) or keeps_statistics(part)


def _keep(part: nn.Module, inputs: Any) -> None:
    """Give a norm copies of its statistics to update, where this is a part of the way back."""
    if part.training and torch._C._current_graph_task_id() != -1:  # as torch.utils.checkpoint asks
        vars(part)[KEPT] = dict(part._buffers)
        for name, value in part._buffers.items():
            part._buffers[name] = None if value is None else value.clone()


def _put_back(part: nn.Module, inputs: Any, output: Any) -> None:
    part._buffers.update(vars(part).pop(KEPT, {}))


def _drop_keys_and_values(block: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Give open_clip's custom blocks tokens and mask alone: recomputing gives them the plain blocks' four inputs."""
    return (inputs[0], inputs[3]) if len(inputs) == 4 else inputs


def _checkpoint_transformers(transformer: Any) -> None:
    """Ask transformers for the kind that gives blocks their gradients where those before them are frozen."""
    options = {"use_reentrant": False}
    if hasattr(transformer, "activation_checkpointing_enable"):  # from 5 on
        transformer.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
    else:
        transformer.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)


def _no_checkpointing(what: str) -> ConfigError:
    return ConfigError(f"{what} can't recompute activations; set gradient_checkpointing to false.")
