"""The plain way to run a step, written for reading and not for speed: what the exact savings must agree with.

Every caption of the batch is encoded at full length, the equal ones again and again, by student and twin, in
open_clip's own code; losses are spelled out with torch's. ``benchmarks`` times it as the plain formulation.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def features(clip: Any, images: Tensor, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return unit features of images and of captions, one row each."""
    tokens = clip.tokenize(list(captions)).to(images.device)
    return F.normalize(clip.model.encode_image(images), dim=-1), F.normalize(clip.model.encode_text(tokens), dim=-1)


def flyp(clip: Any, images: Tensor, captions: Sequence[str]) -> Tensor:
    """Return FLYP's loss: symmetric cross-entropy over the pairs of the batch."""
    image, text = features(clip, images, captions)
    return info_nce(clip.model.logit_scale.exp() * image @ text.T)


def cross_entropy(clip: Any, images: Tensor, head: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of plain fine-tuning with a linear head."""
    return F.cross_entropy(F.normalize(clip.model.encode_image(images), dim=-1) @ head.T, labels)


def starft(
    clip: Any,
    twin: Any,
    images: Tensor,
    captions: Sequence[str],
    spurious: Sequence[str],
    labels: Tensor,
    weight: float,
    head: Tensor | None = None,
) -> Tensor:
    """Return StarFT's loss: on FLYP's, or on the cross-entropy of a linear head where there is one."""
    image, text = features(clip, images, [*captions, *spurious])
    clean, put_in = text[: len(captions)], text[len(captions) :]
    with torch.no_grad():
        twin_image, twin_text = features(twin, images, spurious)
        scale = twin.model.logit_scale.exp()
        teacher = scale * twin_image @ twin_text.T
    if head is None:
        objective = info_nce(clip.model.logit_scale.exp() * image @ clean.T)
    else:
        objective = F.cross_entropy(image @ head.T, labels)
    return objective + weight * alignment(scale * image @ put_in.T, teacher, labels)


def info_nce(logits: Tensor) -> Tensor:
    """Return the mean of the cross-entropies of rows and of columns, with targets on the diagonal."""
    targets = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


def alignment(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over rows of KL(teacher || student), each row over the captions of other classes."""
    same = labels[:, None] == labels[None, :]
    p, q = (logits.masked_fill(same, -1e9).log_softmax(dim=1) for logits in (teacher, student))
    return (p.exp() * (p - q)).masked_fill(same, 0).sum(dim=1).mean()
