"""The evaluator: which head scores which set, and every number by hand count.

The stand-in CLIP maps each caption to a unit vector that is written down here, so that predictions are known.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from starft.errors import ConfigError
from starft.evaluation.evaluator import Evaluator, GroupResult, merge_logits
from starft.evaluation.sample_metrics import accept
from starft.types import Batch, EvalSet

SPECIES, KINDS = ("duck", "owl", "crow"), ("landbird", "waterbird")
AXES = {"a duck": 0, "a owl": 1, "a crow": 2, "a landbird": 1, "a waterbird": 0}
GROUPS = ("landbird on land", "landbird on water", "waterbird on land", "waterbird on water")
ID = EvalSet("id", SPECIES, ("a {}",))
OOD = EvalSet("ood", SPECIES, ("a {}",), ood=True)
STYLE = EvalSet("style", SPECIES, ("a {}",), ood=True)
BIRDS = EvalSet("groups", KINDS, ("a {}",), GROUPS, (0.4, 0.1, 0.1, 0.4))


def clip(turn: int = 0, scale: float = 10.0) -> Any:
    """Return a CLIP whose captions are axes of space, moved on by ``turn``."""

    def encode_text(captions: Sequence[str]) -> Tensor:
        return torch.eye(3)[[(AXES[caption] + turn) % 3 for caption in captions]]

    return SimpleNamespace(encode_text=encode_text, logit_scale=torch.tensor(scale))


def images(*axes: int) -> Tensor:
    return torch.eye(3)[list(axes)]


def batch(labels: list[int], group: list[int] | None = None) -> Batch:
    made = Batch(image=torch.zeros(len(labels), 3, 1, 1), label=torch.tensor(labels), index=torch.arange(len(labels)))
    if group is not None:
        made["group"] = torch.tensor(group)
    return made


def ready(
    *eval_sets: EvalSet, linear_head: Tensor | None = None, class_names: Sequence[str] = SPECIES, turn: int = 0
) -> Evaluator:
    evaluator = Evaluator(eval_sets)
    evaluator.prepare(clip(turn), class_names, linear_head)
    return evaluator


def floats(evaluator: Evaluator) -> dict[str, float]:
    return {name: value.item() for name, value in evaluator.compute().items()}


def test_a_set_without_groups_by_hand() -> None:
    evaluator = ready(ID)
    evaluator.update(0, images(0, 1, 2), batch([0, 1, 0]))
    evaluator.update(0, images(0), batch([1]))
    assert floats(evaluator) == {"id/acc": 0.5}
    assert evaluator.groups() == {"id": [GroupResult("all", 2, 4)]}


def test_a_set_without_groups_does_not_look_at_the_batchs_groups() -> None:
    evaluator = ready(ID)
    evaluator.update(0, images(0, 1), batch([0, 1], group=[17, -3]))
    assert floats(evaluator) == {"id/acc": 1.0}


def test_groups_by_hand() -> None:
    evaluator = ready(BIRDS)
    # landbird is axis 1, waterbird axis 0; right are: yes, no | yes | no, yes, yes | yes
    evaluator.update(0, images(1, 0, 1), batch([0, 0, 0], [0, 0, 1]))
    evaluator.update(0, images(1, 0, 0, 0), batch([1, 1, 1, 1], [2, 2, 2, 3]))
    assert floats(evaluator) == pytest.approx(
        {
            "groups/acc": 5 / 7,
            "groups/worst_group_acc": 1 / 2,
            "groups/group_mean_acc": (1 / 2 + 1 + 2 / 3 + 1) / 4,
            "groups/adjusted_acc": 0.4 * 1 / 2 + 0.1 + 0.1 * 2 / 3 + 0.4,
        }
    )
    assert evaluator.groups() == {
        "groups": [
            GroupResult(GROUPS[0], 1, 2),
            GroupResult(GROUPS[1], 1, 1),
            GroupResult(GROUPS[2], 2, 3),
            GroupResult(GROUPS[3], 1, 1),
        ]
    }


def test_ood_accuracy_is_the_mean_over_sets_not_over_images() -> None:
    evaluator = ready(ID, OOD, STYLE, BIRDS)
    evaluator.update(0, images(0), batch([1]))  # ID, wrong: has no part in it
    evaluator.update(1, images(0, 0, 0, 0), batch([0, 0, 0, 1]))  # 3 of 4
    evaluator.update(2, images(0), batch([1]))  # 0 of 1
    evaluator.update(3, images(0), batch([1], [3]))
    got = floats(evaluator)
    assert got["ood/acc"] == 0.75
    assert got["style/acc"] == 0.0
    assert got["ood_acc"] == 0.375


def test_without_ood_sets_there_is_no_ood_accuracy() -> None:
    evaluator = ready(ID)
    evaluator.update(0, images(0), batch([0]))
    assert "ood_acc" not in floats(evaluator)


def test_the_linear_head_scores_sets_of_its_classes_and_the_text_head_the_others() -> None:
    shifted = torch.eye(3).roll(1, dims=1)  # class c is axis c + 1: disagrees with the text head everywhere
    evaluator = ready(ID, BIRDS, linear_head=shifted)
    evaluator.update(0, images(1, 2, 0, 0), batch([0, 1, 2, 0]))  # linear right: yes yes yes no; text: no no no yes
    evaluator.update(1, images(0, 1), batch([1, 0], [3, 0]))
    got = floats(evaluator)
    assert got["id/acc"] == 0.75
    assert got["id/text_head_acc"] == 0.25
    assert got["groups/acc"] == 1.0
    assert "groups/text_head_acc" not in got
    assert evaluator.groups()["id"] == [GroupResult("all", 3, 4)]


@pytest.mark.parametrize("class_names", [("owl", "duck", "crow"), ("duck", "owl"), ()])
def test_a_linear_head_of_other_classes_or_another_order_scores_nothing(class_names: tuple[str, ...]) -> None:
    evaluator = ready(ID, linear_head=-torch.eye(3), class_names=class_names)
    evaluator.update(0, images(0, 1, 2), batch([0, 1, 2]))
    assert floats(evaluator) == {"id/acc": 1.0}


def test_class_names_may_be_a_list() -> None:
    evaluator = ready(ID, linear_head=torch.eye(3), class_names=list(SPECIES))
    evaluator.update(0, images(0), batch([0]))
    assert "id/text_head_acc" in floats(evaluator)


def test_text_head_accuracy_of_ood_sets_stays_out_of_ood_acc() -> None:
    evaluator = ready(OOD, linear_head=torch.eye(3).roll(1, dims=1))
    evaluator.update(0, images(1, 1), batch([0, 1]))
    assert floats(evaluator) == {"ood/acc": 0.5, "ood/text_head_acc": 0.5, "ood_acc": 0.5}


def test_preparing_makes_heads_anew_and_forgets_counts() -> None:
    evaluator = ready(ID, BIRDS)
    evaluator.update(0, images(0, 1), batch([0, 0]))
    evaluator.update(1, images(0), batch([1], [3]))
    evaluator.prepare(clip(turn=1), SPECIES, None)  # now a duck is axis 1
    evaluator.update(0, images(0, 1), batch([0, 0]))
    evaluator.update(0, images(1), batch([0]))
    evaluator.update(1, images(0), batch([1], [2]))
    got = floats(evaluator)
    assert got["id/acc"] == pytest.approx(2 / 3)
    assert got["groups/acc"] == 0.0
    assert [result.total for result in evaluator.groups()["groups"]] == [0, 0, 1, 0]


def test_preparing_takes_no_graph_and_the_linear_head_as_it_is_then() -> None:
    head = torch.eye(3).requires_grad_()
    evaluator = ready(ID, linear_head=head)
    with torch.no_grad():
        head.copy_(torch.eye(3).roll(1, dims=1))
    evaluator.prepare(clip(), SPECIES, head)
    evaluator.update(0, images(1), batch([0]))
    assert floats(evaluator) == {"id/acc": 1.0, "id/text_head_acc": 0.0}


def test_logits_are_scaled_and_in_float32() -> None:
    evaluator = ready(ID, BIRDS)
    features = F.normalize(torch.tensor([[3.0, 4.0, 0.0]]), dim=-1)
    for dtype in (torch.float32, torch.bfloat16):
        logits = evaluator.logits(0, features.to(dtype))
        assert logits.dtype == torch.float32
        torch.testing.assert_close(logits, 10 * features.to(dtype).float())
    assert evaluator.logits(1, features).shape == (1, 2)
    torch.testing.assert_close(evaluator.logits(1, features), torch.tensor([[8.0, 6.0]]))
    linear = ready(ID, linear_head=torch.full((3, 3), 2.0)).logits(0, features)
    torch.testing.assert_close(linear, torch.full((1, 3), 2.8))  # no further scale


def test_the_head_averages_templates() -> None:
    two = EvalSet("two", ("duck", "owl"), ("a {}", "the {}"))
    AXES_TOO = AXES | {"the duck": 2, "the owl": 1}

    def encode_text(captions: Sequence[str]) -> Tensor:
        return torch.eye(3)[[AXES_TOO[caption] for caption in captions]]

    evaluator = Evaluator([two])
    stand_in: Any = SimpleNamespace(encode_text=encode_text, logit_scale=torch.tensor(1.0))
    evaluator.prepare(stand_in, (), None)
    half = 0.5**0.5
    torch.testing.assert_close(evaluator.logits(0, torch.eye(3)), torch.tensor([[half, 0], [0, 1], [half, 0]]))


def test_counts_are_no_part_of_a_checkpoint() -> None:
    evaluator = ready(ID, BIRDS, linear_head=torch.eye(3))
    evaluator.update(0, images(0), batch([0]))
    assert evaluator.state_dict() == {}
    assert list(evaluator.parameters()) == []


# --- label projection, several right answers, metrics by name ---------------------------------------------------------

BIRD_OR_OWL = EvalSet("merged", SPECIES, ("a {}",), ood=True, merge=((1,), (0, 2)))
"""Label 0 is the owl, label 1 a duck or a crow."""


def test_merged_logits_are_the_highest_of_each_label() -> None:
    logits = torch.tensor([[1.0, 5.0, 2.0, 4.0], [7.0, -1.0, 3.0, 8.0]])
    assert merge_logits(logits, ()) is logits
    assert merge_logits(logits, [(0,), (2,)]).tolist() == [[1.0, 2.0], [7.0, 3.0]]
    assert merge_logits(logits, [(3, 0), (2,), (0, 1, 2)]).tolist() == [[4.0, 2.0, 5.0], [8.0, 3.0, 7.0]]


def test_classes_that_no_label_means_are_never_predicted() -> None:
    evaluator = ready(EvalSet("some", SPECIES, ("a {}",), merge=((2,), (1,))))
    # Best is the duck, which the set doesn't have; of its own two the crow (label 0) is nearer.
    evaluator.update(0, F.normalize(torch.tensor([[0.9, 0.1, 0.3]]), dim=-1), batch([0]))
    assert floats(evaluator) == {"some/acc": 1.0}
    assert evaluator.logits(0, images(0)).shape == (1, 2)


def test_a_projected_set_is_scored_by_the_linear_head_and_by_the_text_head() -> None:
    shifted = torch.eye(3).roll(1, dims=1)  # class c is axis c + 1
    evaluator = ready(BIRD_OR_OWL, linear_head=shifted)
    # Linear: axis 0 crow, axis 1 duck (label 1), axis 2 owl (label 0); text: axis 1 owl (label 0), others label 1.
    evaluator.update(0, images(0, 1, 2, 2), batch([1, 1, 0, 1]))
    assert floats(evaluator) == {"merged/acc": 0.75, "merged/text_head_acc": 0.5, "ood_acc": 0.75}


def test_predicted_labels_have_names() -> None:
    assert BIRD_OR_OWL.prediction_names == ("owl", "duck or crow")
    assert BIRD_OR_OWL.num_labels == 2
    assert (ID.prediction_names, ID.num_labels) == (SPECIES, 3)


def test_pictures_of_several_things_accept_each() -> None:
    several = EvalSet("several", SPECIES, ("a {}",), accepted=((0,), (1,), (2,), (0, 2)))
    evaluator = ready(several)
    # The last label is "duck and crow": both are right, the owl isn't.
    evaluator.update(0, images(0, 2, 1, 0, 1), batch([3, 3, 3, 0, 0]))
    assert floats(evaluator) == pytest.approx({"several/acc": 3 / 5})
    assert several.num_labels == 4
    preds = torch.tensor([2, 0])
    assert accept(preds, torch.tensor([0, 0]), ((0,), (1,))).tolist() == [2, 0]  # 2 is past what any label accepts


def test_sets_of_frames_by_hand() -> None:
    # Frame 1 is in the first two sets. Set 0: all right. Set 1: anchor right, frame 3 wrong. Set 2: anchor wrong.
    evaluator = ready(EvalSet("frames", SPECIES, ("a {}",), frame_sets=((0, 1), (2, 1, 3), (4, 5))))
    evaluator.update(0, images(0, 0, 0, 1), batch([0, 0, 0, 0]))
    last = batch([1, 1])
    last["index"] += 4
    evaluator.update(0, images(0, 1), last)
    got = floats(evaluator)
    assert got == pytest.approx({"frames/acc": 4 / 6, "frames/pm0": 2 / 3, "frames/pm10": 1 / 3})
    assert evaluator.groups() == {"frames": [GroupResult("all", 4, 6)]}


def test_named_metrics_take_the_place_of_the_group_metrics() -> None:
    regions = ("Asia", "Europe", "Other")
    evaluator = ready(EvalSet("map", SPECIES, ("a {}",), regions, metrics=("worst_region_acc", "macro_f1")))
    evaluator.update(0, images(0, 1, 1, 2, 2), batch([0, 1, 0, 0, 2], [0, 1, 1, 2, 1]))
    got = floats(evaluator)
    # Asia 1/1, Europe 2/3, Other 0/1; F1: duck 2/4, owl 2/3, crow 2/3.
    assert got == pytest.approx(
        {"map/acc": 3 / 5, "map/worst_region_acc": 2 / 3, "map/macro_f1": (1 / 2 + 2 / 3 + 2 / 3) / 3}
    )


def test_the_worst_region_is_nan_where_only_the_other_was_seen() -> None:
    evaluator = ready(EvalSet("map", SPECIES, ("a {}",), ("Asia", "Other"), metrics=("worst_region_acc",)))
    evaluator.update(0, images(0), batch([0], [1]))
    assert evaluator.compute()["map/worst_region_acc"].isnan()


def test_an_unknown_metric_is_told_with_the_near_names() -> None:
    with pytest.raises(ConfigError, match=r"map names the metric macro_f2.*Did you mean macro_f1"):
        Evaluator([EvalSet("map", SPECIES, ("a {}",), metrics=("macro_f2",))])


def test_sets_of_equal_words_share_one_head() -> None:
    asked: list[int] = []

    def encode_text(captions: Sequence[str]) -> Tensor:
        asked.append(len(captions))
        return torch.eye(3)[[AXES[caption] for caption in captions]]

    evaluator = Evaluator([ID, OOD, BIRDS, BIRD_OR_OWL, STYLE])
    stand_in: Any = SimpleNamespace(encode_text=encode_text, logit_scale=torch.tensor(1.0))
    evaluator.prepare(stand_in, SPECIES, torch.eye(3))
    assert asked == [3, 2]
