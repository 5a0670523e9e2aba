"""Terms: their weights and schedules by hand count, and their values against formulas written out here."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from starft import losses
from starft.errors import ConfigError
from starft.losses import SpuriosityAlignment
from starft.losses.base import Term, check_forward_is_defined, notes_on_epochs
from starft.losses.context import Progress
from starft.losses.objectives import Contrastive, CrossEntropy
from starft.losses.teachers import TeacherRule, teacher_rule

TERMS = tuple(term for name in losses.__all__ if issubclass(term := getattr(losses, name), Term))
NEEDS: dict[type[Term], dict[str, Any]] = {losses.KindAlignment: {"kinds": {"bird": ["duck", "owl"]}}}
"""What a term can't be made without."""
BAD_WEIGHTS = (-1.0, -1e-9, math.nan, math.inf, -math.inf)


def progress(step: int = 0, total_steps: int = 10, epoch: int = 0, total_epochs: int | None = 5) -> Progress:
    return Progress(step, total_steps, epoch, total_epochs)


def unit(seed: int, n: int = 6, d: int = 5) -> Tensor:
    """Return unit rows (n, d) in float64, a leaf that takes gradients."""
    draw = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return F.normalize(draw, dim=-1).requires_grad_()


def context(**given: Any) -> Any:
    return SimpleNamespace(**given)


# weights and schedules


def test_objectives_and_regularizers_are_among_the_terms() -> None:
    assert {SpuriosityAlignment, losses.KD, losses.Tracer} < set(TERMS)


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.__name__)
@pytest.mark.parametrize("weight", BAD_WEIGHTS)
def test_a_weight_must_be_finite_and_not_negative(term: type[Term], weight: float) -> None:
    sentence = f"^weight of {term.__name__} must be a finite number, at least 0; got {weight}\\.$"
    with pytest.raises(ConfigError, match=sentence):
        term(weight=weight, **NEEDS.get(term, {}))


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.__name__)
def test_a_weight_of_zero_is_allowed(term: type[Term]) -> None:
    assert term(weight=0.0, **NEEDS.get(term, {})).weight_at(progress()) == 0.0


@pytest.mark.parametrize("term", [Term, SpuriosityAlignment], ids=lambda term: term.__name__)
def test_an_unknown_schedule_is_refused(term: Any) -> None:
    with pytest.raises(ConfigError, match=r"^schedule must be one of constant, epoch, step; got 'linear'\.$"):
        term(weight=1.0, schedule="linear")


def test_epoch_schedule_by_hand() -> None:
    """0.5 * (1 - (e + 1) / 5), the same at every step of an epoch."""
    term = SpuriosityAlignment()
    for step in (0, 9):
        weights = [term.weight_at(progress(step=step, epoch=epoch)) for epoch in range(5)]
        assert weights == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.0], abs=1e-15)
    assert term.weight_at(progress(epoch=4)) == 0.0, "the last epoch runs without it, to the bit"


@pytest.mark.parametrize("epochs", [1, 3, 7, 10, 49])
def test_epoch_schedule_ends_at_zero_exactly(epochs: int) -> None:
    assert SpuriosityAlignment(0.3).weight_at(progress(epoch=epochs - 1, total_epochs=epochs)) == 0.0


def test_step_schedule_by_hand() -> None:
    """2 * (1 - s / 10), whatever the epoch is."""
    term = Term(2.0, "step")
    weights = [term.weight_at(progress(step=step, epoch=step // 2)) for step in (0, 1, 5, 9)]
    assert weights == pytest.approx([2.0, 1.8, 1.0, 0.2])
    assert term.weight_at(progress(step=5, total_epochs=None)) == 1.0


@pytest.mark.parametrize("term", [Term(0.7), CrossEntropy(0.7), Contrastive(0.7), SpuriosityAlignment(0.7, "constant")])
def test_constant_schedule(term: Term) -> None:
    points = (progress(), progress(step=9, epoch=4), progress(step=3, total_epochs=None))
    assert [term.weight_at(point) for point in points] == [0.7, 0.7, 0.7]


def test_epoch_schedule_without_epochs_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^SpuriosityAlignment has schedule 'epoch', but the run has no max_epochs;"):
        SpuriosityAlignment().weight_at(progress(total_epochs=None))


def test_the_paper_s_defaults() -> None:
    term = SpuriosityAlignment()
    assert (term.weight, term.schedule, term.masked) == (0.5, "epoch", True)


def test_alignment_advises_on_few_classes() -> None:
    told = SpuriosityAlignment().advice(["a", "b"])
    assert told.startswith("With 2 classes SpuriosityAlignment has little to hold on to")
    assert SpuriosityAlignment().advice(["a", "b", "c", "d"]) == ""
    assert SpuriosityAlignment(masked=False).advice(["a", "b"]) == "", "nothing is left out"
    assert Term().advice(["a", "b"]) == ""


def test_a_run_of_one_epoch_is_told_which_terms_take_no_part() -> None:
    terms = [SpuriosityAlignment(), SpuriosityAlignment(schedule="step"), SpuriosityAlignment(weight=0.0)]
    (note,) = notes_on_epochs(terms, 1)
    assert note.startswith("SpuriosityAlignment takes no part: with schedule 'epoch' its weight is 0 in the last epoch")
    assert terms[0].weight_at(Progress(step=0, total_steps=9, epoch=0, total_epochs=1)) == 0, "what the note says"
    assert notes_on_epochs(terms, 2) == notes_on_epochs(terms, None) == []


def test_a_term_holds_no_weights_of_its_own() -> None:
    """Else they would be trained, decayed and counted; GroupDRO's shares of groups are a buffer."""
    parameters = {term.__name__: list(term(**NEEDS.get(term, {})).parameters()) for term in TERMS}
    assert not any(parameters.values())
    others = [term(**NEEDS.get(term, {})).state_dict() for term in TERMS if term is not losses.GroupDRO]
    assert not any(others)


# cross-entropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_cross_entropy_by_its_formula(smoothing: float) -> None:
    logits = 5 * torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([2, 0, 0, 1])
    value = CrossEntropy(label_smoothing=smoothing)(context(logits=logits, labels=labels))
    total = 0.0
    for row, label in zip(logits.double().tolist(), labels.tolist(), strict=True):
        log_sum = math.log(sum(math.exp(x) for x in row))
        total -= sum(((k == label) * (1 - smoothing) + smoothing / 3) * (x - log_sum) for k, x in enumerate(row))
    assert value.shape == ()
    assert value.item() == pytest.approx(total / 4, rel=1e-5)


def test_cross_entropy_is_computed_in_float32() -> None:
    logits = torch.tensor([[30.0, 29.9, 3.0]], dtype=torch.bfloat16)
    value = CrossEntropy()(context(logits=logits, labels=torch.tensor([0])))
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, -logits.float().log_softmax(dim=1)[0, 0])


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, 1.5, math.nan, math.inf])
def test_label_smoothing_out_of_bounds_is_refused(smoothing: float) -> None:
    with pytest.raises(ConfigError, match=rf"^label_smoothing must lie in \[0, 1\); got {smoothing}\.$"):
        CrossEntropy(label_smoothing=smoothing)


# contrastive


def test_contrastive_by_its_formula() -> None:
    image, text = unit(1), unit(2)
    scale = torch.tensor(math.log(20.0), dtype=torch.float64, requires_grad=True)
    ctx = context(image_features=image, text_features=text, clip=SimpleNamespace(logit_scale=scale.exp()))
    value = Contrastive()(ctx)
    logits = 20.0 * (image @ text.T).detach()
    rows = [-math.log(math.exp(logits[i, i]) / sum(math.exp(x) for x in logits[i].tolist())) for i in range(6)]
    columns = [-math.log(math.exp(logits[i, i]) / sum(math.exp(x) for x in logits[:, i].tolist())) for i in range(6)]
    assert value.shape == ()
    assert value.item() == pytest.approx((sum(rows) + sum(columns)) / 12, rel=1e-12)
    value.backward()
    for leaf in (image, text, scale):
        assert leaf.grad is not None
        assert leaf.grad.abs().sum() > 0


# spuriosity alignment


def alignment_context(labels: Tensor) -> Any:
    scale = torch.tensor(10.0, dtype=torch.float64)
    twin = SimpleNamespace(image_features=unit(5), spurious_features=unit(6), logit_scale=scale)
    return context(
        image_features=unit(3),
        spurious_features=unit(4),
        teacher={None: twin}.__getitem__,
        clip=SimpleNamespace(logit_scale=torch.tensor(99.0)),  # the student's scale has no part in it
        labels=labels,
    )


def kl_by_hand(ctx: Any, masked: bool) -> float:
    teacher = 10.0 * (ctx.teacher(None).image_features @ ctx.teacher(None).spurious_features.T).detach()
    student = 10.0 * (ctx.image_features @ ctx.spurious_features.T).detach()
    total = 0.0
    for i in range(6):
        allowed = [j for j in range(6) if not masked or ctx.labels[j] != ctx.labels[i]]
        p_sum = sum(math.exp(teacher[i, j]) for j in allowed)
        q_sum = sum(math.exp(student[i, j]) for j in allowed)
        for j in allowed:
            p, q = math.exp(teacher[i, j]) / p_sum, math.exp(student[i, j]) / q_sum
            total += p * math.log(p / q)
    return total / 6


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("labels", [[0, 1, 2, 3, 4, 5], [0, 0, 1, 2, 1, 0], [0, 0, 0, 0, 0, 1], [3, 3, 3, 3, 3, 3]])
def test_alignment_by_its_formula(masked: bool, labels: list[int]) -> None:
    ctx = alignment_context(torch.tensor(labels))
    value = SpuriosityAlignment(masked=masked)(ctx)
    assert value.shape == ()
    assert value.item() == pytest.approx(kl_by_hand(ctx, masked), rel=1e-10, abs=1e-14)


def test_alignment_trains_the_student_and_never_the_twin() -> None:
    ctx = alignment_context(torch.tensor([0, 0, 1, 2, 1, 0]))
    SpuriosityAlignment()(ctx).backward()
    assert ctx.image_features.grad.abs().sum() > 0
    assert ctx.spurious_features.grad.abs().sum() > 0
    assert ctx.teacher(None).image_features.grad is None
    assert ctx.teacher(None).spurious_features.grad is None


def test_alignment_of_a_student_like_its_twin_is_zero() -> None:
    ctx = alignment_context(torch.tensor([0, 0, 1, 2, 1, 0]))
    ctx.image_features, ctx.spurious_features = ctx.teacher(None).image_features, ctx.teacher(None).spurious_features
    assert SpuriosityAlignment()(ctx).item() == pytest.approx(0.0, abs=1e-14)


def test_a_base_class_is_no_loss_and_no_teacher() -> None:
    with pytest.raises(ConfigError, match=r"Term has no loss of its own; give a class below starft\.losses\.Term"):
        check_forward_is_defined([CrossEntropy(), Term()])
    with pytest.raises(ConfigError, match=r"TeacherRule has no rule of its own; give a class below"):
        teacher_rule(TeacherRule())
