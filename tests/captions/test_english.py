"""The little English we need: the examples in its docstrings, and the words that rules of thumb get wrong."""

import doctest

import pytest

from starft.captions import english
from starft.captions.english import a_or_an, doubled_articles, is_modifier, mend_articles, singular, words


def test_examples() -> None:
    result = doctest.testmod(english)
    assert result.attempted >= 3
    assert result.failed == 0


@pytest.mark.parametrize(
    "said",
    [
        "an old barn",
        "a hill",
        "a university",
        "an umbrella",
        "an unlit street",
        "a unique place",
        "an hour",
        "a used car",
        "a one-way street",
        "a European city",
        "an ice floe",
        "an X-ray",
        "an HDR display",
        "an MRI scanner",
        "a JPEG",
        "a UFO",
        "an 8-bit console",
        "a 4K screen",
        "an 18th birthday",
        "a 180 degree turn",
        "a ukulele",
        "an old UFO",
        "a LEGO brick",
    ],
)
def test_articles(said: str) -> None:
    article, word = said.split(" ", 1)
    assert a_or_an(word) == article


def test_only_wrong_articles_are_mended() -> None:
    assert mend_articles("{} in a old barn with an hat and a owl") == "{} in an old barn with a hat and an owl"
    assert mend_articles("{} at a 3 am party") == "{} at a 3 am party"


def test_modifiers() -> None:
    assert [is_modifier(text) for text in ("blurry", "black and white", "in", "the", "a b.", "", "{}", "3D", "3")] == [
        True, True, False, False, False, False, False, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "template", "doubled"),
    [
        (["a ferry", "boat"], "a photo of a {}.", ["a ferry"]),
        (["an owl", "The Beatles"], "a photo of the {}.", ["an owl", "The Beatles"]),
        (["ferry", "another", "anchor", "theatre", "a"], "a photo of a {}.", []),
        (["a ferry"], "a photo of {}.", []),
        (["a ferry"], "sepia {}.", []),
        (["a ferry"], "A {} on a lake.", ["a ferry"]),
    ],
)
def test_articles_that_stand_twice(names: list[str], template: str, doubled: list[str]) -> None:
    told = doubled_articles(names, ["{}", template])
    assert bool(told) is bool(doubled)
    if doubled:
        caption = template.replace("{}", doubled[0])
        assert f'"{caption}"' in told
        assert f"here {', '.join(map(repr, doubled))}, or" in told


def test_of_many_names_a_few_are_told() -> None:
    told = doubled_articles([f"a thing {number}" for number in range(9)], ["a {}."])
    assert "'a thing 4', ... (9), or" in told
    assert "a thing 5" not in told


@pytest.mark.parametrize(
    ("plural", "one"),
    [("ducks", "duck"), ("boxes", "box"), ("branches", "branch"), ("berries", "berry"), ("glass", "glass"),
     ("bus", "bus"), ("buses", "bus"), ("iris", "iris"), ("children", "child"), ("ties", "tie"), ("houses", "house"),
     ("gas", "gas"), ("lens", "lens"), ("compass", "compass"), ("wolves", "wolf"), ("gadwalls", "gadwall"),
     ("people", "person"), ("snowmen", "snowman"), ("doves", "dove"), ("gloves", "glove"), ("horses", "horse")],
)  # fmt: skip
def test_singular(plural: str, one: str) -> None:
    assert singular(plural) == one


@pytest.mark.parametrize(
    ("one", "more"),
    [("magpie", "magpies"), ("collie", "collies"), ("canoe", "canoes"), ("shoe", "shoes"), ("tomato", "tomatoes"),
     ("walrus", "walruses"), ("corgi", "corgis"), ("emu", "emus"), ("knife", "knives"), ("goose", "geese")],
)  # fmt: skip
def test_singular_and_plural_count_as_one_word(one: str, more: str) -> None:
    assert singular(one) == singular(more)


def test_words() -> None:
    assert words("{} With Snow-capped Peaks!") == ["with", "snow", "capped", "peak"]
