"""Which beginnings of towers a student and its teachers have in common: frozen, and the same to the last bit."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any, get_args

import torch
from torch import Tensor, nn

from starft.clip.beginning import Beginning, Tower
from starft.clip.encoder import ClipEncoder, Twin, text_tower_of
from starft.clip.preprocessing import image_preprocessing
from starft.clip.towers import STEM, Part, tower_layers
from starft.distributed import is_sharded
from starft.errors import ConfigError

TOLERANCE = 1e-4
"""By how much a unit feature may differ where it is made in two ways: rounding."""


def share_beginnings(student: ClipEncoder, teachers: Sequence[Twin], compiled: bool = False) -> None:
    """Let teachers and student compute once, and hold once, what is frozen in the student and the same in them.

    Nothing is shared where the passes would differ: by dropout before the first trained block, by weights that a
    checkpoint has changed, by another precision; nor where a tower is compiled or in parts.

    Args:
        student: The model in training, in the mode it is trained in.
        teachers: The frozen twin first.
        compiled: Whether towers are compiled.
    """
    for encoder in (student, *teachers):
        encoder.beginnings = {}
    if compiled or is_sharded(student):
        return
    for tower in get_args(Tower):
        beginning = frozen_beginning(student.model, tower)
        if beginning is None or _drops(student.model, beginning):
            continue
        if any(update.up.any() for update in beginning.updates(student.model)):  # of a checkpoint; frozen, they are 0
            continue
        if tower == "text" and student.micro_batch_size is not None:  # captions of a chunk share rows with each other
            continue
        same = [teacher for teacher in teachers if _same(beginning, student, teacher)]
        if teachers[0] in same and _agrees(beginning, teachers[0]):
            student.beginnings[tower] = beginning
            for teacher in same:
                teacher.beginnings[tower] = beginning
                for mine, yours in _pairs(beginning, student, teacher):
                    yours.data = mine.data


def part_thawed_beginnings(student: ClipEncoder, teachers: Sequence[Twin]) -> None:
    """Give teachers numbers of their own again where a callback has thawed what they hold together with the student.

    Args:
        student: The model in training.
        teachers: As `share_beginnings` got them.
    """
    for tower, beginning in [*student.beginnings.items()]:
        if any(weight.requires_grad for weight in beginning.weights(student.model)):
            del student.beginnings[tower]
            for teacher in teachers:
                if teacher.beginnings.pop(tower, None) is not None:
                    for weight in beginning.weights(teacher.model):
                        weight.data = weight.data.clone()


def frozen_beginning(model: Any, tower: Tower) -> Beginning | None:
    """Return the first blocks of a tower that are frozen with all before them, but for its last block; None for none.

    Args:
        model: The student's.
        tower: ``image`` or ``text``.
    """
    try:
        layers = tower_layers(model)[tower == "text"]
    except ConfigError:  # blocks that freezing doesn't know
        return None
    weights = [[weight for part in layer if part is not None for weight in _weights(part)] for layer in layers]
    trained = [any(weight.requires_grad for weight in layer) for layer in weights]
    frozen = min([*trained, True].index(True), len(layers) - 1) - STEM
    if frozen < 1:
        return None
    names = {id(weight): name for name, weight in model.named_parameters()}
    root, path = (model.visual, "visual") if tower == "image" else _text_root(model)
    blocks = [_modules(root, path, {id(weight) for weight in layer}) for layer in weights[STEM : STEM + frozen]]
    if not all(blocks) or _is_trained_before(root, [weight for layer in weights[: STEM + frozen] for weight in layer]):
        return None
    stem = tuple(names[id(weight)] for weight in weights[0])
    return Beginning(tower, stem, tuple(name for layer in blocks for name in layer), frozen / (len(layers) - STEM))


def _weights(part: Part) -> list[nn.Parameter]:
    return [part] if isinstance(part, nn.Parameter) else list(part.parameters())


def _text_root(model: Any) -> tuple[nn.Module, str]:
    text = text_tower_of(model)
    path = "transformer" if text is model else "text.transformer"
    return text.transformer, path


def _modules(part: nn.Module, path: str, weights: set[int]) -> list[str]:
    """Return the names of the largest modules that have these weights alone."""
    own = [id(weight) for weight in part.parameters()]
    if own and weights.issuperset(own) and not isinstance(part, nn.ModuleList):
        return [path]
    return [name for child, module in part.named_children() for name in _modules(module, f"{path}.{child}", weights)]


def _is_trained_before(root: nn.Module, beginning: Sequence[Tensor]) -> bool:
    """Return whether weights of timm's towers are trained that are listed before the end of a beginning.

    So it is where a layer that timm counts among the last ones, such as a norm, stands before the blocks.
    """
    if not hasattr(root, "trunk"):
        return False
    listed, frozen = list(root.parameters()), {id(weight) for weight in beginning}
    last = max(at for at, weight in enumerate(listed) if id(weight) in frozen)
    return any(weight.requires_grad for weight in listed[:last])


def _drops(model: Any, beginning: Beginning) -> bool:
    """Return whether a tower drops something at random before a beginning's end, as patches in training."""
    root = model.visual if beginning.tower == "image" else text_tower_of(model)
    end = model.get_submodule(beginning.blocks[-1])
    before = takewhile(lambda part: part is not end, root.modules())
    return any(part.training and "drop" in type(part).__name__.lower() and _rate(part) > 0 for part in before)


def _rate(part: nn.Module) -> float:
    return float(next((vars(part)[name] for name in ("p", "prob", "drop_prob") if name in vars(part)), 1.0))


def _pairs(beginning: Beginning, student: ClipEncoder, teacher: Twin) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(beginning.weights(student.model), beginning.weights(teacher.model), strict=True)


def _same(beginning: Beginning, student: ClipEncoder, teacher: Twin) -> bool:
    """Return whether the beginning is the same in both; a checkpoint may have other weights in the student's."""
    pairs = _pairs(beginning, student, teacher)
    alike = all(mine.dtype == yours.dtype and torch.equal(mine, yours) for mine, yours in pairs)
    return alike and student.in_bfloat16 == teacher.in_bfloat16


@torch.no_grad()
def _agrees(beginning: Beginning, twin: Twin) -> bool:
    """Return whether a tower goes on from a beginning to what it makes by itself, and reads nothing else."""
    twin.beginnings[beginning.tower] = beginning
    if beginning.tower == "image":
        images = torch.linspace(0, 1, 3 * math.prod(size := image_preprocessing(twin.model).size), device=twin.device)
        images = images.view(1, 3, *size).to(twin.model.logit_scale.dtype)
        plain, value = twin.encode_image(images), twin.begin_images(images)
        assert value is not None, "its blocks are frozen"
        ours, other = twin.encode_image(images, value), twin.encode_image(images, torch.zeros_like(value))
    else:
        texts = twin.begin_texts(["a photo"])
        assert texts is not None, "likewise"
        plain, ours = twin.encode_tokens(texts.tokens), twin.encode_text(["a photo"], texts)
        other = twin.encode_text(["a photo"], replace(texts, value=_zeros(texts.value)))
    del twin.beginnings[beginning.tower]
    return torch.allclose(plain, ours, rtol=0, atol=TOLERANCE) and not torch.allclose(plain, other)


def _zeros(value: Any) -> Any:
    """Return zeros in the place of a block's output, which transformers may put into a tuple."""
    if isinstance(value, tuple):
        return tuple(map(_zeros, value))
    return torch.zeros_like(value) if isinstance(value, Tensor) else value
