"""The losses against the authors' numbers, a hand count, a plain loop in double precision, and autograd itself."""

import doctest
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from starft.losses import functional
from starft.losses.functional import contrastive_loss, distillation, pair_logits, spuriosity_alignment

GOLDEN = Path(__file__).parents[1] / "golden" / "losses.npz"
CASES = ("small", "batch", "binary", "one_class", "distinct")


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


def inputs(golden: dict[str, np.ndarray], case: str) -> dict[str, Tensor]:
    names = ("student_image", "student_text", "teacher_image", "teacher_text", "caption_text", "labels", "logit_scale")
    return {name: torch.from_numpy(golden[f"{case}/{name}"]) for name in names}


def features(seed: int, n: int, d: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Return student image and text, teacher image and text features (n, d)."""
    draw = torch.Generator().manual_seed(seed)
    return [F.normalize(torch.randn(n, d, dtype=torch.float64, generator=draw), dim=-1).to(dtype) for _ in range(4)]


def log_softmax(row: list[float]) -> list[float]:
    top = max(row)
    log_sum = top + math.log(math.fsum(math.exp(x - top) for x in row))
    return [x - log_sum for x in row]


def dot(a: Tensor, b: Tensor) -> float:
    return math.fsum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))


def loop_alignment(parts: list[Tensor], scale: float, labels: list[int] | None) -> float:
    """Return the alignment row by row: each softmax over the pairs that are kept, and those alone."""
    student_image, student_text, teacher_image, teacher_text = parts
    n, total = len(student_image), 0.0
    for i in range(n):
        kept = [j for j in range(n) if labels is None or labels[i] != labels[j]]
        if not kept:
            continue
        log_p = log_softmax([scale * dot(teacher_image[i], teacher_text[j]) for j in kept])
        log_q = log_softmax([scale * dot(student_image[i], student_text[j]) for j in kept])
        total += math.fsum(math.exp(p) * (p - q) for p, q in zip(log_p, log_q, strict=True))
    return total / n


def loop_contrastive(image: Tensor, text: Tensor, scale: float) -> float:
    n = len(image)
    logits = [[scale * dot(image[i], text[j]) for j in range(n)] for i in range(n)]
    of_images = math.fsum(-log_softmax(logits[i])[i] for i in range(n)) / n
    of_texts = math.fsum(-log_softmax([logits[i][j] for i in range(n)])[j] for j in range(n)) / n
    return (of_images + of_texts) / 2


def assert_finite(loss: Tensor, leaves: list[Tensor]) -> None:
    assert loss.isfinite(), loss
    for gradient in torch.autograd.grad(loss, leaves):
        assert gradient.isfinite().all(), gradient


@pytest.mark.parametrize("case", CASES)
def test_alignment_is_the_authors(golden: dict[str, np.ndarray], case: str) -> None:
    given = inputs(golden, case)
    image, text = given["student_image"].requires_grad_(), given["student_text"].requires_grad_()
    loss = spuriosity_alignment(
        image, text, given["teacher_image"], given["teacher_text"], given["logit_scale"], given["labels"]
    )
    loss.backward()
    np.testing.assert_allclose(loss.detach(), golden[f"{case}/star"], rtol=1e-5, atol=1e-5)
    for leaf, name in ((image, "star_grad_image"), (text, "star_grad_text")):
        np.testing.assert_allclose(leaf.grad, golden[f"{case}/{name}"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_unmasked_alignment_is_the_authors(golden: dict[str, np.ndarray], case: str) -> None:
    given = inputs(golden, case)
    names = ("student_image", "student_text", "teacher_image", "teacher_text", "logit_scale")
    loss = spuriosity_alignment(*(given[name] for name in names))
    np.testing.assert_allclose(loss, golden[f"{case}/kl"], rtol=1e-5, atol=0)


@pytest.mark.parametrize("case", CASES)
def test_contrastive_is_the_authors(golden: dict[str, np.ndarray], case: str) -> None:
    given = inputs(golden, case)
    loss = contrastive_loss(given["student_image"], given["caption_text"], given["logit_scale"])
    np.testing.assert_allclose(loss, golden[f"{case}/contrastive"], rtol=1e-5, atol=0)


def test_alignment_by_hand() -> None:
    # Three classes, unit scale. The teacher is even over the two pairs of a row. The student's logits are
    # (left out, 1, 0), (0, left out, 0) and (0, 1, left out): log(1 + e) - 1/2 - log 2 for rows 0 and 2, 0 for row 1.
    even = torch.tensor([[1.0, 0.0]]).repeat(3, 1)
    none = torch.tensor([[0.0, 1.0]]).repeat(3, 1)
    student_text = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    loss = spuriosity_alignment(even, student_text, even, none, 1.0, torch.tensor([0, 1, 2]))
    expected = 2 * (math.log(1 + math.e) - 0.5 - math.log(2)) / 3
    assert loss.item() == pytest.approx(expected, abs=1e-7)


def test_direction_is_teacher_first() -> None:
    sharp, flat = torch.eye(2), torch.full((2, 2), 0.5)
    p, q = [math.e / (1 + math.e), 1 / (1 + math.e)], [0.5, 0.5]
    teacher_first = spuriosity_alignment(flat, sharp, sharp, sharp, 1.0).item()
    assert teacher_first == pytest.approx(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)), abs=1e-6)
    student_first = sum(b * math.log(b / a) for a, b in zip(p, q, strict=True))
    assert teacher_first != pytest.approx(student_first, abs=1e-3)


def test_contrastive_by_hand() -> None:
    # Both images are alike: of the images log 2 and log 2, of the texts log 2 as well.
    image = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    text = torch.tensor([[0.0, 1.0], [0.0, -1.0]])
    assert contrastive_loss(image, text, 7.0).item() == pytest.approx(math.log(2), abs=1e-7)
    assert contrastive_loss(torch.eye(3), torch.eye(3), 2.0).item() == pytest.approx(math.log(1 + 2 * math.exp(-2)))


@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
@pytest.mark.parametrize("classes", [None, 1, 2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_against_a_plain_loop(seed: int, classes: int | None, scale: float) -> None:
    n = 5 + 2 * seed
    parts = features(seed, n, 4 + seed)
    drawn = np.random.default_rng(seed).integers(classes, size=n).tolist() if classes is not None else None
    labels = None if drawn is None else torch.tensor(drawn)
    alignment = spuriosity_alignment(*parts, scale, labels)
    assert alignment.item() == pytest.approx(loop_alignment(parts, scale, drawn), rel=1e-11, abs=1e-12)
    contrastive = contrastive_loss(parts[0], parts[1], scale)
    assert contrastive.item() == pytest.approx(loop_contrastive(parts[0], parts[1], scale), rel=1e-11)
    assert alignment.dtype == contrastive.dtype == torch.float64


@pytest.mark.parametrize("labels", [None, [0, 1, 0, 2, 1], [0, 0, 0, 0, 1], [3, 3, 3, 3, 3]])
def test_gradients_of_the_alignment(labels: list[int] | None) -> None:
    student_image, student_text, *teacher = features(0, 5, 3)
    given = None if labels is None else torch.tensor(labels)
    leaves = (student_image.requires_grad_(), student_text.requires_grad_())
    assert torch.autograd.gradcheck(lambda f, g: spuriosity_alignment(f, g, *teacher, 5.0, given), leaves)


def test_gradients_of_the_contrastive_loss_reach_the_scale() -> None:
    image, text, *_ = features(1, 5, 3)
    scale = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(contrastive_loss, (image.requires_grad_(), text.requires_grad_(), scale))
    (gradient,) = torch.autograd.grad(contrastive_loss(image, text, scale), scale)
    assert gradient != 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(dtype: torch.dtype) -> None:
    parts = [part.to(dtype) for part in features(2, 16, 8)]
    labels = torch.arange(16) % 3
    plain = [part.float() for part in parts]
    expected = spuriosity_alignment(*plain, 100.0, labels), contrastive_loss(plain[0], plain[1], 100.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (plain[0] @ plain[1].T).dtype == torch.bfloat16  # autocast is on around the calls
        got = spuriosity_alignment(*parts, 100.0, labels), contrastive_loss(parts[0], parts[1], 100.0)
    for ours, reference in zip(got, expected, strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, reference)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize(
    "labels",
    [[0] * 6, [0, 1, 0, 1, 1, 0], [0, 1, 1, 1, 1, 1], list(range(6)), None],
    ids=["one class", "binary", "binary, one alone", "distinct", "unmasked"],
)
def test_finite_at_a_scale_of_100(labels: list[int] | None, dtype: torch.dtype) -> None:
    parts = [part.requires_grad_() for part in features(3, 6, 4, dtype)]
    given = None if labels is None else torch.tensor(labels)
    assert_finite(spuriosity_alignment(*parts, torch.tensor(100.0, dtype=dtype), given), parts[:2])
    assert_finite(contrastive_loss(parts[0], parts[1], torch.tensor(100.0, dtype=dtype)), parts[:2])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_finite_when_all_features_are_alike(sign: float) -> None:
    one = torch.tensor([[0.6, 0.8]]).repeat(4, 1)
    parts = [part.clone().requires_grad_() for part in (one, sign * one, one, one)]
    for labels in (None, torch.tensor([0, 0, 1, 1]), torch.zeros(4, dtype=torch.long)):
        loss = spuriosity_alignment(*parts, 100.0, labels)
        assert_finite(loss, parts[:2])
        assert loss.item() == pytest.approx(0.0, abs=1e-5)  # every row is even, whatever the logits
    loss = contrastive_loss(parts[0], parts[1], 100.0)
    assert_finite(loss, parts[:2])
    assert loss.item() == pytest.approx(math.log(4), rel=1e-5)


def test_one_class_adds_neither_value_nor_gradient() -> None:
    parts = features(4, 6, 4)
    image = parts[0].requires_grad_()
    loss = spuriosity_alignment(*parts, 100.0, torch.zeros(6, dtype=torch.long))
    (gradient,) = torch.autograd.grad(loss, image)
    assert loss.item() == 0.0
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_a_student_equal_to_its_twin_is_at_rest() -> None:
    twin_image, twin_text, *_ = features(5, 8, 4, torch.float32)
    leaves = [twin_image.clone().requires_grad_(), twin_text.clone().requires_grad_()]
    loss = spuriosity_alignment(*leaves, twin_image, twin_text, 100.0, torch.arange(8) % 3)
    assert loss.item() == pytest.approx(0.0, abs=1e-7)  # softmax and log_softmax round apart, as in the authors' code
    for gradient in torch.autograd.grad(loss, leaves):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-5)


def test_the_teacher_is_a_constant() -> None:
    parts = [part.requires_grad_() for part in features(11, 6, 4)]
    spuriosity_alignment(*parts, 10.0, torch.arange(6) % 3).backward()
    assert [part.grad is not None for part in parts] == [True, True, False, False]


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_to_tell_apart_counts_zero(n: int) -> None:
    parts = [part.requires_grad_() for part in features(6, n, 4)]
    for labels in (None, torch.zeros(n, dtype=torch.long)):
        loss = spuriosity_alignment(*parts, 100.0, labels)
        assert loss.item() == 0.0
        assert_finite(loss, parts[:2])
    loss = contrastive_loss(parts[0], parts[1], 100.0)
    assert loss.item() == 0.0
    assert_finite(loss, parts[:2])


def test_the_twin_may_have_another_width() -> None:
    wide, narrow = features(7, 5, 6), features(8, 5, 3)
    labels = [0, 1, 2, 0, 1]
    parts = [*wide[:2], *narrow[:2]]
    loss = spuriosity_alignment(*parts, 9.0, torch.tensor(labels))
    assert loss.item() == pytest.approx(loop_alignment(parts, 9.0, labels), rel=1e-11)


def test_no_value_is_read_on_the_host() -> None:
    # vmap refuses `.item()` and `if tensor`, the two ways to make the host wait for the device.
    stacked = [torch.stack(pair) for pair in zip(features(9, 6, 4), features(10, 6, 4), strict=True)]
    labels = torch.tensor([[0, 1, 2, 0, 1, 2], [0, 0, 0, 0, 0, 0]])
    scales = torch.tensor([10.0, 20.0])
    got = torch.vmap(spuriosity_alignment)(*stacked, scales, labels)
    expected = [spuriosity_alignment(*(part[k] for part in stacked), scales[k], labels[k]) for k in range(2)]
    torch.testing.assert_close(got, torch.stack(expected))
    got = torch.vmap(contrastive_loss)(stacked[0], stacked[1], scales)
    expected = [contrastive_loss(stacked[0][k], stacked[1][k], scales[k]) for k in range(2)]
    torch.testing.assert_close(got, torch.stack(expected))


def test_shapes_that_do_not_fit_are_refused() -> None:
    a, b = torch.eye(4), torch.eye(3)
    with pytest.raises(ValueError, match=r"image_features and text_features .* \(N, D\), got \(4, 4\) and \(3, 3\)"):
        contrastive_loss(a, b, 1.0)
    with pytest.raises(ValueError, match=r"got \(4,\) and \(4,\)"):
        contrastive_loss(a[0], a[0], 1.0)
    with pytest.raises(ValueError, match=r"teacher_image and teacher_text .* got \(4, 4\) and \(3, 3\)"):
        spuriosity_alignment(a, a, a, b, 1.0)
    with pytest.raises(ValueError, match="one length, got 4 and 3 rows"):
        spuriosity_alignment(a, a, b, b, 1.0)
    with pytest.raises(ValueError, match=r"labels must have shape \(4,\).* got \(4, 1\)"):
        spuriosity_alignment(a, a, a, a, 1.0, torch.zeros(4, 1))


# distillation


def test_distillation_runs_in_float32_whatever_autocast_says() -> None:
    """100 and 99.9 are one number in bfloat16 products; the loss must see the difference."""
    image, text, *_ = features(11, 6, 4, torch.float32)
    plain = pair_logits(image, text, 100.0)
    loss = distillation(plain, plain.flip(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (image @ text.T).dtype == torch.bfloat16  # autocast is on around the calls
        assert torch.equal(pair_logits(image, text, 100.0), plain)
        assert torch.equal(distillation(plain, plain.flip(0)), loss)
    assert loss.dtype == torch.float32
    assert distillation(plain.bfloat16(), plain.bfloat16()).dtype == torch.float32
    assert distillation(plain.double(), plain.double()).dtype == torch.float64


def test_distillation_of_equal_logits_is_zero_to_the_bit() -> None:
    logits = 100 * features(12, 50, 7, torch.float32)[0]
    for temperature in (0.5, 1.0, 3.0):
        assert distillation(logits, logits.clone(), temperature).item() == 0.0
    assert distillation(torch.zeros(0, 3), torch.zeros(0, 3)).item() == 0.0


def test_distillation_refuses_logits_of_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"student_logits and teacher_logits .* got \(4, 4\) and \(4, 3\)"):
        distillation(torch.eye(4), torch.ones(4, 3))


def test_examples_in_the_docstrings() -> None:
    result = doctest.testmod(functional)
    assert result.attempted > 0
    assert result.failed == 0
