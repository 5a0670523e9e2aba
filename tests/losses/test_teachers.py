"""Teachers that follow the student: their weights by hand count, and what they cost and keep."""

import math
import re
from collections import Counter
from typing import Any

import lightning as L
import pytest
import torch
from scipy.stats import beta as beta_distribution
from torch import Tensor

from fakes.quiet_trainer import trainer
from starft.captions.sampler import CaptionSampler
from starft.clip import ClipEncoder, zero_shot_head
from starft.errors import ConfigError, WeightsError
from starft.losses import KD, FeatureDistillation, SpuriosityAlignment
from starft.losses.base import Term
from starft.losses.context import Progress
from starft.losses.objectives import Contrastive, CrossEntropy
from starft.losses.teachers import ExponentialAverage, Teacher, TeacherRule, WeightedAverage, teacher_rule
from starft.mini import MiniWorld
from starft.runs.checkpoints import match_teachers
from starft.training.module import FinetuneModule

NAMES = MiniWorld().class_names


class Scalar(torch.nn.Module):
    """A model of one weight and one counter, in the place of a CLIP."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.logit_scale = torch.nn.Parameter(torch.tensor(value, dtype=torch.float64))
        self.register_buffer("seen", torch.tensor(0))
        self.register_buffer("mask", torch.tensor(-math.inf), persistent=False)


def scalar(value: float) -> ClipEncoder:
    return ClipEncoder(Scalar(value), lambda texts: torch.zeros(len(texts), 1))


def followed(rule: TeacherRule, values: list[float]) -> list[float]:
    """The teacher's one weight after each step, for a student that has these values, the pre-trained one first."""
    student = scalar(values[0])
    teacher = Teacher(student, rule)
    weights = []
    for step, value in enumerate(values[1:], start=1):
        with torch.no_grad():
            student.model.logit_scale.fill_(value)
            student.model.seen.fill_(step)
        teacher.follow(student, None, step, len(values) - 1)
        weights.append(teacher.model.logit_scale.item())
    return weights


# The rules


def test_exponential_average_by_hand() -> None:
    """After steps 1, 3, 5, 7 of eight; momentum 0 -> 0.8 over half of them: 0 at index 0, 0.4 at 2, 0.8 from 4 on."""
    rule = ExponentialAverage(update_every=2, momentum_start=0.0, momentum_end=0.8, rise=0.5)
    assert [rule.share(step, 8) for step in range(1, 9)] == pytest.approx([1, 0, 0.6, 0, 0.2, 0, 0.2, 0])
    after_3 = 0.4 * 1 + 0.6 * 3
    after_5 = 0.8 * after_3 + 0.2 * 5
    after_7 = 0.8 * after_5 + 0.2 * 7
    by_hand = [1, 1, after_3, after_3, after_5, after_5, after_7, after_7]
    assert followed(rule, [10, 1, 2, 3, 4, 5, 6, 7, 8]) == pytest.approx(by_hand, rel=1e-12)


def test_carot_s_defaults() -> None:
    """The authors count steps from 0 and update after the steps 0, 500, 1000 and so on."""
    rule = ExponentialAverage()
    assert (rule.update_every, rule.momentum_start, rule.momentum_end, rule.rise) == (500, 0.05, 0.9, 0.2)
    assert [rule.share(step, 25_000) for step in (2, 500, 502)] == [0, 0, 0]
    assert rule.share(1, 25_000) == pytest.approx(0.95)
    assert rule.share(2501, 25_000) == pytest.approx(1 - (0.05 + 0.85 / 2))
    assert [rule.share(step, 25_000) for step in (5001, 24_501)] == pytest.approx([0.1, 0.1])


def test_a_rise_of_no_length_is_at_its_end_at_once() -> None:
    assert ExponentialAverage(update_every=1, rise=0.0).share(1, 10) == pytest.approx(0.1)


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.5), (2.0, 1.0), (1.0, 1.0)])
def test_weighted_average_is_the_mean_with_beta_s_density(alpha: float, beta: float) -> None:
    values = [10.0, 1.0, -2.0, 4.0, 3.0, 8.0]
    weights = [beta_distribution.pdf((t + 0.5) / 6, alpha, beta) for t in range(6)]
    expected = [
        sum(w * v for w, v in zip(weights[: t + 1], values, strict=False)) / sum(weights[: t + 1]) for t in range(1, 6)
    ]
    assert followed(WeightedAverage(alpha, beta), values) == pytest.approx(expected, rel=1e-12)


def test_tracer_s_update_rule() -> None:
    """``(teacher + r * student) / (1 + r)`` with r the weight over the sum of those before."""
    values = [10.0, 1.0, -2.0, 4.0]
    density = [1 / (math.pi * math.sqrt(x * (1 - x))) for x in (1 / 8, 3 / 8, 5 / 8, 7 / 8)]
    teacher, expected = values[0], []
    for t in (1, 2, 3):
        r = density[t] / sum(density[:t])
        teacher = (teacher + r * values[t]) / (1 + r)
        expected.append(teacher)
    assert followed(WeightedAverage(), values) == pytest.approx(expected, rel=1e-12)


def test_an_average_is_one_of_parameters() -> None:
    student = scalar(1.0)
    teacher = Teacher(student, WeightedAverage())
    student.model.seen.fill_(7)
    teacher.follow(student, None, 1, 4)
    assert teacher.model.seen.item() == 0
    assert teacher.model.mask.item() == -math.inf


def test_a_frozen_teacher_never_moves() -> None:
    student = scalar(1.0)
    teacher = Teacher(student)
    with torch.no_grad():
        student.model.logit_scale.fill_(5.0)
    teacher.follow(student, None, 1, 1)
    assert teacher.model.logit_scale.item() == 1.0


def test_rules_of_equal_values_are_one() -> None:
    assert ExponentialAverage(3) == ExponentialAverage(3)
    assert hash(ExponentialAverage(3)) == hash(ExponentialAverage(3))
    assert len({ExponentialAverage(3), ExponentialAverage(3), ExponentialAverage(4), WeightedAverage()}) == 3
    assert teacher_rule("frozen") is None
    assert teacher_rule("ema") == ExponentialAverage()
    assert teacher_rule("weighted") == WeightedAverage()
    assert teacher_rule(WeightedAverage(2.0)) == WeightedAverage(2.0)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: ExponentialAverage(0), "update_every of a teacher must be at least 1; got 0."),
        (lambda: ExponentialAverage(momentum_end=1.5), "momentum_end of a teacher must lie in [0, 1]; got 1.5."),
        (lambda: ExponentialAverage(momentum_start=-1), "momentum_start of a teacher must lie in [0, 1]; got -1."),
        (lambda: ExponentialAverage(rise=math.nan), "rise of a teacher must lie in [0, 1]; got nan."),
        (lambda: WeightedAverage(alpha=0), "alpha of a weighted teacher must be a finite number above 0; got 0."),
        (
            lambda: WeightedAverage(beta=math.inf),
            "beta of a weighted teacher must be a finite number above 0; got inf.",
        ),
        (
            lambda: teacher_rule("swa"),  # type: ignore[arg-type]
            "teacher must be one of frozen, ema, weighted, or a class of starft.losses.teachers; got 'swa'.",
        ),
    ],
)
def test_what_cant_be_used_is_told(make: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        make()


# In the module


def build(*regularizers: Term, head: Any = "text", objective: Term | None = None) -> FinetuneModule:
    return FinetuneModule(
        objective or Contrastive(),
        "starft-mini",
        "mini",
        head,
        lr=1e-3,
        warmup_steps=0,
        regularizers=list(regularizers),
        pool="mini_scenes",
    )


class Weights(L.Callback):
    """Student and teacher after every optimizer step, as a checkpoint of that moment would have them."""

    KEYS = ("model.visual.proj", "model.text_projection", "model.logit_scale")

    def __init__(self) -> None:
        self.seen: dict[int, dict[str, Tensor]] = {}

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        state = {key: value.clone() for key, value in pl_module.state_dict().items() if not key.startswith("twin.")}
        self.seen[trainer.global_step] = state


def fit(module: FinetuneModule, steps: int, accumulate: int = 1) -> tuple[L.Trainer, Weights]:
    weights = Weights()
    made = trainer(None, None, weights, max_steps=steps, accumulate_grad_batches=accumulate)
    made.fit(module, datamodule=MiniWorld(train_size=12 * steps * accumulate, val_size=12, batch_size=12))
    return made, weights


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_teachers_follow_each_optimizer_step(accumulate: int) -> None:
    """Against averages taken outside, of the student's weights after each step."""
    terms = (
        KD(0.1, teacher="weighted"),
        FeatureDistillation(teacher=ExponentialAverage(update_every=2, momentum_start=0.3, momentum_end=0.3)),
    )
    module = build(*terms, head="linear", objective=CrossEntropy())
    start = {key: value.clone() for key, value in module.state_dict().items()}
    made, weights = fit(module, steps=3, accumulate=accumulate)
    assert list(module.teachers) == ["weighted_average", "exponential_average"]
    students = [start | {"linear_head": module.twin.class_head(NAMES, module.templates)}]
    students += [weights.seen[step] for step in (1, 2, 3)]
    density = [beta_distribution.pdf((t + 0.5) / 4, 0.5, 0.5) for t in range(4)]
    for key, own in (("clip.model.visual.proj", "model.visual.proj"), ("linear_head", "linear_head")):
        for step in (1, 2, 3):
            held = weights.seen[step]
            pairs = list(zip(density, students, strict=True))[: step + 1]
            mean = sum(w * student[key].double() for w, student in pairs) / sum(w for w, _ in pairs)
            torch.testing.assert_close(
                held[f"teachers.weighted_average.{own}"].double(), mean, rtol=1e-5, atol=1e-6, msg=f"{own} {step}"
            )
            ema = 0.3 * students[0][key] + 0.7 * students[1][key]
            ema = 0.3 * ema + 0.7 * students[3][key] if step == 3 else ema
            torch.testing.assert_close(held[f"teachers.exponential_average.{own}"], ema, rtol=1e-5, atol=1e-6)
        assert not torch.equal(students[1][key], students[3][key]), "the student stood still"
    held_by_optimizer = {id(p) for group in made.optimizers[0].param_groups for p in group["params"]}
    for teacher in (module.twin, *module.teachers.values()):
        assert not {id(p) for p in teacher.parameters()} & held_by_optimizer
        assert not any(p.requires_grad or p.grad is not None for p in teacher.parameters())
        assert not any(part.training for part in teacher.modules())


def test_no_teacher_is_made_where_none_is_asked_for() -> None:
    module = build(KD(), SpuriosityAlignment(), FeatureDistillation())
    assert len(module.teachers) == 0
    assert not any(key.startswith("teachers.") for key in module.state_dict())


def test_terms_that_name_one_teacher_share_it_and_its_features(monkeypatch: pytest.MonkeyPatch) -> None:
    terms = (
        KD(teacher="weighted"),
        FeatureDistillation(teacher="weighted"),
        SpuriosityAlignment(teacher=WeightedAverage(0.5, 0.5)),
        KD(),
    )
    module = build(*terms)
    assert list(module.teachers) == ["weighted_average"]
    module.describe(NAMES, ("a photo of a {}.",))
    module.captions = CaptionSampler(NAMES, module.templates, module.pool, 0)
    module._host_labels = list(range(4))
    labels = torch.arange(4)
    ctx = module._context({"image": torch.randn(4, 3, 64, 64), "label": labels, "index": labels}, Progress(0, 10, 0, 1))
    calls: Counter[str] = Counter()
    for name, teacher in (("twin", module.twin), ("weighted", module.teachers["weighted_average"])):
        encode: Any = teacher.encode_image
        monkeypatch.setattr(
            teacher,
            "encode_image",
            lambda *given, name=name, encode=encode: calls.update([name]) or encode(*given),
            raising=False,
        )
    for _, term in module._active_terms():
        term(ctx)
    assert calls == {"twin": 1, "weighted": 1}


def test_a_class_head_is_made_once_until_the_weights_move(monkeypatch: pytest.MonkeyPatch) -> None:
    module = build(KD(teacher="ema"))
    teacher = Teacher(module.clip, WeightedAverage())
    first = teacher.class_head(NAMES, ("a photo of a {}.",))
    torch.testing.assert_close(first, teacher.logit_scale * zero_shot_head(teacher, NAMES, ("a photo of a {}.",)))
    assert teacher.class_head(NAMES, ("a photo of a {}.",)) is first
    assert teacher.class_head(NAMES[:2], ("a photo of a {}.",)).shape == (2, first.shape[1])
    with torch.no_grad():
        module.clip.model.text_projection.mul_(torch.linspace(0.5, 2.0, 96))
    assert teacher.class_head(NAMES, ("a photo of a {}.",)) is first
    teacher.follow(module.clip, None, 1, 10)
    assert not torch.allclose(teacher.class_head(NAMES, ("a photo of a {}.",)), first)


# In the checkpoint


def test_a_run_isnt_continued_with_other_teachers() -> None:
    with_teacher, without = build(KD(teacher="weighted")), build()
    checkpoint = {"state_dict": with_teacher.state_dict()}
    match_teachers(checkpoint, with_teacher.teachers, continues=True)
    sentence = (
        r"^The checkpoint's run has teachers that follow the student: weighted_average; the config asks for: none\. "
        r"Continue it with its own config, or start a new run\.$"
    )
    with pytest.raises(WeightsError, match=sentence):
        match_teachers(checkpoint, without.teachers, continues=True)
    match_teachers(checkpoint, without.teachers, continues=False)
    without.load_state_dict(checkpoint["state_dict"])
