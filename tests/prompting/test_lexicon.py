"""Kinds of words: the examples in the docstrings, and the words that the placing of phrases leans on."""

import doctest

import pytest

from starft.prompting import lexicon
from starft.prompting.lexicon import describes, is_gerund, is_participle, singular, takes_no_article, words


def test_examples() -> None:
    result = doctest.testmod(lexicon)
    assert result.attempted >= 3
    assert result.failed == 0


@pytest.mark.parametrize(
    ("plural", "one"),
    [("ducks", "duck"), ("boxes", "box"), ("branches", "branch"), ("berries", "berry"), ("glass", "glass"),
     ("bus", "bus"), ("iris", "iris"), ("children", "child"), ("ties", "tie"), ("houses", "house"), ("gas", "gas"),
     ("lens", "lens"), ("compass", "compass"), ("wolves", "wolf"), ("gadwalls", "gadwall"), ("people", "person")],
)  # fmt: skip
def test_singular(plural: str, one: str) -> None:
    assert singular(plural) == one


def test_words() -> None:
    assert words("{} With Snow-capped Peaks!") == ["with", "snow", "capped", "peak"]


def test_what_a_word_does() -> None:
    assert [is_participle(word) for word in ("found", "woven", "half-buried", "knitted", "lit", "wood", "drew")] == [
        True, True, True, True, True, False, False,
    ]  # fmt: skip
    assert [is_gerund(word) for word in ("holding", "ring", "spring", "wood")] == [True, False, False, False]
    adjectives = [
        "wooden",
        "misty",
        "metallic",
        "glossy",
        "wet",
        "red",
        "blurry",
        "moss-covered",
        "wide-angle",
        "photorealistic",
        "glittery",
        "overcast",
    ]
    assert [word for word in adjectives if not describes(word)] == []
    nouns = ["desert", "forest", "person", "fish", "x-ray", "carving", "seaweed", "rubbish", "watermark", "denim"]
    assert [word for word in nouns if describes(word)] == []
    uncounted = ["bread", "furniture", "jewelry", "denim", "fog", "lightning", "trees", "scissors", "cubism", "deer"]
    assert [word for word in uncounted if not takes_no_article(word)] == []
    counted = ["forest", "lens", "bus", "smartphone", "painting", "umbrella"]
    assert [word for word in counted if takes_no_article(word)] == []
