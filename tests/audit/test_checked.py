"""Attributes that somebody checked: which image and which value a row means, and rows that are too few."""

import numpy as np
import pytest

from starft.audit.association import Ranked
from starft.audit.attributes import UNREADABLE, InferredAttributes
from starft.audit.data_audit import Attribute, DataAudit
from starft.audit.features import FeatureSet
from starft.audit.inferred_groups import Checked, check_places, few_checked, inferred_groups, true_values
from starft.audit.predictions import Predictions
from starft.errors import DataError


def row(attribute: str, path: str = "a.jpg") -> Checked:
    return Checked(path, attribute, "checked.csv, line 2")


def test_a_path_of_two_sets_means_neither() -> None:
    paths = {"val/id": ["a.jpg", "b.jpg"], "test/sketch": ["a.jpg"]}
    check_places([row("x", "b.jpg")], paths)
    with pytest.raises(DataError) as caught:
        check_places([row("x")], paths)
    assert str(caught.value) == (
        "'a.jpg' (checked.csv, line 2) is an image of val/id and of test/sketch, so nobody can tell which one you "
        "looked at; leave it out."
    )
    with pytest.raises(DataError, match=r"^'c.jpg' \(checked.csv, line 2\) is no validation or test image; leave it"):
        check_places([row("x", "c.jpg")], paths)


def test_a_name_means_its_own_value_before_a_phrase_of_another() -> None:
    names = ("snow", "ice", "lake", UNREADABLE)
    phrases = (("snow {}", "{} powder"), ("ice {}", "{} snow", "frost {}"), ("lake {}", "{} frost"))
    values = [
        Attribute(own, Ranked(name, 0.1, 0.0, 0.01, 0.2, (), 0.01), 5, 4, 9)
        for name, own in zip(names, phrases, strict=False)
    ]
    inferred = InferredAttributes(names, np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.float32))
    audit = DataAudit((*values,), {"val/id": inferred}, 1.0, 5, 5, (), ())
    pixels = np.zeros((1, 2, 2, 3), dtype=np.uint8)
    images = FeatureSet("val/id", np.ones((1, 2), dtype=np.float16), pixels, np.zeros(1, dtype=np.int64), ["a.jpg"], "")

    def meant(attribute: str) -> int:
        return true_values([row(attribute)], audit, {"val/id": images})["val/id"][0]

    assert [meant(word) for word in ("snow", "snow {}", "{} snow", "powder", "frost {}", "{} frost")] == [
        0,
        0,
        1,
        0,
        1,
        2,
    ]
    with pytest.raises(DataError, match=r"^'frost' \(checked.csv, line 2\) is no attribute of this audit"):
        meant("frost")


@pytest.mark.parametrize(("checked", "told"), [(0, False), (1, True), (19, True), (20, False)])
def test_checks_that_are_too_few_to_correct_anything_are_told(checked: int, told: bool) -> None:
    labels, values = np.zeros(40, dtype=np.int64), np.arange(40) % 2
    inferred = InferredAttributes(("home", "away", UNREADABLE), values, np.ones(40, dtype=np.float32))
    predictions = Predictions(labels, np.ones(40, dtype=np.float32))
    known = {at: int(values[at]) for at in range(checked)}
    found = inferred_groups(labels, inferred, predictions, {0: [0]}, ("owl",), known, 0)
    assert found is not None
    verb = "image of val/id was" if checked == 1 else "images of val/id were"
    sentence = (
        f"{checked} {verb} checked, and a correction needs 20 of classes with a shortcut; so its accuracies have "
    )
    assert few_checked({"val/id": known}, {"val/id": found}) == ([f"{sentence}bounds only."] if told else [])
