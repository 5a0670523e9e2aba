"""The losses of contrastive and spuriosity-aligned fine-tuning, as pure functions of features.

Papers: StarFT (Kim et al., IJCAI 2025, arXiv 2505.13232, section 3.2) for the alignment; CLIP (Radford et al., 2021,
arXiv 2103.00020, figure 3) and FLYP (Goyal et al., 2023, arXiv 2212.00638) for the contrastive loss. Deviations: none
known from the authors' released code, whose numbers these functions reproduce; as there, pairs of one label are left
out of the alignment.

No function here reads a value on the host, so nothing waits for the device, and each computes in float32 whatever
autocast says: at a logit scale of 100 bfloat16 would round the logits by up to 0.25. Float64 input stays float64.
"""

from functools import reduce

import torch
from torch import Tensor


def contrastive_loss(
    image_features: Tensor, text_features: Tensor, logit_scale: Tensor | float, labels: Tensor | None = None
) -> Tensor:
    """Return the symmetric InfoNCE loss of images and texts that match row by row.

    With logits ``L_ij = logit_scale * image_i . text_j``::

        loss = (mean_i -log softmax_j(L_ij)[i] + mean_j -log softmax_i(L_ij)[j]) / 2

    Rows with equal captions are counted as each other's negatives, as in CLIP and FLYP. With labels, all pairs of one
    class are positives instead, and ``-log softmax`` is the mean over a row's (or column's) positives.

    Shapes: ``image_features`` and ``text_features`` (N, D), L2-normalised; ``logit_scale`` one number, already
    exponentiated; the result is a scalar of float32, or float64 if a feature is. An empty batch gives 0.

    Args:
        image_features: Features of the images.
        text_features: Features of their captions, in the same order.
        logit_scale: Factor on the cosines; gradients flow into it.
        labels: Class of each row, (N,); None for diagonal targets.

    Raises:
        ValueError: If the features aren't two matrices of one shape.

    Source: CLIP, arXiv 2103.00020, figure 3; as a fine-tuning objective, FLYP, arXiv 2212.00638; with labels, UniCL
    (Yang et al., CVPR 2022, arXiv 2204.03610).

    Example:
        >>> matched = torch.eye(2)
        >>> contrastive_loss(matched, matched, 1.0)  # log(1 + exp(-1))
        tensor(0.3133)
        >>> contrastive_loss(matched, matched.flip(0), 1.0)  # log(1 + exp(1))
        tensor(1.3133)
    """
    _check_shapes(image_features=image_features, text_features=text_features)
    with torch.autocast(device_type=image_features.device.type, enabled=False):
        logits = _logits(image_features, text_features, logit_scale, _dtype(image_features, text_features))
        if labels is not None:
            same = (labels[:, None] == labels[None, :]).to(logits.dtype)
            of_pairs = (
                logits.log_softmax(dim=1) + logits.log_softmax(dim=0)
            ) * same  # a row has its column's positives
            return -(of_pairs.sum(dim=1) / same.sum(dim=1)).sum() / (2 * max(len(logits), 1))
        of_images = logits.log_softmax(dim=1).diagonal()
        of_texts = logits.log_softmax(dim=0).diagonal()
        return -(of_images + of_texts).sum() / (2 * max(len(logits), 1))


def spuriosity_alignment(
    student_image: Tensor,
    student_text: Tensor,
    teacher_image: Tensor,
    teacher_text: Tensor,
    logit_scale: Tensor | float,
    labels: Tensor | None = None,
) -> Tensor:
    """Return how far the student's view of spurious captions has moved from the teacher's.

    With teacher logits ``T_ij = logit_scale * teacher_image_i . teacher_text_j`` and student logits ``Z_ij`` likewise::

        loss = 1/N sum_i KL(softmax_j T_ij || softmax_j Z_ij)

    where both softmaxes run over the ``j`` with ``labels_j != labels_i``, so that only captions of other classes
    compete. A row with no such ``j`` counts 0 in the mean over all N rows; that is a batch of one class, and its loss
    is 0.

    Shapes: the four features (N, D), L2-normalised; ``logit_scale`` one number, already exponentiated; ``labels`` (N,);
    the result is a scalar of float32, or float64 if a feature is. An empty batch gives 0.

    Args:
        student_image: Image features of the model in training.
        student_text: Its features of the spurious captions.
        teacher_image: Image features of the frozen twin; a constant, no gradient flows into it.
        teacher_text: Its features of the same spurious captions.
        logit_scale: The *twin's* factor on the cosines, used for both.
        labels: Class of each row; None leaves nothing out, not even the diagonal.

    Raises:
        ValueError: If the features aren't four matrices of one length, or ``labels`` isn't a vector of that length.

    Source: StarFT, IJCAI 2025, arXiv 2505.13232, section 3.2.

    Example:
        >>> twin, tuned = torch.eye(2), torch.eye(2).flip(0)
        >>> spuriosity_alignment(tuned, twin, twin, twin, 1.0)  # tanh(1 / 2)
        tensor(0.4621)
        >>> spuriosity_alignment(tuned, twin, twin, twin, 1.0, labels=torch.tensor([0, 1]))  # no choice is left
        tensor(0.)
    """
    _check_shapes(student_image=student_image, student_text=student_text)
    # A pair for each model: the two towers of one must share a width, but a teacher may have another one.
    _check_shapes(teacher_image=teacher_image, teacher_text=teacher_text)
    n = len(student_image)
    if len(teacher_image) != n:
        raise ValueError(f"student and teacher features must have one length, got {n} and {len(teacher_image)} rows.")
    if labels is not None and labels.shape != (n,):
        raise ValueError(f"labels must have shape ({n},), one for each row of features, got {tuple(labels.shape)}.")
    with torch.autocast(device_type=student_image.device.type, enabled=False):
        dtype = _dtype(student_image, student_text, teacher_image, teacher_text)
        student = _logits(student_image, student_text, logit_scale, dtype)
        teacher = _logits(teacher_image, teacher_text, logit_scale, dtype)
        if labels is not None:
            same = labels[:, None] == labels[None, :]
            # The lowest finite number and not -inf: a row of nothing but -inf has a softmax of NaN, and so has its
            # gradient. Like this such a row is uniform for student and teacher: its divergence and its gradient are 0.
            # In other rows a pair left out has probability 0 exactly, and 0 times a finite log-probability is 0.
            lowest = torch.finfo(dtype).min
            student = student.masked_fill(same, lowest)
            teacher = teacher.masked_fill(same, lowest)
        # As the authors compute it, to the rounding: at the first step student and teacher are equal, the true gradient
        # is 0, and Adam blows the rounding left of it up to whole updates. A run agrees with theirs only if that does.
        target = teacher.softmax(dim=1).detach()
        return (torch.xlogy(target, target) - target * student.log_softmax(dim=1)).sum() / max(n, 1)


def distillation(student_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return how far the student's distribution over K choices is from the teacher's.

    With temperature t::

        loss = t^2 / N sum_i KL(softmax_k teacher_ik / t || softmax_k student_ik / t)

    Equal logits give 0 exactly.

    Shapes: both (N, K); the result is a scalar of float32, or float64 if an input is. An empty batch gives 0.

    Args:
        student_logits: Of the model in training.
        teacher_logits: Of its teacher; a constant, no gradient flows into it.
        temperature: Divides both; above 0.

    Raises:
        ValueError: If the logits aren't two matrices of one shape.

    Source: Hinton et al., 2015, arXiv 1503.02531.

    Example:
        >>> distillation(torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]))  # tanh(1 / 2)
        tensor(0.4621)
    """
    _check_shapes(student_logits=student_logits, teacher_logits=teacher_logits)
    with torch.autocast(device_type=student_logits.device.type, enabled=False):
        dtype = _dtype(student_logits, teacher_logits)
        student = (student_logits.to(dtype) / temperature).log_softmax(dim=1)
        teacher = (teacher_logits.to(dtype).detach() / temperature).log_softmax(dim=1)
        return temperature**2 * (teacher.exp() * (teacher - student)).sum() / max(len(student), 1)


def pair_logits(image_features: Tensor, text_features: Tensor, logit_scale: Tensor | float) -> Tensor:
    """Return ``logit_scale * image_i . text_j``, (N, N), in float32 or float64 whatever autocast says.

    Args:
        image_features: (N, D), L2-normalised.
        text_features: (N, D), L2-normalised.
        logit_scale: Factor on the cosines, already exponentiated.
    """
    with torch.autocast(device_type=image_features.device.type, enabled=False):
        return _logits(image_features, text_features, logit_scale, _dtype(image_features, text_features))


def class_logits(image_features: Tensor, head: Tensor) -> Tensor:
    """Return ``image_features @ head.T``, (N, C), in float32 or float64 whatever autocast says.

    Args:
        image_features: (N, D).
        head: (C, D), any factor on the cosines already in it.
    """
    with torch.autocast(device_type=image_features.device.type, enabled=False):
        return _logits(image_features, head, 1.0, _dtype(image_features, head))


def _dtype(*features: Tensor) -> torch.dtype:
    """Return float32, or float64 where a feature has it."""
    return reduce(torch.promote_types, (tensor.dtype for tensor in features), torch.float32)


def _logits(image: Tensor, text: Tensor, logit_scale: Tensor | float, dtype: torch.dtype) -> Tensor:
    """Return scaled cosines (N, N) in ``dtype``; all three are cast before the product."""
    scale = logit_scale.to(dtype) if isinstance(logit_scale, Tensor) else logit_scale
    return (scale * image.to(dtype)) @ text.to(dtype).T


def _check_shapes(**features: Tensor) -> None:
    """Refuse two features that aren't matrices (N, D) of one shape."""
    (name, first), (other_name, second) = features.items()
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(
            f"{name} and {other_name} must both have the shape (N, D), "
            f"got {tuple(first.shape)} and {tuple(second.shape)}."
        )
