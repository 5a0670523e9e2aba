"""One phrase to one template: English before and behind the caption, and what is refused."""

import pytest

from starft.pools import inject
from starft.prompting.phrases import Unfit, fold, to_template

NOUN, ADJECTIVE = "{} with {phrase} in the background", "{phrase} {}"


@pytest.mark.parametrize(
    ("phrase", "caption"),
    [
        ("in the forest", "a photo of a duck in the forest."),
        ("In the Forest.", "a photo of a duck in the Forest."),
        ("1. on a lake", "a photo of a duck on a lake."),
        ("- “at dawn”", "a photo of a duck at dawn."),
        ("forest", "a photo of a duck with a forest in the background."),
        ("old barn", "a photo of a duck with an old barn in the background."),
        ("wooden fences", "a photo of a duck with wooden fences in the background."),
        ("dense fog", "a photo of a duck with dense fog in the background."),
        ("the sea", "a photo of a duck with the sea in the background."),
        ("mountains in the distance", "a photo of a duck with mountains in the distance."),
        ("in a open field by an river", "a photo of a duck in an open field by a river."),
        ("a photo of a thing in the rain", "a photo of a duck in the rain."),
        ("A photo of a {} on a hill", "a photo of a duck on a hill."),
        ("{class_name} under a cloudy sky", "a photo of a duck under a cloudy sky."),
        ("[object] near a fence", "a photo of a duck near a fence."),
        ("{0}, at night", "a photo of a duck, at night."),
        ("at night, {}", "at night, a photo of a duck."),
        ("covered in frost", "a photo of a duck covered in frost."),
        ("partially hidden by leaves", "a photo of a duck partially hidden by leaves."),
        ("wearing a hat", "a photo of a duck wearing a hat."),
        ("made of clay", "a photo of a duck made of clay."),
        ("underwater", "a photo of a duck underwater."),
        ("photo taken at night", "a photo of a duck taken at night."),
        ("black and white", "a black and white photo of a duck."),
        ("badly underexposed", "a badly underexposed photo of a duck."),
    ],
)
def test_behind_the_caption(phrase: str, caption: str) -> None:
    template = to_template(phrase, NOUN)
    assert template.count("{}") == 1
    assert inject("a photo of a duck.", template) == caption


@pytest.mark.parametrize(
    ("phrase", "caption"),
    [
        ("blurry", "a blurry photo of a duck."),
        ("Overexposed", "an overexposed photo of a duck."),
        ("blurry {}", "a blurry photo of a duck."),
        ("a blurry photo of a {}", "a blurry photo of a duck."),
        ("pixelated image", "a pixelated photo of a duck."),
        ("low resolution", "a low resolution photo of a duck."),
        ("JPEG-compressed", "a JPEG-compressed photo of a duck."),
        ("heavy motion blur", "a photo of a duck with heavy motion blur."),
        ("lens flares", "a photo of a duck with lens flares."),
        ("a dirty lens", "a photo of a duck with a dirty lens."),
        ("in low light", "a photo of a duck in low light."),
        ("{} blurry", "a blurry photo of a duck."),
    ],
)
def test_before_the_caption(phrase: str, caption: str) -> None:
    assert inject("a photo of a duck.", to_template(phrase, ADJECTIVE)) == caption


def test_a_modifier_goes_behind_the_article_of_any_caption() -> None:
    assert inject("an oil painting of the owl", "dark {}") == "a dark oil painting of the owl"
    assert inject("the duck.", "old {} in a barn") == "the old duck in a barn."
    assert inject("duck", "blurry {}") == "blurry duck"
    assert inject("a duck.", "at night {}") == "at night a duck."


@pytest.mark.parametrize(
    ("phrase", "reason"),
    [
        ("", "is empty"),
        (" \n\t ", "is empty"),
        ("...", "is empty"),
        ("{}", "has no words"),
        ("a {}", "says nothing beside the object"),
        ("{} and {}", "holds more than one placeholder"),
        ("in the {", "holds the character '{'"),
        ("a | b", "holds the character '|'"),
        ("in the 🙂", "holds the character '🙂'"),
        ("in the\x00dark", "holds characters that can't be printed"),
        ("\ud800", "holds characters that can't be printed"),
        ("在森林里", "isn't in Latin letters"),
        ("в лесу", "isn't in Latin letters"),
        ("in the forest with {}", "doesn't read as English around the object"),
        ("in a very very very very very very very very very very old house", "has more than 12 words"),
    ],
)
def test_what_is_refused(phrase: str, reason: str) -> None:
    with pytest.raises(Unfit, match="^" + reason.replace("{", r"\{").replace("|", r"\|")):
        to_template(phrase, NOUN)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("{} in the forest", "{} In The Forest", True),
        ("{} in the forest", "{} in the forests", True),
        ("{} in the forest", "{} in a forest", True),
        ("{} with snow-capped peaks", "{} with snow capped peak", True),
        ("{} with red and blue lights", "{} with blue and red lights", True),
        ("{} in the leaves", "{} in the leaf", True),
        ("{} in the forest", "{} near the forest", False),
        ("{} on grass", "{} on gras", False),
        ("{} in the city", "{} in the cities", True),
    ],
)
def test_folding(one: str, other: str, same: bool) -> None:
    assert (fold(one) == fold(other)) is same
